"""Arithmetic on axes and sizes: which axis is space, reshaping, windows, resizing."""
