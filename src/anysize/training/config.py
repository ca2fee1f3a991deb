"""The options of a training run."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from tyro.conf import Positional, arg

from anysize.errors import UsageError
from anysize.options import BatchOptions, DeviceOptions, ImageOptions, MaskOptions, RemembersGiven, require
from anysize.pairs import parse_pairs
from anysize.sizes.start_size import StartSize
from anysize.training.options import AugmentOptions, LossOptions, OptimizerOptions

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    RemembersGiven,
    BatchOptions,
    ImageOptions,
    MaskOptions,
    AugmentOptions,
    LossOptions,
    OptimizerOptions,
    DeviceOptions,
):
    """What `train` does; every field is a flag of ``anysize train``."""

    data: Annotated[Path | None, Positional, arg(metavar="DATA")] = None
    """Folder with images in class folders (with train/ and val/ or without) or with WebDataset shards (*.tar), or a CSV
    file with path,label[,split]; for a segmenter images with masks: VOC, Cityscapes, ADE20K, images/ and masks/, or a
    CSV file with path,mask[,split]."""
    output: Path | None = None
    """Folder for the results: of `anysize train` the run folder, by default runs/DATA-MODEL, numbered."""
    resume: Path | None = None
    """Go on with this run folder, from its last checkpoint, with its own options; flags given beside it override."""
    recipe: str = "auto"
    """A set of defaults: voc, small-data, finetune (docs/recipes.md), or none; what you give yourself stays. 'auto':
    for segmenters small-data, or finetune with --pretrained; for classifiers none, and the defaults that --help tells
    are theirs."""
    model: str = "resnet9"
    """Name of the network; `anysize summary` lists them all."""
    model_kwargs: tuple[str, ...] = ()
    """Options of the network, as name=value: width=64, final_relu=false, encoder=mobilenet_v2."""
    pretrained: str | None = None
    """Start from these weights, of this library or of timm, torchvision, segmentation_models_pytorch or Keras: a
    .safetensors, .pth, .h5 or .keras file, an https:// address, or hf-hub:OWNER/NAME."""
    pretrained_head: Literal["new", "load"] = "new"
    """The last layer: 'new' for classes of your own, 'load' where the weights know these very classes."""
    in_channels: Literal["auto", "1", "3"] = "auto"
    """1 for grey, 3 for colour; 'auto' is 1 where every training image is grey."""
    mean: tuple[float, ...] | None = None
    """Per channel, in 0..255: subtracted from the pixels. By default what a run's pretrained weights were trained with,
    else measured on the training images. ImageNet weights of torchvision: 123.675 116.28 103.53."""
    std: tuple[float, ...] | None = None
    """Per channel, in 0..255: the pixels are divided by it. ImageNet weights of torchvision: 58.395 57.12 57.375;
    Xception and MobileNetV2 of Keras have 127.5 for mean and std."""
    epochs: int = 30
    """Passes over the training images."""
    start_side: int | None = None
    """Progressive resizing: in the first epochs images whose longer side exceeds this many pixels are shrunk to it, as
    many more of them a step as keep its pixels; then all come at full size. By default they do from the first epoch."""
    start_epochs: int | None = None
    """With --start-side, how many epochs that lasts; by default as many as have three quarters of the run's pixels."""
    patience: int = 10
    """Stop after so many epochs without a better validation result; 0 never stops early."""
    seed: int = 0
    """The same seed gives the same run on the same machine."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Activation checkpointing: blocks of the network work their activations out again instead of keeping them, the
    same gradients in less memory, for about a third more time. 'auto': only when an image would not fit without."""
    preflight: bool = True
    """Before a segmenter is trained, hold some images against their masks; before a long training, also overfit a
    handful of images, for a minute at most, and if that fails, say why."""
    tensorboard: bool = True
    """Write TensorBoard event files into the run folder."""

    def __post_init__(self) -> None:
        for base in (
            BatchOptions, ImageOptions, MaskOptions, AugmentOptions, LossOptions, OptimizerOptions, DeviceOptions
        ):  # fmt: skip
            base.__post_init__(self)
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        self._require_start()
        require(self.patience >= 0, "patience", self.patience, "at least 0 (0 never stops early)")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        require((self.mean is None) == (self.std is None), "mean", self.mean, "given together with --std")
        for value in self.mean or ():
            require(math.isfinite(value), "mean", value, "a finite number")
        for value in self.std or ():
            require(0 < value < math.inf, "std", value, "greater than 0")
        parse_pairs("model-kwargs", self.model_kwargs)

    def _require_start(self) -> None:
        side, epochs = self.start_side, self.start_epochs
        if side is None:
            if epochs is not None:
                raise UsageError(
                    f"--start-epochs is {epochs}, and there is no smaller side to start with",
                    hint="--start-side 512, or leave out --start-epochs",
                )
            return
        require(side >= 1, "start_side", side, "at least 1")
        require(self.max_side is None or side < self.max_side, "start_side", side, f"below --max-side {self.max_side}")
        require(self.epochs >= 2, "epochs", self.epochs, "2 or more with --start-side: the last is at full size")
        if epochs is not None and not 1 <= epochs < self.epochs:
            raise UsageError(
                f"--start-epochs is {epochs}; it must be at least 1 and below --epochs {self.epochs}: the last are at "
                "full size",
                hint=f"--start-epochs {max(1, self.epochs * 3 // 4)} beside --epochs {self.epochs}",
            )

    @property
    def start(self) -> StartSize | None:
        """What ``start_side`` and ``start_epochs`` come to; None for full size from the first epoch.

        It is of one epoch where the number is left to the sizes of the images, and `set_up` has not asked them yet.
        """
        return None if self.start_side is None else StartSize(self.start_side, self.start_epochs or 1)

    def changed(self, **values: Any) -> Self:
        """Return the options with some changed, which then count as given; what nobody gave stays a recipe's."""
        changed = dataclasses.replace(self, **values).as_given(self.given | frozenset(values))
        return changed.as_from_file(self.from_file - frozenset(values))

    def resolved(self, **values: Any) -> Self:
        """Return the options with some worked out; what was given, and where, stays as it was."""
        return dataclasses.replace(self, **values).as_given(self.given).as_from_file(self.from_file)

    @property
    def from_file(self) -> frozenset[str]:
        """Names of the options that have the value of a config file, and no flag."""
        names: frozenset[str] = getattr(self, "_from_file", frozenset())
        return names

    def as_from_file(self, names: frozenset[str]) -> Self:
        """Say which of the options a config file has set; for a command line."""
        object.__setattr__(self, "_from_file", names)
        return self
