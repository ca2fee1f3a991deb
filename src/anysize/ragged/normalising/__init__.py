"""Batch and image normalisation over real pixels: statistics, and what ranks tell each other."""
