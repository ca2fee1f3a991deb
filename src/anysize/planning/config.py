"""The options of the plan report, apart from it: the command line reads them without loading what makes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.options import BatchOptions, DeviceOptions, ImageOptions, MaskOptions, require
from anysize.pairs import parse_pairs

__all__ = ["PlanConfig"]


@dataclass(frozen=True, kw_only=True)
class PlanConfig(BatchOptions, ImageOptions, MaskOptions, DeviceOptions):
    """What `anysize plan` does."""

    data: Annotated[Path | None, Positional, arg(metavar="DATA")] = None
    """Folder or CSV file with images, labelled or not."""
    measure: bool = True
    """Measure what the network takes in time and memory on this machine: seconds, once; remembered."""
    model: str = "resnet9"
    """Network to measure: fcn_small, resnet9."""
    model_kwargs: tuple[str, ...] = ()
    """Options of the network, as name=value: width=64."""
    in_channels: Literal["auto", "1", "3"] = "auto"
    """1 for grey, 3 for colour; 'auto' is 1 where every image is grey."""
    epochs: int = 30
    """Epochs that compilations are spread over: the choice with the least time for all of them is marked."""
    augment: bool = False
    """Plan the sizes that train's default augmentation (scale jitter and crops) gives, instead of native ones."""
    seed: int = 0
    """Seed of the plan."""
    output: Path = Path("plan.png")
    """Where to draw the figure."""

    def __post_init__(self) -> None:
        for base in (BatchOptions, ImageOptions, MaskOptions, DeviceOptions):
            base.__post_init__(self)
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        known = (".png", ".pdf", ".svg")
        require(self.output.suffix.lower() in known, "output", self.output, f"a name that ends in {', '.join(known)}")
        parse_pairs("model-kwargs", self.model_kwargs)
