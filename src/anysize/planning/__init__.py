"""What a plan will cost before anything is trained: padding, canvases, memory and time."""
