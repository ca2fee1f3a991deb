"""The options of the plan report, apart from it: the command line reads them without loading what draws it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from anysize.options import BatchOptions, ImageOptions, require

__all__ = ["PlanConfig"]


@dataclass(frozen=True, kw_only=True)
class PlanConfig(BatchOptions, ImageOptions):
    """What `anysize plan` does."""

    data: Annotated[Path | None, Positional, arg(metavar="DATA")] = None
    """Folder or CSV file with images, labelled or not."""
    seed: int = 0
    """Seed of the plan."""
    output: Path = Path("plan.png")
    """Where to draw the figure."""

    def __post_init__(self) -> None:
        for base in (BatchOptions, ImageOptions):
            base.__post_init__(self)
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        known = (".png", ".pdf", ".svg")
        require(self.output.suffix.lower() in known, "output", self.output, f"a name that ends in {', '.join(known)}")
