"""What a network is: its layers, parameters, costs at a size, and the pixels that each output sees."""
