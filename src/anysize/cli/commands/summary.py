"""``anysize summary``."""

import dataclasses
import shutil
import sys
from typing import TYPE_CHECKING, Any

from anysize.cli.output import write_json, write_lines
from anysize.inference.summary_config import SummaryConfig

if TYPE_CHECKING:
    from anysize.inference.summaries import Compared

SUMMARY = "a network's layers, parameters, costs and receptive field; several compared"
DESCRIPTION = """
Show the layers of a network with the shapes of their outputs and their parameters, what an image costs in it
(multiply-adds, memory for activations), how much of an image each output sees, and the smallest image it takes. Several
networks are compared, one line each. Nothing is downloaded. Only shapes are computed, but where several are compared
each is also built with its weights and timed on the CPU, within ten seconds each: --no-speed leaves that out.
"""
EXAMPLES = """
  anysize summary resnet9
  anysize summary timm:xception65 --size 299x299 --depth 2
  anysize summary fcn_small resnet9 torchvision:resnet50 --size 224x224
  anysize summary runs/a --json
"""
OPTIONS = SummaryConfig


def run(options: SummaryConfig, *, as_json: bool) -> int:
    """Write a table of layers, or of networks."""
    from anysize.inference.summaries import summarise_named

    networks = list(summarise_named(options))
    if as_json:
        write_json([_content(network) for network in networks])
    elif len(networks) == 1:
        write_lines(*_one(networks[0], options))
    else:
        from anysize.inference.comparison import comparison_lines

        write_lines(*comparison_lines(networks, width=_width()))
    return 0


def _content(network: "Compared") -> dict[str, Any]:
    content = dataclasses.asdict(network.summary)
    content["counts"]["all_parameters"] = network.summary.counts.all_parameters
    for name in ("published", "speed"):
        value = getattr(network, name)
        content[name] = None if value is None else dataclasses.asdict(value)
    content["not_measured"] = network.not_measured
    return content


def _one(network: "Compared", options: SummaryConfig) -> list[str]:
    from anysize.models.summary.text import heading, layer_lines, published_lines, total_lines

    return [
        heading(network.summary),
        "",
        *layer_lines(network.summary.layers, depth=options.depth, width=_width()),
        "",
        *total_lines(network.summary),
        *published_lines(network.published),
    ]


def _width() -> int | None:
    """Characters a line may have: those of the terminal, and no limit where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
