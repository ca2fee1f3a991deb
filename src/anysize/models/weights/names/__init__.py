"""Tables of names, one file a family: ``layouts(model)`` gives the layouts of that network, or none of another."""
