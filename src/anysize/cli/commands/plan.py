"""``anysize plan``."""

import dataclasses
from typing import TYPE_CHECKING

from anysize.cli.output import write_json, write_lines
from anysize.reporting.plan_config import PlanConfig

if TYPE_CHECKING:
    from anysize.reporting.plan_report import PlanReport

SUMMARY = "show how images would be batched; reads sizes, trains nothing"
DESCRIPTION = """
Read the sizes of all images (from their headers), plan one epoch, and compare its padding with the usual ways. Native
sizes, without augmentation; whether every image decodes is checked by train.
"""
EXAMPLES = """
  anysize plan photos/
  anysize plan photos/ --batch-size 64 --mixing mixed
  anysize plan photos/ --max-side 1024 --output plan-1024.png --json
"""
OPTIONS = PlanConfig


def run(options: PlanConfig, *, as_json: bool) -> int:
    """Write the report and the figure."""
    from anysize.console import Console
    from anysize.reporting.plan_report import report_plan

    with Console().bar("reading sizes", 0) as bar:
        report = report_plan(options, progress=bar.set)
    if as_json:
        write_json({**dataclasses.asdict(report), "figure": str(report.figure)})
    else:
        write_lines(*_lines(report, options))
    return 0


def _lines(report: "PlanReport", options: PlanConfig) -> list[str]:
    labelled = f" in {report.num_classes} classes" if report.num_classes else ", without labels"
    largest, padded = report.largest, report.most_padded
    lines = [
        f"images        {report.num_train} to train on, {report.num_val} to validate on{labelled} ({report.layout})",
        f"sizes         {report.num_sizes} different ones, {report.real_megapixels:.1f} Mpx; "
        f"height {_range(report.heights)}, width {_range(report.widths)}",
        f"plan          {report.num_steps} steps of {options.batch_size} images ({options.mixing}), "
        f"laid on {report.num_forwards} canvases of {report.num_canvases} different sizes",
        f"padding       {report.padding_share:6.1%}  this plan",
        f"              {report.random_batches_share:6.1%}  random batches, each padded to its largest",
        f"              {report.pad_to_largest_share:6.1%}  every image padded to the largest",
        f"or squares    {report.square_side}x{report.square_side}: {report.square_distorted_share:.0%} of the images "
        f"distorted by more than 25 % (median {report.square_median_distortion:.2f}x), "
        f"{report.square_lost_share:.0%} of the pixels lost, {report.square_invented_share:.0%} invented",
        f"worst batch   {padded['padding_share']:.1%} padding: {padded['num_images']} images on "
        f"{_canvas(padded)}, among them {padded['paths'][0]} and {padded['paths'][-1]}",
        f"largest       {largest['megapixels']:.1f} Mpx: {largest['num_images']} images on {_canvas(largest)}",
    ]
    lines += [f"note          {note}" for note in report.notes]
    lines += [f"left out      {line}" for line in report.left_out]
    return [*lines, f"figure        {report.figure}"]


def _range(spread: tuple[int, int, int]) -> str:
    smallest, median, largest = spread
    return f"{smallest}..{largest} (median {median})"


def _canvas(batch: dict[str, tuple[int, int]]) -> str:
    height, width = batch["canvas"]
    return f"a canvas of {height}x{width}"
