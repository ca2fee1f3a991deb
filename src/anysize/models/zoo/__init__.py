"""The networks, one a file. Letters in shape comments: B images, C channels, H x W pixels, K classes."""
