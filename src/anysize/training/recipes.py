"""Recipes: what papers, or experience, set a run's options to. Each value is explained in docs/recipes.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from anysize.errors import UsageError

__all__ = ["RECIPES", "Recipe", "keeps_its_recipe"]


@dataclass(frozen=True)
class Recipe:
    """Defaults for `TrainConfig` that replace its own where the user gives none."""

    name: str
    summary: str
    """One line, for the log."""
    source: str
    """Paper and section; or that it is ours."""
    values: Mapping[str, Any]
    """By the names of the options."""


_VOC = Recipe(
    "voc",
    "DeepLab v3+ on Pascal VOC: SGD at 0.007, poly 0.9, windows of 513 pixels, scale 0.5 to 2, flips",
    "Chen et al. 2018 (arXiv 1802.02611), section 4; Chen et al. 2017 (arXiv 1706.05587), section 4.1",
    MappingProxyType(
        {
            "opt": "sgd",
            "lr": 0.007,
            "momentum": 0.9,
            "weight_decay": 4e-5,
            "backbone_lr": 1.0,
            "head_epochs": 0,
            "sched": "poly",
            "warmup_epochs": 0.0,
            "batch_size": 16,
            "epochs": 46,
            "patience": 0,
            "loss": "ce",
            "label_smoothing": 0.0,
            "aux_weight": 0.0,
            "scale": (0.5, 2.0),
            "aspect": (1.0, 1.0),
            "crop": 1.0,
            "crop_size": 513,
            "rotate": 0.0,
            "hflip": 0.5,
            "vflip": 0.0,
            "color_jitter": 0.0,
            "batch_norm": "auto",
        }
    ),
)

_SMALL_DATA = Recipe(
    "small-data",
    "tens to hundreds of images: AdamW at 0.001, cosine, cross-entropy and Dice, strong augmentation",
    "ours: Loshchilov and Hutter 2019 (AdamW); Isensee et al. 2021 (nnU-Net: cross-entropy and Dice, augmentation)",
    MappingProxyType(
        {
            "opt": "adamw",
            "lr": 1e-3,
            "momentum": 0.9,
            "weight_decay": 0.02,
            "backbone_lr": 1.0,
            "head_epochs": 0,
            "sched": "cosine",
            "warmup_epochs": 2.0,
            "batch_size": 4,
            "epochs": 100,
            "patience": 30,
            "loss": "ce+dice",
            "label_smoothing": 0.0,
            "aux_weight": 0.4,
            "scale": (0.5, 2.0),
            "aspect": (0.8, 1.25),
            "crop": 0.8,
            "crop_size": 512,
            "rotate": 15.0,
            "hflip": 0.5,
            "vflip": 0.0,
            "color_jitter": 0.3,
            "batch_norm": "auto",
        }
    ),
)

_FINETUNE = Recipe(
    "finetune",
    "pretrained backbone: the head first, then all with the backbone at a tenth of the rate; AdamW at 0.001, cosine",
    "ours: Yosinski et al. 2014, section 4; Kumar et al. 2022 (arXiv 2202.10054, linear probing, then fine-tuning)",
    MappingProxyType(
        {
            "opt": "adamw",
            "lr": 1e-3,
            "momentum": 0.9,
            "weight_decay": 0.02,
            "backbone_lr": 0.1,
            "head_epochs": 3,
            "sched": "cosine",
            "warmup_epochs": 1.0,
            "batch_size": 8,
            "epochs": 40,
            "patience": 15,
            "loss": "ce+dice",
            "label_smoothing": 0.0,
            "aux_weight": 0.4,
            "scale": (0.5, 2.0),
            "aspect": (1.0, 1.0),
            "crop": 0.9,
            "crop_size": 512,
            "rotate": 5.0,
            "hflip": 0.5,
            "vflip": 0.0,
            "color_jitter": 0.2,
            "batch_norm": "auto",
        }
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in (_VOC, _SMALL_DATA, _FINETUNE)})
"""By name."""


def keeps_its_recipe(run: Path, asked: str, begun: str) -> UsageError:
    """Another recipe would set options of a run that has begun to what it never had."""
    return UsageError(
        f"--recipe is {asked} beside --resume {run}; a resumed run keeps its recipe, which is {begun}",
        hint=f"leave out --recipe, or start anew: --recipe {asked} --pretrained {run}/weights/best.safetensors",
    )
