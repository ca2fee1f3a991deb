"""Figures from plain data, drawn in any thread and without a display, and written whole or not at all."""
