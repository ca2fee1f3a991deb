"""The options of summaries."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.errors import UsageError
from anysize.options import require
from anysize.pairs import parse_pairs
from anysize.startup import StartupSettings

__all__ = ["SummaryConfig"]


@dataclass(frozen=True, kw_only=True)
class SummaryConfig(StartupSettings):
    """What `anysize summary` does."""

    models: Annotated[tuple[str, ...], Positional, arg(metavar="NAME_OR_RUN...")] = ()
    """Networks by name: resnet9, timm:NAME, torchvision:NAME, smp:DECODER/ENCODER; run folders and .safetensors files.
    Nothing is downloaded. Several are compared, one line each."""
    weights: Literal["best", "last"] = "best"
    """Which weights of a run folder."""
    size: str | None = None
    """Size of the image whose costs are counted, height x width: 480x640. By default 28x28 for mnist_*, the size that
    published weights were evaluated at, or 224x224; a network that takes one size only has that."""
    num_classes: int | None = None
    """How many classes the network tells apart; by default 1,000 (ImageNet) for classifiers, 21 (Pascal VOC) for
    segmenters, and 10 for mnist_*."""
    in_channels: int | None = None
    """1 for grey, 3 for colour; by default 3, and 1 for mnist_*."""
    model_kwargs: tuple[str, ...] = ()
    """Options of the network, as name=value: width=64, final_relu=false."""
    depth: int | None = None
    """Show layers down to this depth and fold what lies deeper; by default as deep as 48 rows allow."""
    speed: bool = True
    """Where several networks are compared: build each with its weights and measure images a second on this machine's
    CPU, within ten seconds each; what is too slow for that is measured in smaller batches, or left out, and told so."""
    batch_size: int = 8
    """Images a batch when speed is measured; 1 where such batches take too long."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parsed_size()
        parse_pairs("model-kwargs", self.model_kwargs)
        require(self.depth is None or self.depth >= 1, "depth", self.depth, "at least 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.num_classes is None or self.num_classes >= 1, "num_classes", self.num_classes, "at least 1")
        require(self.in_channels is None or self.in_channels >= 1, "in_channels", self.in_channels, "at least 1")

    def parsed_size(self) -> tuple[int, int] | None:
        """Return the size as integers, or None where none was given."""
        if self.size is None:
            return None
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size):
            raise UsageError(f"--size is {self.size}; it must be height x width", hint="--size 480x640")
        height, _, width = self.size.partition("x")
        return int(height), int(width)

    def require_models(self) -> tuple[str, ...]:
        """Return the models, or say that none was given."""
        if not self.models:
            from anysize.models import list_models  # it needs torch, which options do without

            raise UsageError(
                f"no model was given; there are {', '.join(list_models())}, and those of timm:, torchvision: and smp:",
                hint="anysize summary resnet9, or the folder of a run",
            )
        if len(self.models) > 1 and self.model_kwargs:
            raise UsageError(
                f"--model-kwargs {' '.join(self.model_kwargs)} was given with {len(self.models)} models; "
                "options are those of one network",
                hint=f"anysize summary {self.models[0]} --model-kwargs {' '.join(self.model_kwargs)}",
            )
        return self.models
