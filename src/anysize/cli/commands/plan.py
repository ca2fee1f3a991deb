"""``anysize plan``."""

import dataclasses

from anysize.cli.output import write_json, write_lines
from anysize.planning.config import PlanConfig

SUMMARY = "show how images would be batched and what that costs; reads sizes, trains nothing"
DESCRIPTION = """
Read the sizes of all images (from their headers), plan one epoch, compare its padding with the usual ways and with 1 to
32 static canvases, and predict memory and time: a network is measured on this machine for some seconds, once, unless
--no-measure. Native sizes (--augment: as training varies them); whether every image decodes is checked by train.
"""
EXAMPLES = """
  anysize plan photos/
  anysize plan photos/ --max-canvases 8 --batch-size 64
  anysize plan photos/ --no-measure --max-side 1024 --output plan-1024.png --json
"""
OPTIONS = PlanConfig


def run(options: PlanConfig, *, as_json: bool) -> int:
    """Write the report and the figure."""
    from anysize.console import Console
    from anysize.planning.lines import report_lines
    from anysize.planning.report import report_plan

    with Console().bar("reading sizes", 0) as bar:
        report = report_plan(options, progress=bar.set)
    if as_json:
        write_json({**dataclasses.asdict(report), "figure": str(report.figure)})
    else:
        write_lines(*report_lines(report, options))
    return 0
