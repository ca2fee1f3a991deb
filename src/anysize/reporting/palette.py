"""The colours of all figures.

Okabe and Ito's, which people with the common kinds of colour blindness tell apart, and greys.
"""

__all__ = ["ACCENT", "ACCENT_INK", "BLUE", "EMPTY", "GRID", "INK", "MUTED", "NEUTRAL", "RIGHT", "WRONG"]

BLUE = "#0072B2"
ACCENT = "#D55E00"
ACCENT_INK = "#8A3D00"  # for words: dark enough to read on white
RIGHT = "#008A64"
WRONG = "#D55E00"
INK = "#1F2933"
MUTED = "#5F6B7A"
NEUTRAL = "#B4BCC6"
GRID = "#E6E9ED"
EMPTY = "#F3F4F6"
