"""The options of a training run, by what they concern; `TrainConfig` has them all."""

import math
from dataclasses import dataclass
from typing import Literal

from anysize.errors import UsageError
from anysize.options import require
from anysize.pairs import parse_pairs

__all__ = ["AugmentOptions", "LossOptions", "OptimizerOptions"]


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """What is varied each time an image is seen; masks follow their images."""

    hflip: float = 0.5
    """Probability of mirroring left to right; 0 where left and right have a meaning (digits, text)."""
    vflip: float = 0.0
    """Probability of mirroring top to bottom."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Scale jitter: each image is resized by a random factor between these; '1 1' keeps native sizes."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Each image's height / width is multiplied by a random factor between these."""
    crop: float = 0.9
    """Random crops keep at least this share of each side; 1 never crops."""
    crop_size: int | None = None
    """After scaling, a random window of at most so many pixels a side; smaller images stay whole, nothing is filled."""
    rotate: float = 0.0
    """Each image is turned by up to so many degrees either way, and cut to what lies within it: nothing is filled."""
    color_jitter: float = 0.2
    """Strength of random brightness, contrast and saturation; 0 for none."""
    hue: float = 0.0
    """Each image's hue is turned by up to so many degrees either way."""

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip", "color_jitter"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "at least 0 and at most 1")
        require(0 < self.crop <= 1, "crop", self.crop, "greater than 0 and at most 1")
        require(self.crop_size is None or self.crop_size >= 1, "crop_size", self.crop_size, "at least 1")
        require(0 <= self.rotate <= 180, "rotate", self.rotate, "at least 0 and at most 180 degrees")
        require(0 <= self.hue <= 180, "hue", self.hue, "at least 0 and at most 180 degrees")
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            require(0 < low <= high < math.inf, name, f"{low:g} {high:g}", "two positive factors, smaller first")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What the network is judged by, and on which of its outputs."""

    loss: str = "ce"
    """A loss, or a sum of several: ce, dice, jaccard, focal, tversky, lovasz, ohem, ce+dice, ce+0.5*lovasz."""
    loss_kwargs: tuple[str, ...] = ()
    """Options of the losses, as loss.name=value: focal.gamma=2."""
    class_weights: tuple[str, ...] = ()
    """Of cross-entropy: 'balanced' (median frequency over the training pixels), 'sqrt' of that, or one number
    a class."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes."""
    aux_weight: float = 0.4
    """Weight of the loss of an auxiliary head, where the network has one (--model-kwargs aux_head=true)."""
    see: Literal["whole", "patches", "sampled"] = "whole"
    """How a segmenter sees an image: 'whole', all outputs at once; 'patches', square crops of it; 'sampled', whole
    with a share of the outputs in the loss."""
    patch_size: int = 256
    """With --see patches, their side in pixels."""
    patches: Literal["random", "class", "grid"] = "random"
    """With --see patches, where they lie: anywhere, where rare classes are, or on an overlapping grid over the whole
    image."""
    patch_overlap: int | None = None
    """With --patches grid, pixels that neighbours share at least; by default a quarter of --patch-size."""
    sample_share: float = 0.25
    """With --see sampled, the share of an image's pixels that count."""
    sample_by: Literal["random", "hardest"] = "random"
    """With --see sampled, which pixels count: drawn at random, or those with the largest loss."""

    def __post_init__(self) -> None:
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "at least 0 and less than 1")
        require(0 <= self.aux_weight < math.inf, "aux_weight", self.aux_weight, "at least 0")
        require(self.patch_size >= 1, "patch_size", self.patch_size, "at least 1")
        require(
            0 <= self.grid_overlap < self.patch_size,
            "patch_overlap", self.patch_overlap, f"at least 0 and less than --patch-size {self.patch_size}",
        )  # fmt: skip
        require(0 < self.sample_share <= 1, "sample_share", self.sample_share, "greater than 0 and at most 1")

    @property
    def grid_overlap(self) -> int:
        """``patch_overlap`` as a number. The quarter is ours: each pixel that is not at the border of the image lies an
        eighth of a patch or more within one patch."""
        return self.patch_size // 4 if self.patch_overlap is None else self.patch_overlap


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How weights move, and which."""

    opt: str = "adamw"
    """Optimiser: any of torch.optim by its name (adamw, sgd with Nesterov momentum, rmsprop, adadelta, nadam, ...)."""
    opt_kwargs: tuple[str, ...] = ()
    """Further options of the optimiser, as name=value: rho=0.9."""
    lr: float | None = None
    """Highest learning rate; by default 0.002 for adamw, 0.05 for sgd, torch's own for the others."""
    backbone_lr: float = 1.0
    """What the rate of the pretrained part (the encoder of a segmenter, all but the last layer of a classifier) is
    multiplied by."""
    head_epochs: int = 0
    """First train the new part alone for so many epochs, the pretrained part frozen, then all."""
    momentum: float = 0.9
    """Momentum of sgd, beta1 of adamw."""
    weight_decay: float | None = None
    """Weight decay, not applied to biases and normalisation layers; by default 0.02 for adamw, 0.0001 for sgd, torch's
    own for the others."""
    sched: Literal["cosine", "poly", "plateau", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine to zero, (1 - t)^0.9, cut on a plateau of the validation loss, or
    constant."""
    warmup_epochs: float = 1.0
    """Epochs in which the learning rate rises linearly from zero; at most a fifth of the run."""
    plateau_patience: int = 4
    """Epochs without a lower validation loss before 'plateau' cuts the rate."""
    plateau_factor: float = 0.2
    """What 'plateau' multiplies the rate by."""
    batch_norm: Literal["auto", "train", "frozen", "recalibrate", "group"] = "auto"
    """Batch normalisation: 'train' on each step's pixels; 'frozen', running statistics that never move; 'recalibrate',
    as train, with the statistics estimated anew before each evaluation; 'group', GroupNorm instead. 'auto' decides by
    the pixels of a step and by what is pretrained, and says so."""

    def __post_init__(self) -> None:
        require(self.lr is None or self.lr > 0, "lr", self.lr, "greater than 0")
        require(
            0 < self.backbone_lr < math.inf, "backbone_lr", self.backbone_lr, "greater than 0 (--head-epochs freezes)"
        )
        require(self.head_epochs >= 0, "head_epochs", self.head_epochs, "at least 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and less than 1")
        require(self.weight_decay is None or self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "at least 0")
        require(0 < self.plateau_factor < 1, "plateau_factor", self.plateau_factor, "between 0 and 1")
        require(self.plateau_patience >= 1, "plateau_patience", self.plateau_patience, "at least 1")
        parse_pairs("opt-kwargs", self.opt_kwargs)

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up.

        Raises:
            UsageError: it was left to the optimiser, and `set_up` has not asked it yet.
        """
        if self.lr is None:
            raise UsageError("--lr was left to the optimiser, and there is none here", hint="give a number: --lr 0.002")
        return self.lr
