"""``anysize verify``."""

import dataclasses
from typing import Any

from anysize.cli.output import write_json, write_lines
from anysize.errors import RaggedError
from anysize.inference.verify_config import VerifyConfig

SUMMARY = "is a network exact on mixed sizes? together against alone, values and gradients"
DESCRIPTION = """
Run a network on a handful of awkward sizes, all together and each alone, in evaluation and training, and say how far
the two lie apart, what was refused, and in which module a deviation first arises. Exit code 0 only if it is exact.
"""
EXAMPLES = """
  anysize verify runs/a
  anysize verify torchvision:resnet18 --no-training
  anysize verify smp:Unet/resnet18 timm:convnext_atto --dtype float64 --json
"""
OPTIONS = VerifyConfig


def run(options: VerifyConfig, *, as_json: bool) -> int:
    """Write a report for each model."""
    from anysize.inference.verification import verify_named

    contents: list[dict[str, Any]] = []
    exact = True
    for name, report in verify_named(options):
        exact = exact and report.exact
        if as_json:
            contents.append({"model": name, "verdict": report.verdict, **dataclasses.asdict(report)})
        else:
            write_lines(f"model  {name}", *report.lines())
    if as_json:
        write_json(contents)
    return 0 if exact else RaggedError.exit_code
