"""The report as a person reads it."""

import math
from collections.abc import Sequence

from anysize.planning.choices import SAMPLE, CanvasChoice
from anysize.planning.config import PlanConfig
from anysize.planning.laid import BadBatch, CanvasRow
from anysize.planning.report import Measured, PlanReport
from anysize.reporting.text import compact_count, pixels_text
from anysize.sizes import format_size

__all__ = ["bytes_text", "report_lines", "time_text"]

_MOST_CANVASES = 12
_GIB = 2**30


def report_lines(report: PlanReport, config: PlanConfig) -> list[str]:
    """All lines, without line ends."""
    lines = [*_head(report, config), "", *_choices(report), "", *_canvases(report), ""]
    lines += [*_worst(report), *_machine(report)]
    lines += [f"note          {note}" for note in report.notes]
    lines += [f"left out      {line}" for line in report.left_out]
    return [*lines, f"figure        {report.figure}"]


def _head(report: PlanReport, config: PlanConfig) -> list[str]:
    labelled = f" in {report.num_classes} classes" if report.num_classes else ", without labels"
    kind = ", as augmented in epoch 1" if config.augment else ""
    static = "" if config.max_canvases is None else f", {config.max_canvases} static canvases"
    return [
        f"images        {report.num_train} to train on, {report.num_val} to validate on{labelled} ({report.layout})",
        f"sizes         {report.num_sizes} different ones{kind}, {report.real_megapixels:.1f} Mpx; "
        f"height {_range(report.heights)}, width {_range(report.widths)}",
        f"plan          {report.num_steps} steps of {config.batch_size} images ({config.mixing}{static}), "
        f"laid on {report.num_forwards} canvases of {report.num_canvases} different sizes",
        f"padding       {report.padding_share:6.1%}  this plan",
        f"              {report.random_batches_share:6.1%}  random batches, each padded to its largest",
        f"              {report.pad_to_largest_share:6.1%}  every image padded to the largest",
        f"or squares    {report.square_side}x{report.square_side}: {report.square_distorted_share:.0%} of the images "
        f"distorted by more than 25 % (median {report.square_median_distortion:.2f}x), "
        f"{report.square_lost_share:.0%} of the pixels lost, {report.square_invented_share:.0%} invented",
    ]


def _range(spread: tuple[int, int, int]) -> str:
    smallest, median, largest = spread
    return f"{smallest}..{largest} (median {median})"


def _choices(report: PlanReport) -> list[str]:
    head = ["canvases", "padding", "own size", "passes/step", "new in epoch 1", "later"]
    if report.measured is not None:
        head += ["epoch 1", "later", f"{report.epochs} epochs"]
    rows = [head]
    marks = [""]
    for row in report.choices:
        rows.append(_choice(row))
        told = ("chosen",) * row.is_chosen + ("fastest",) * row.is_fastest
        marks.append("<- " + ", ".join(told) if told else "")
    lines = [f"{line}  {mark}".rstrip() for line, mark in zip(_table(rows), marks, strict=True)]
    if report.num_train > SAMPLE:
        lines.append(f"(but for the chosen one: as a uniform draw of {SAMPLE:,} images has it)")
    return lines


def _choice(row: CanvasChoice) -> list[str]:
    cells = [
        "free" if row.max_canvases is None else str(row.max_canvases),
        f"{row.padding_share:.1%}",
        f"{row.own_share:.1%}",
        f"{row.forwards_per_step:.1f}",
        compact_count(row.new_canvases_first_epoch),
        compact_count(row.new_canvases_later_epoch),
    ]
    for seconds in (row.first_epoch_seconds, row.later_epoch_seconds, row.total_seconds):
        if seconds is not None:
            cells.append(time_text(seconds))
    return cells


