"""Which recipe a run follows, and what it leaves to the user."""

from dataclasses import replace
from typing import Literal

from anysize.console import Console
from anysize.errors import UsageError
from anysize.training.config import TrainConfig
from anysize.training.recipes import RECIPES

__all__ = ["with_recipe"]

_OF_OPTIMIZER = ("lr", "momentum", "weight_decay")


def with_recipe(config: TrainConfig, task: Literal["classify", "segment"], console: Console) -> TrainConfig:
    """Return ``config`` with the recipe's values for all options that were not given, and say which recipe it is.

    Raises:
        UsageError: an unknown recipe, or one for segmenters where images are classified.
    """
    name = config.recipe
    if name == "auto":
        name = "none" if task == "classify" else "finetune" if config.pretrained else "small-data"
    if name == "none":
        return replace(config, recipe="none")
    if name not in RECIPES:
        raise UsageError(f"--recipe is {name!r}; known: auto, none, {', '.join(RECIPES)}", hint="--recipe auto")
    recipe = RECIPES[name]
    values = {option: value for option, value in recipe.values.items() if option not in config.given}
    kept = sorted(set(recipe.values) - set(values))
    if "opt" in config.given and config.opt.lower() != recipe.values["opt"]:
        # Rates and decay are in units of their optimiser.
        values = {option: value for option, value in values.items() if option not in _OF_OPTIMIZER}
    said = f"recipe {name}: {recipe.summary}"
    if "opt" in config.given and config.opt.lower() != recipe.values["opt"]:
        said += f"; the rate and the decay are those of {config.opt}"
    if kept:
        said += f" (as you gave them: {', '.join('--' + option.replace('_', '-') for option in kept)})"
    if not (config.resume is not None and len(values) == 0):
        console.say(said)
    return replace(config, **{"recipe": name, **values})
