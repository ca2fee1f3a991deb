"""Summaries of networks by name, and of trained ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anysize.errors import UsageError
from anysize.inference.speed import NotMeasured, Speed, measure_images_per_second
from anysize.inference.summary_config import SummaryConfig
from anysize.inference.trained import find_weights
from anysize.models import fixed_side, load_model
from anysize.models.named import named_model
from anysize.models.summary.published import Published, find_published
from anysize.models.summary.report import NetworkSummary, summarise
from anysize.pairs import parse_pairs

__all__ = ["Compared", "summarise_named"]

_USUAL_SIDE = 224
_CLASSES = {"classify": 1000, "segment": 21}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One network among others."""

    summary: NetworkSummary
    published: Published | None
    speed: Speed | None
    not_measured: str | None = None
    """Why there is no speed, where it was asked for."""


@dataclass(frozen=True)
class _Network:
    """A network to be described."""

    name: str
    num_classes: int
    in_channels: int
    on_meta: nn.Module
    build: Callable[[], nn.Module]
    """The same with its weights, for measuring."""
    usual_size: tuple[int, int]
    published: Published | None


def summarise_named(config: SummaryConfig) -> Iterator[Compared]:
    """Describe each model of ``config``; what `anysize summary` does.

    Raises:
        AnysizeError: with what is wrong and how to fix it.
    """
    names = config.require_models()
    for name in names:
        network = _find(name, config)
        size = config.parsed_size() or network.usual_size
        summary = summarise(
            network.on_meta,
            name=name,
            num_classes=network.num_classes,
            in_channels=network.in_channels,
            size=size,
        )
        measured = None
        if config.speed and len(names) > 1:
            measured = measure_images_per_second(
                network.build(),
                network.in_channels,
                size,
                batch_size=config.batch_size,
                multiply_adds=summary.costs.multiply_adds,
            )
        yield Compared(
            summary=summary,
            published=network.published,
            speed=measured if isinstance(measured, Speed) else None,
            not_measured=measured.reason if isinstance(measured, NotMeasured) else None,
        )


def _find(name: str, config: SummaryConfig) -> _Network:
    path = Path(name)
    if path.is_dir() or path.suffix == ".safetensors":
        return _trained(name, path, config)
    mnist = name.startswith("mnist_")
    options: dict[str, Any] = parse_pairs("model-kwargs", config.model_kwargs)
    in_channels = config.in_channels or (1 if mnist else 3)
    num_classes = config.num_classes or (10 if mnist else _usual_classes(name, in_channels, options))

    def build() -> nn.Module:
        return named_model(name, num_classes=num_classes, in_channels=in_channels, **options)

    published = find_published(name)
    on_meta = _on_meta(build)
    size = _usual_size(name, on_meta, published)
    same = not options and num_classes == _CLASSES["classify"] and in_channels == 3  # as those who published built it
    return _Network(name, num_classes, in_channels, on_meta, build, size, published if same else None)


def _trained(name: str, path: Path, config: SummaryConfig) -> _Network:
    model, card = load_model(find_weights(path, config.weights))
    for flag, given in (
        ("num-classes", config.num_classes),
        ("in-channels", config.in_channels),
        ("model-kwargs", " ".join(config.model_kwargs) or None),
    ):
        if given is not None:
            raise UsageError(
                f"--{flag} is {given}, and {name} is a trained network, which has its own",
                hint=f"leave it out, or give the network's name: anysize summary {card.model} --{flag} {given}",
            )
    side = fixed_side(model) or _USUAL_SIDE
    return _Network(name, len(card.classes), card.in_channels, model, lambda: model, (side, side), None)


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build without memory for weights; networks that compute with numbers as they are built are built as usual."""
    try:
        with torch.device("meta"):
            return build()
    except (RuntimeError, NotImplementedError):
        return build().to("meta")


def _usual_classes(name: str, in_channels: int, options: dict[str, Any]) -> int:
    if name.startswith("smp:"):
        return _CLASSES["segment"]
    small = _on_meta(lambda: named_model(name, num_classes=2, in_channels=in_channels, **options))
    segments = ".segmentation." in type(small).__module__ or getattr(small, "task", "") == "segment"
    return _CLASSES["segment" if segments else "classify"]


def _usual_size(name: str, model: nn.Module, published: Published | None) -> tuple[int, int]:
    only = fixed_side(model)
    if only is not None:
        return only, only
    if name.startswith("mnist_"):
        return 28, 28
    if published is not None:
        return published.resolution, published.resolution
    given = getattr(model, "default_cfg", None)  # timm's
    if isinstance(given, dict) and len(given.get("input_size", ())) == 3:
        return int(given["input_size"][1]), int(given["input_size"][2])
    return _USUAL_SIDE, _USUAL_SIDE
