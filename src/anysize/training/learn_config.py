"""The options of `anysize doctor learn`."""

from dataclasses import dataclass

from anysize.options import require
from anysize.training.config import TrainConfig

__all__ = ["LearnConfig"]


@dataclass(frozen=True, kw_only=True)
class LearnConfig(TrainConfig):
    """What `anysize doctor learn` does: the options of a training run, of which it is asked whether it can learn."""

    images: int = 4
    """How many training images are learned by heart; those with the most classes."""
    seconds: float = 60.0
    """The longest that it may take, beside reading the data; it ends with the step that runs when they are out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.images >= 1, "images", self.images, "at least 1")
        require(self.seconds > 0, "seconds", self.seconds, "greater than 0")
