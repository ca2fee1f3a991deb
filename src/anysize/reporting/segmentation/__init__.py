"""Sheets and figures of segmented images, from plain arrays."""

from anysize.reporting.segmentation.animation import draw_epochs_animation
from anysize.reporting.segmentation.iou_bars import draw_iou_bars
from anysize.reporting.segmentation.iou_by_size import draw_iou_by_size
from anysize.reporting.segmentation.item import OverlayItem
from anysize.reporting.segmentation.sheet import draw_overlay_sheet, render_overlay_sheet

__all__ = [
    "OverlayItem",
    "draw_epochs_animation",
    "draw_iou_bars",
    "draw_iou_by_size",
    "draw_overlay_sheet",
    "render_overlay_sheet",
]
