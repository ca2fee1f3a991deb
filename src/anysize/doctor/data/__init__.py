"""Checks of a data set: nothing is written, nothing is repaired, and all that is wrong is told at once."""
