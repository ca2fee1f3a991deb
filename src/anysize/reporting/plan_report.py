"""How the images of a folder would be batched, beside the usual ways; what `anysize plan` shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anysize.batching import Plan, UsualWays, measure_waste, plan_epoch, usual_ways, worst_micro_batch
from anysize.data import DataOptions, DataSource, ImageTable, draw_geometry, load_data
from anysize.data.index import Progress
from anysize.errors import DataError, UsageError
from anysize.reporting.plan_config import PlanConfig

__all__ = ["PlanReport", "report_plan"]


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """Counts and shares; sizes are (height, width) in pixels."""

    data: str
    layout: str
    num_train: int
    num_val: int
    num_classes: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    num_sizes: int
    """Distinct sizes among the planned (training) images."""
    heights: tuple[int, int, int]
    """Smallest, median, largest."""
    widths: tuple[int, int, int]
    """Smallest, median, largest."""
    real_megapixels: float
    num_steps: int
    num_forwards: int
    """Micro-batches: forward passes in an epoch."""
    num_canvases: int
    padding_share: float
    pad_to_largest_share: float
    random_batches_share: float
    square_side: int
    square_median_distortion: float
    square_distorted_share: float
    square_lost_share: float
    square_invented_share: float
    most_padded: dict[str, Any]
    """The micro-batch with the largest padding share: canvas, num_images, padding_share, paths."""
    largest: dict[str, Any]
    """The micro-batch with the most canvas pixels: canvas, num_images, megapixels."""
    figure: Path


def report_plan(config: PlanConfig, *, progress: Progress | None = None) -> PlanReport:
    """Plan one epoch over the training images, compare it with the usual ways, and draw it. No pixel is read.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    if config.data is None:
        raise UsageError("no data was given", hint="anysize plan FOLDER")
    options = DataOptions(
        val_split=config.val_split,
        split_seed=config.seed,
        skip_unreadable=config.skip_unreadable,
        max_image_pixels=config.max_image_pixels,
    )
    source = load_data(config.data, options, progress=progress)
    sizes, kept = _planned_sizes(source.train, config)
    plan = plan_epoch(
        sizes,
        config.batch_size,
        max_pixels=config.max_pixels,
        mixing=config.mixing,
        launch_pixels=config.launch_pixels,
        multiple_of=config.multiple_of,
        seed=config.seed,
    )
    usual = usual_ways(sizes, config.batch_size, seed=config.seed)
    _draw(config, sizes, plan, usual)
    return _summarise(config, source, kept, sizes, plan, usual)


def _planned_sizes(table: ImageTable, config: PlanConfig) -> tuple[NDArray[np.int64], ImageTable]:
    geometry = draw_geometry(table.sizes, np.arange(len(table)), None, seed=0, epoch=0, max_side=config.max_side)
    keep = np.ones(len(table), dtype=np.bool_)
    if config.min_side is not None:
        keep = geometry.sizes.min(axis=1) >= config.min_side
    if not keep.any():
        raise DataError(f"--min-side {config.min_side} leaves no image", hint="lower --min-side")
    return geometry.sizes[keep], table.select(keep)


def _draw(config: PlanConfig, sizes: NDArray[np.int64], plan: Plan, usual: UsualWays) -> None:
    from anysize.reporting.plan_figure import draw_plan  # matplotlib is imported with it

    canvases, place = np.unique(plan.canvases(), axis=0, return_inverse=True)
    counts = np.bincount(place.reshape(-1), weights=plan.lengths()).astype(int)
    draw_plan(
        config.output,
        sizes=sizes,
        canvases=[(int(height), int(width)) for height, width in canvases],
        canvas_counts=counts.tolist(),
        shares={
            f"anysize ({config.mixing})": measure_waste(plan, sizes).share,
            "random batches": usual.random_batches.share,
            "pad to the largest": usual.pad_to_largest.share,
        },
        title=f"{config.data}: {len(sizes):,} images, batch size {config.batch_size}",
    )


def _summarise(
    config: PlanConfig,
    source: DataSource,
    table: ImageTable,
    sizes: NDArray[np.int64],
    plan: Plan,
    usual: UsualWays,
) -> PlanReport:
    worst = worst_micro_batch(plan, sizes)
    small = len(source.train) - len(table)
    left_out = [str(problem) for problem in (*source.ignored, *source.problems)]
    if small:
        left_out.append(f"{small} training images below --min-side {config.min_side}")
    return PlanReport(
        data=str(config.data),
        layout=source.layout,
        num_train=len(table),
        num_val=0 if source.val is None else len(source.val),
        num_classes=len(source.classes),
        left_out=tuple(left_out),
        notes=source.notes,
        num_sizes=len(np.unique(sizes, axis=0)),
        heights=_spread(sizes[:, 0]),
        widths=_spread(sizes[:, 1]),
        real_megapixels=float(sizes.prod(axis=1).sum()) / 1e6,
        num_steps=len(plan),
        num_forwards=len(plan.lengths()),
        num_canvases=plan.num_canvases,
        padding_share=measure_waste(plan, sizes).share,
        pad_to_largest_share=usual.pad_to_largest.share,
        random_batches_share=usual.random_batches.share,
        square_side=usual.square.side,
        square_median_distortion=usual.square.median_distortion,
        square_distorted_share=usual.square.distorted_share,
        square_lost_share=usual.square.lost_share,
        square_invented_share=usual.square.invented_share,
        most_padded={
            "canvas": worst.most_padded.canvas,
            "num_images": len(worst.most_padded.indices),
            "padding_share": worst.most_padded_share,
            "paths": [table.paths[index] for index in worst.most_padded.indices],
        },
        largest={
            "canvas": worst.largest.canvas,
            "num_images": len(worst.largest.indices),
            "megapixels": worst.largest_pixels / 1e6,
        },
        figure=config.output,
    )


def _spread(lengths: NDArray[np.int64]) -> tuple[int, int, int]:
    return int(lengths.min()), int(np.median(lengths)), int(lengths.max())
