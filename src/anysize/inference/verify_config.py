"""The options of verification."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.errors import UsageError
from anysize.startup import StartupSettings

__all__ = ["VerifyConfig"]


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(StartupSettings):
    """What `anysize verify` does."""

    models: Annotated[tuple[str, ...], Positional, arg(metavar="NAME_OR_RUN...")] = ()
    """Run folders, .safetensors files, and networks by name: resnet9, timm:NAME, torchvision:NAME,
    smp:DECODER/ENCODER. Nothing is downloaded."""
    weights: Literal["best", "last"] = "best"
    """Which weights of a run folder."""
    sizes: str | None = None
    """True sizes, height x width: 33x47,41x35. By default small odd ones, or what the network needs."""
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32"
    """The working dtype, verified beside float64."""
    device: str = "auto"
    """'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1', 'mps'."""
    training: bool = True
    """Verify training mode as well: gradients, batch statistics, running statistics."""
    randomise: bool = True
    """Give the network random parameters, which show leaks that fresh or trained ones hide."""
    seed: int = 0
    """Seed of the random parameters and images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parsed_sizes()

    def parsed_sizes(self) -> tuple[tuple[int, ...], ...] | None:
        """Return the sizes as integers, or None where none were given."""
        if self.sizes is None:
            return None
        texts = self.sizes.split(",")
        if len(texts) < 2 or any(not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", text) for text in texts):
            raise UsageError(
                f"--sizes is {self.sizes}; it must be two sizes or more, height x width, with commas between them",
                hint="--sizes 33x47,41x35",
            )
        return tuple(tuple(int(length) for length in text.split("x")) for text in texts)

    def require_models(self) -> tuple[str, ...]:
        """Return the models, or say that none was given."""
        if not self.models:
            raise UsageError("no model was given", hint="anysize verify resnet9, or the folder of a run")
        return self.models
