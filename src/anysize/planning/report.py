"""How the images of a folder would be batched, and what that would cost; what `anysize plan` shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anysize.batching import Plan, SizeHistogram, UsualWays, measure_waste, usual_ways
from anysize.data import Augmentation, DataOptions, DataSource, ImageTable, draw_geometry, load_data
from anysize.data.index import Progress
from anysize.data.masks.rules import mask_rules
from anysize.data.problems import printable
from anysize.errors import DataError, PlanError, UsageError
from anysize.memory import LargestImage
from anysize.planning.choices import CanvasChoice, chosen_canvases, compare_choices, make_plan, mark_fastest
from anysize.planning.config import PlanConfig
from anysize.planning.laid import BadBatch, CanvasRow, Laid, canvas_rows, lay_out, worst_batches
from anysize.planning.machine import Machine, measure_machine

__all__ = ["Measured", "PlanReport", "report_plan"]

_WORST = 3

Sizes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the network takes on this machine, in training."""

    model: str
    device: str
    seconds_per_pixel: float
    seconds_per_launch: float
    seconds_per_new_canvas: float
    seconds_per_step: float
    launch_pixels: float
    """What a launch costs, in pixels: what --launch-pixels should be."""
    new_canvas_pixels: float
    """What a new canvas costs, in pixels."""
    bytes_per_pixel: float | None
    bytes_fixed: int | None
    available_bytes: int | None
    first_epoch_seconds: float
    """Predicted, of the training steps of the first epoch: without reading files and validation."""
    first_epoch_new_canvas_seconds: float
    """The part of it that goes into new canvases."""
    later_epoch_seconds: float
    """Predicted, on average over the later epochs."""
    total_seconds: float
    """Predicted, of all epochs."""


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
    max_pixels: int
    """Canvas pixels that one forward pass may hold."""
    batch_size: int
    epochs: int
    num_steps: int
    num_forwards: int
    """Micro-batches: forward passes in an epoch."""
    num_canvases: int
    """Different (height, width)."""
    num_static: int
    """Those of them that are not images' own exact size."""
    padding_share: float
    pad_to_largest_share: float
    random_batches_share: float
    square_side: int
    square_median_distortion: float
    square_distorted_share: float
    square_lost_share: float
    square_invented_share: float
    choices: tuple[CanvasChoice, ...]
    """What 1, 2, 4, ... canvases cost, and free ones, last."""
    canvases: tuple[CanvasRow, ...]
    """Those of the plan with the most canvas pixels, 64 at most; images' own ones together, last."""
    worst_batches: tuple[BadBatch, ...]
    """The three micro-batches with the largest padding shares."""
    largest: BadBatch
    """The micro-batch with the most canvas pixels."""
    measured: Measured | None
    """None with --no-measure."""
    figure: Path


