"""The options of evaluation and prediction."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.errors import UsageError
from anysize.options import DeviceOptions, ForwardOptions, MaskOptions, RemembersGiven, require

__all__ = ["EvalConfig", "PredictConfig"]


@dataclass(frozen=True, kw_only=True)
class _WeightOptions:
    """Which weights answer, and for which images."""

    run: Annotated[Path | None, Positional, arg(metavar="RUN")] = None
    """A run folder, or a .safetensors file with its .json card beside it."""
    weights: Literal["best", "last"] = "best"
    """Which weights of the run folder."""
    skip_unreadable: bool = False
    """Go on without files that cannot be decoded, and list them, instead of stopping."""
    max_image_pixels: int = 178_956_970
    """Refuse files that claim more pixels than this (decompression bombs)."""
    min_side: int | None = None
    """Leave out images whose shorter side is below this many pixels (they are listed)."""

    def __post_init__(self) -> None:
        require(self.max_image_pixels >= 1, "max_image_pixels", self.max_image_pixels, "at least 1")
        require(self.min_side is None or self.min_side >= 1, "min_side", self.min_side, "at least 1")

    def require_run(self) -> Path:
        """Return the run, or say that none was given."""
        if self.run is None:
            raise UsageError("no run folder was given", hint="pass the folder that 'anysize train' made")
        return self.run


@dataclass(frozen=True, kw_only=True)
class EvalConfig(RemembersGiven, _WeightOptions, MaskOptions, ForwardOptions, DeviceOptions):
    """What `anysize eval` does. Options of masks that are not given are those of the run, whatever the data."""

    data: Annotated[Path | None, Positional, arg(metavar="[DATA]")] = None
    """Folder or CSV file with labelled images, for a segmenter with images and masks; by default the data of the
    run."""
    split: Literal["auto", "train", "val", "all"] = "auto"
    """Which images. 'auto': the data's own val split; for the data that the run was trained on, what it held out; all
    images of any other data."""
    output: Path | None = None
    """Folder for the figures (confusion matrix, accuracy by size) and predictions.csv; by default RUN/eval."""

    def __post_init__(self) -> None:
        for base in (_WeightOptions, MaskOptions, ForwardOptions, DeviceOptions):
            base.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class PredictConfig(_WeightOptions, ForwardOptions, DeviceOptions):
    """What `anysize predict` does."""

    images: Annotated[tuple[Path, ...], Positional, arg(metavar="IMAGE_OR_FOLDER...")] = ()
    """Image files, and folders that are searched for images."""
    top: int = 1
    """How many of the most probable classes to give for each image."""
    output: Path | None = None
    """Write the predictions to this CSV file as well; of a segmenter to this folder: a mask for each image, and
    index.csv."""
    overlay: bool = False
    """Of a segmenter, with --output: write each image with its mask over it, too."""
    ignore_below: float | None = None
    """Of a segmenter: pixels whose most probable class is less probable than this get the value 255, no class."""

    def __post_init__(self) -> None:
        for base in (_WeightOptions, ForwardOptions, DeviceOptions):
            base.__post_init__(self)
        require(self.top >= 1, "top", self.top, "at least 1")
        below = self.ignore_below
        require(below is None or 0 < below <= 1, "ignore_below", below, "greater than 0 and at most 1")
