"""Train fully convolutional networks on images of any size, at native resolution."""
