"""Augmentation at native size whose geometry is a pure function: the planner knows every size beforehand."""

from anysize.data.augment.bounds import largest_sizes
from anysize.data.augment.color import jitter_color
from anysize.data.augment.geometry import Geometry, GeometryRow, draw_geometry, shrunk_sizes
from anysize.data.augment.options import Augmentation
from anysize.data.augment.resampling import apply_geometry, apply_to_mask

__all__ = [
    "Augmentation",
    "Geometry",
    "GeometryRow",
    "apply_geometry",
    "apply_to_mask",
    "draw_geometry",
    "jitter_color",
    "largest_sizes",
    "shrunk_sizes",
]
