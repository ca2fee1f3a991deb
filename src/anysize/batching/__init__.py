"""Sizes and limits in, a plan out: which images go together, on which canvas, in which order."""

from anysize.batching.canvases import CanvasSet, canvas_choices, choose_canvases
from anysize.batching.epoch import plan_epoch
from anysize.batching.histogram import SizeHistogram
from anysize.batching.mixture import Mixture, measure_mixture, meeting_again
from anysize.batching.plan import MicroBatch, Plan, Step
from anysize.batching.sampler import BatchSampler
from anysize.batching.stream import PlanStream, default_pool
from anysize.batching.waste import (
    SquareResize,
    UsualWays,
    Waste,
    WorstMicroBatches,
    measure_waste,
    padding_share,
    usual_ways,
    worst_micro_batch,
)

__all__ = [
    "BatchSampler",
    "CanvasSet",
    "MicroBatch",
    "Mixture",
    "Plan",
    "PlanStream",
    "SizeHistogram",
    "SquareResize",
    "Step",
    "UsualWays",
    "Waste",
    "WorstMicroBatches",
    "canvas_choices",
    "choose_canvases",
    "default_pool",
    "measure_mixture",
    "measure_waste",
    "meeting_again",
    "padding_share",
    "plan_epoch",
    "usual_ways",
    "worst_micro_batch",
]