def report_plan(config: PlanConfig, *, progress: Progress | None = None) -> PlanReport:
    """Plan one epoch over the training images, compare it with others, and draw it. No pixel is read.

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
        masks=mask_rules(config),
    )
    source = load_data(config.data, options, progress=progress)
    table = _planned(source.train, config)
    sizes = _sizes(table, config, 0)
    machine = _measure(config, table, sizes, len(source.classes))
    max_pixels = config.pixel_limit if machine is None else machine.max_pixels
    _check_largest(table, sizes, max_pixels, config.multiple_of)
    histogram = SizeHistogram.of(sizes, config.multiple_of)
    chosen = chosen_canvases(histogram, config, max_pixels)
    plan = make_plan(sizes, config, max_pixels, chosen)
    choices = compare_choices(lambda epoch: _sizes(table, config, epoch), histogram, chosen, config, max_pixels, plan)
    choices = mark_fastest(choices, None if machine is None else machine.cost, len(plan), config.epochs)
    usual = usual_ways(sizes, config.batch_size, seed=config.seed)
    laid = lay_out(plan, sizes, chosen)
    worst, largest = worst_batches(plan, sizes, table.paths, _WORST)
    rows = canvas_rows(laid, config.batch_size, max_pixels, None if machine is None else machine.memory)
    report = PlanReport(
        **_about_data(config, source, table, sizes),
        **_about_padding(plan, sizes, usual),
        notes=(*source.notes, *(() if machine is None else machine.notes)),
        max_pixels=max_pixels,
        batch_size=config.batch_size,
        epochs=config.epochs,
        num_static=int((~laid.is_own).sum()),
        choices=tuple(choices),
        canvases=tuple(rows),
        worst_batches=tuple(worst),
        largest=largest,
        measured=None if machine is None else _predict(config, machine, choices),
        figure=config.output,
    )
    _draw(config, report, sizes, laid)
    return report


def _check_largest(table: ImageTable, sizes: Sizes, max_pixels: int, multiple_of: int) -> None:
    """Refuse images that no pass may hold, by name; the planner knows numbers only."""
    canvases = -(-sizes // multiple_of) * multiple_of
    areas = canvases.prod(axis=1)
    largest = int(areas.argmax())
    if areas[largest] > max_pixels:
        height, width = canvases[largest].tolist()
        count = int((areas > max_pixels).sum())
        raise PlanError(
            f"{count} of {len(table)} images need more than --max-pixels {max_pixels}; the largest, "
            f"{printable(table.paths[largest])}, takes a canvas of {height}x{width} (height x width), "
            f"{areas[largest]} pixels",
            hint=f"--max-pixels {areas[largest]}, --max-pixels auto (what fits into memory), or --max-side to shrink "
            f"the largest images",
        )


def _planned(table: ImageTable, config: PlanConfig) -> ImageTable:
    geometry = draw_geometry(table.sizes, np.arange(len(table)), None, seed=0, epoch=0, max_side=config.max_side)
    keep = np.ones(len(table), dtype=np.bool_)
    if config.min_side is not None:
        keep = geometry.sizes.min(axis=1) >= config.min_side
    if not keep.any():
        raise DataError(f"--min-side {config.min_side} leaves no image", hint="lower --min-side")
    return table.select(keep)


def _sizes(table: ImageTable, config: PlanConfig, epoch: int) -> Sizes:
    """(N, 2): native ones in every epoch, or as augmentation draws them in this one."""
    return draw_geometry(
        table.sizes,
        np.arange(len(table)),
        Augmentation() if config.augment else None,
        seed=config.seed,
        epoch=epoch,
        max_side=config.max_side,
    ).sizes


def _measure(config: PlanConfig, table: ImageTable, sizes: Sizes, num_classes: int) -> Machine | None:
    if not config.measure:
        if config.max_pixels == "auto":
            raise UsageError(
                "--max-pixels is auto, which is measured, and --no-measure forbids it",
                hint="give a number, or leave out --no-measure",
            )
        return None
    canvases = -(-sizes // config.multiple_of) * config.multiple_of
    index = int(np.argmax(canvases.prod(axis=1)))
    height, width = canvases[index].tolist()
    return measure_machine(config, table, num_classes, LargestImage(str(table.paths[index]), (height, width)))


def _predict(config: PlanConfig, machine: Machine, choices: list[CanvasChoice]) -> Measured:
    cost, use = machine.cost, machine.memory
    (row,) = (choice for choice in choices if choice.is_chosen)
    return Measured(
        model=config.model,
        device=machine.device,
        seconds_per_pixel=cost.seconds_per_pixel,
        seconds_per_launch=cost.seconds_per_launch,
        seconds_per_new_canvas=cost.seconds_per_new_canvas,
        seconds_per_step=cost.seconds_per_step,
        launch_pixels=cost.launch_pixels,
        new_canvas_pixels=cost.canvas_pixels,
        bytes_per_pixel=None if use is None else use.bytes_per_pixel,
        bytes_fixed=None if use is None else use.bytes_fixed,
        available_bytes=machine.available_bytes,
        first_epoch_seconds=row.first_epoch_seconds or 0.0,
        first_epoch_new_canvas_seconds=row.new_canvases_first_epoch * cost.seconds_per_new_canvas,
        later_epoch_seconds=row.later_epoch_seconds or 0.0,
        total_seconds=row.total_seconds or 0.0,
    )


def _draw(config: PlanConfig, report: PlanReport, sizes: Sizes, laid: Laid) -> None:
    from anysize.reporting.plan_figure import draw_plan  # matplotlib is imported with it

    chosen = next(row for row in report.choices if row.is_chosen)
    free = next(row for row in report.choices if row.max_canvases is None)
    draw_plan(
        config.output,
        title=f"{config.data}: batches of {config.batch_size} ({config.mixing})",
        sizes=sizes,
        canvases=laid.canvases,
        lies_on=laid.of,
        is_own=laid.is_own,
        curve=[(row.max_canvases, row.padding_share) for row in report.choices if row.max_canvases is not None],
        chosen=chosen.max_canvases,
        levels={
            "free canvases": free.padding_share,
            "random batches": report.random_batches_share,
            "pad to the largest": report.pad_to_largest_share,
        },
    )


def _about_data(config: PlanConfig, source: DataSource, table: ImageTable, sizes: Sizes) -> dict[str, Any]:
    small = len(source.train) - len(table)
    left_out = [str(problem) for problem in (*source.ignored, *source.problems)]
    if small:
        left_out.append(f"{small} training images below --min-side {config.min_side}")
    return {
        "data": str(config.data),
        "layout": source.layout,
        "num_train": len(table),
        "num_val": 0 if source.val is None else len(source.val),
        "num_classes": len(source.classes),
        "left_out": tuple(left_out),
        "num_sizes": len(np.unique(sizes, axis=0)),
        "heights": _spread(sizes[:, 0]),
        "widths": _spread(sizes[:, 1]),
        "real_megapixels": float(sizes.prod(axis=1).sum()) / 1e6,
    }


def _about_padding(plan: Plan, sizes: Sizes, usual: UsualWays) -> dict[str, Any]:
    return {
        "num_steps": len(plan),
        "num_forwards": len(plan.lengths()),
        "num_canvases": plan.num_canvases,
        "padding_share": measure_waste(plan, sizes).share,
        "pad_to_largest_share": usual.pad_to_largest.share,
        "random_batches_share": usual.random_batches.share,
        "square_side": usual.square.side,
        "square_median_distortion": usual.square.median_distortion,
        "square_distorted_share": usual.square.distorted_share,
        "square_lost_share": usual.square.lost_share,
        "square_invented_share": usual.square.invented_share,
    }


def _spread(lengths: Sizes) -> tuple[int, int, int]:
    return int(lengths.min()), int(np.median(lengths)), int(lengths.max())
