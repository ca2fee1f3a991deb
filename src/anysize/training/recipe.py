"""Which recipe a run follows, and what it leaves to the user."""

from typing import Any, Literal

from anysize.config_file import read_config
from anysize.console import Console
from anysize.errors import UsageError
from anysize.training.config import TrainConfig
from anysize.training.recipes import RECIPES, keeps_its_recipe
from anysize.training.run_folder import RunFolder

__all__ = ["with_recipe"]

_OF_OPTIMIZER = ("lr", "momentum", "weight_decay")
_WINDOWS = ("crop", "crop_size")


def with_recipe(config: TrainConfig, task: Literal["classify", "segment"], console: Console) -> TrainConfig:
    """Return ``config`` with the recipe's values for all options that were not given, and say which recipe it is.

    Raises:
        UsageError: an unknown recipe, or another one than that of the run to resume.
    """
    _require_same_recipe(config)
    name = config.recipe
    if name == "auto":
        name = "none" if task == "classify" else "finetune" if config.pretrained else "small-data"
    if name == "none":
        return config.resolved(recipe="none")
    if name not in RECIPES:
        raise UsageError(f"--recipe is {name!r}; known: auto, none, {', '.join(RECIPES)}", hint="--recipe auto")
    recipe = RECIPES[name]
    values = {option: value for option, value in recipe.values.items() if option not in config.given}
    kept = sorted(set(recipe.values) - set(values))
    said = f"recipe {name}: {recipe.summary}"
    own = recipe.values["opt"]
    if "opt" in config.given and config.opt.lower() != own:
        # Rates and decay are in units of their optimiser.
        values = _without(values, _OF_OPTIMIZER)
        said += f"; its rate, momentum and decay are for {own}, and not taken for {config.opt}"
    if config.see == "patches":
        values = _without(values, _WINDOWS)
        said += "; patches take the place of its windows (--see patches)"
    elif config.start_side is not None and "crop_size" in values:
        values = _without(values, ("crop_size",))
        said += "; whole images take the place of its windows (--start-side)"
    if kept:
        said += f"; your own stay: {', '.join(f'{_flag(name)} {_shown(getattr(config, name))}' for name in kept)}"
    if not (config.resume is not None and len(values) == 0):
        console.say(said)
    _say_overruled(config, name, values, console)
    return config.resolved(recipe=name, **values)


def _require_same_recipe(config: TrainConfig) -> None:
    """The command line refuses any; options that are passed on from Python may name the one that the run has."""
    if config.resume is None or config.recipe == "auto":
        return
    own = RunFolder(config.resume).config
    begun = read_config(TrainConfig, own).recipe if own.is_file() else config.recipe
    if config.recipe != begun:
        raise keeps_its_recipe(config.resume, config.recipe, begun)


def _say_overruled(config: TrainConfig, name: str, values: dict[str, Any], console: Console) -> None:
    """Name the values of a config file that the recipe, asked for by a flag, goes before."""
    differing = [
        f"{_flag(option)} is {_shown(value)} (the file has {_shown(getattr(config, option))})"
        for option, value in values.items()
        if option in config.from_file and getattr(config, option) != value
    ]
    if differing:
        console.say(f"note: --recipe {name} goes before the config file: {', '.join(differing)}")


def _without(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {option: value for option, value in values.items() if option not in names}


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
