"""What training steps cost in time, measured on the device: pixels, launches, compilations, updates."""

from anysize.timing.cost import StepCost, Timing, fit_cost
from anysize.timing.measure import measure_speed

__all__ = ["StepCost", "Timing", "fit_cost", "measure_speed"]