def _canvases(report: PlanReport) -> list[str]:
    shown = list(report.canvases)
    own = [row for row in shown if row.canvas is None]
    shared = [row for row in shown if row.canvas is not None]
    kept = shared[: _MOST_CANVASES - len(own)]
    with_memory = any(row.batch_bytes is not None for row in shown)
    rows = [["canvas", "images", "pixels", "padding", "full batch", *["memory"][: int(with_memory)], "fit"]]
    rows += [_canvas(row) for row in (*kept, *own)]
    lines = _table(rows)
    hidden = report.num_canvases - len(kept) - (0 if not own else report.num_canvases - report.num_static)
    if hidden > 0:
        lines.append(
            f"... and {hidden} others, with {1 - sum(row.pixel_share for row in (*kept, *own)):.1%} of the pixels"
        )
    return [
        *lines,
        f"(fit: images that --max-pixels {report.max_pixels} allows; batches are at most {report.batch_size})",
    ]


def _canvas(row: CanvasRow) -> list[str]:
    cells = [
        "own size" if row.canvas is None else format_size(row.canvas),
        f"{row.image_share:.1%}",
        f"{row.pixel_share:.1%}",
        f"{row.padding_share:.1%}",
        str(row.batch_images),
    ]
    if row.batch_bytes is not None:
        cells.append(bytes_text(row.batch_bytes))
    return [*cells, str(row.max_images)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _worst(report: PlanReport) -> list[str]:
    lines = []
    for number, batch in enumerate(report.worst_batches):
        among = f", from {batch.paths[0]} to {batch.paths[-1]}" if len(batch.paths) > 1 else f": {batch.paths[0]}"
        head = "worst batches " if number == 0 else " " * 14
        lines.append(f"{head}{batch.padding_share:.1%} padding: {_batch(batch)}{among}")
    return [*lines, f"largest       {report.largest.megapixels:.1f} Mpx: {_batch(report.largest)}"]


def _batch(batch: BadBatch) -> str:
    return f"{batch.num_images} image{'s' * (batch.num_images != 1)} on {format_size(batch.canvas)}"


def _machine(report: PlanReport) -> list[str]:
    measured = report.measured
    if measured is None:
        return []
    canvas = _price(measured.seconds_per_launch, measured.launch_pixels)
    new = _price(measured.seconds_per_new_canvas, measured.new_canvas_pixels)
    lines = [
        f"measured      {measured.model} on {measured.device}, training: {time_text(1e6 * measured.seconds_per_pixel)} "
        f"a megapixel, {canvas} a canvas, {new} more for a new one, {time_text(measured.seconds_per_step)} an update",
        *_memory(measured),
    ]
    usual = measured.first_epoch_seconds - measured.first_epoch_new_canvas_seconds
    return [
        *lines,
        f"predicted     {report.num_steps} steps an epoch: {time_text(usual)} + "
        f"{time_text(measured.first_epoch_new_canvas_seconds)} for new canvases in the first, "
        f"{time_text(measured.later_epoch_seconds)} in later ones, {time_text(measured.total_seconds)} for "
        f"{report.epochs} (training steps alone: no reading of files, no validation)",
    ]


def _price(seconds: float, pixels: float) -> str:
    return f"{time_text(seconds)} (as {pixels_text(pixels)})"


def _memory(measured: Measured) -> list[str]:
    if measured.bytes_per_pixel is None or measured.available_bytes is None:
        return []
    return [
        f"memory        {measured.bytes_per_pixel:.0f} bytes a canvas pixel; "
        f"{bytes_text(measured.available_bytes)} available"
    ]


def bytes_text(num_bytes: float) -> str:
    """A number of bytes, with two digits at least.

    >>> bytes_text(310_000_000), bytes_text(12.34 * 2**30)
    ('296 MiB', '12.3 GiB')
    """
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < _GIB else f"{num_bytes / _GIB:.1f} GiB"


def time_text(seconds: float) -> str:
    """A time in two or three digits.

    >>> [time_text(seconds) for seconds in (0, 0.00042, 0.0171, 3.14, 31.4, 314, 8000, 360_000)]
    ['0 ms', '0.42 ms', '17 ms', '3.1 s', '31 s', '5.2 min', '2.2 h', '100 h']
    """
    units = ((0.9995, 1e-3, "ms"), (99.5, 1.0, "s"), (5970, 60.0, "min"), (math.inf, 3600.0, "h"))
    unit, name = next((unit, name) for below, unit, name in units if seconds < below)
    value = seconds / unit
    digits = 0 if value >= 9.95 or not value else 1 if value >= 0.995 else 2
    return f"{value:.{digits}f} {name}"
