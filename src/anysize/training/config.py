"""The options of a training run."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.options import BatchOptions, DeviceOptions, ImageOptions, require
from anysize.pairs import parse_pairs

__all__ = ["TrainConfig"]

_DEFAULT_LR = {"adamw": 2e-3, "sgd": 0.05}


@dataclass(frozen=True, kw_only=True)
class TrainConfig(BatchOptions, ImageOptions, DeviceOptions):
    """What `train` does; every field is a flag of ``anysize train``."""

    data: Annotated[Path | None, Positional, arg(metavar="DATA")] = None
    """Folder with images in class folders (with train/ and val/ or without) or with WebDataset shards (*.tar), or a CSV
    file with path,label[,split]."""
    output: Path | None = None
    """The run folder; by default runs/DATA-MODEL, numbered."""
    resume: Path | None = None
    """Go on with this run folder, from its last checkpoint, with its own options; flags given beside it override."""
    model: str = "resnet9"
    """Name of the network; `anysize summary` lists them all."""
    model_kwargs: tuple[str, ...] = ()
    """Options of the network, as name=value: width=64, final_relu=false."""
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
    patience: int = 10
    """Stop after so many epochs without a better validation result; 0 never stops early."""
    opt: Literal["adamw", "sgd"] = "adamw"
    """Optimiser; 'sgd' has Nesterov momentum."""
    lr: float | None = None
    """Highest learning rate; by default 0.002 for adamw, 0.05 for sgd."""
    momentum: float = 0.9
    """Momentum of sgd, beta1 of adamw."""
    weight_decay: float = 0.02
    """Weight decay, not applied to biases and normalisation layers."""
    sched: Literal["cosine", "poly", "plateau", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine to zero, (1 - t)^0.9, cut on a plateau of the validation loss, or
    constant."""
    warmup_epochs: float = 1.0
    """Epochs in which the learning rate rises linearly from zero; at most a fifth of the run."""
    plateau_patience: int = 4
    """Epochs without a lower validation loss before 'plateau' cuts the rate."""
    plateau_factor: float = 0.2
    """What 'plateau' multiplies the rate by."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes."""
    hflip: float = 0.5
    """Probability of mirroring left to right; 0 where left and right have a meaning (digits, text)."""
    vflip: float = 0.0
    """Probability of mirroring top to bottom."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Scale jitter: each image is resized by a random factor between these; '1 1' keeps native sizes."""
    crop: float = 0.9
    """Random crops keep at least this share of each side; 1 never crops."""
    color_jitter: float = 0.2
    """Strength of random brightness, contrast and saturation; 0 for none."""
    seed: int = 0
    """The same seed gives the same run on the same machine."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Activation checkpointing: blocks of the network work their activations out again instead of keeping them, the
    same gradients in less memory, for about a third more time. 'auto': only when an image would not fit without."""
    tensorboard: bool = True
    """Write TensorBoard event files into the run folder."""

    def __post_init__(self) -> None:
        for base in (BatchOptions, ImageOptions, DeviceOptions):
            base.__post_init__(self)
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.patience >= 0, "patience", self.patience, "at least 0 (0 never stops early)")
        require(self.lr is None or self.lr > 0, "lr", self.lr, "greater than 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and less than 1")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "at least 0")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "at least 0 and less than 1")
        require(0 < self.plateau_factor < 1, "plateau_factor", self.plateau_factor, "between 0 and 1")
        require(self.plateau_patience >= 1, "plateau_patience", self.plateau_patience, "at least 1")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        for name in ("hflip", "vflip", "color_jitter"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "at least 0 and at most 1")
        require(0 < self.crop <= 1, "crop", self.crop, "greater than 0 and at most 1")
        low, high = self.scale
        require(0 < low <= high < math.inf, "scale", f"{low:g} {high:g}", "two positive factors, smaller first")
        require((self.mean is None) == (self.std is None), "mean", self.mean, "given together with --std")
        for value in self.mean or ():
            require(math.isfinite(value), "mean", value, "a finite number")
        for value in self.std or ():
            require(0 < value < math.inf, "std", value, "greater than 0")
        parse_pairs("model-kwargs", self.model_kwargs)

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up."""
        return _DEFAULT_LR[self.opt] if self.lr is None else self.lr
