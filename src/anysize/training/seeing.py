"""The way that a run sees its images, and the options that belong to it: what would do nothing is refused."""

from dataclasses import fields
from typing import Any, Literal

from anysize.console import Console
from anysize.errors import UsageError
from anysize.training.config import TrainConfig

__all__ = ["with_seeing"]

_OF_WAY = {
    "patches": "patches",
    "patch_size": "patches",
    "patch_overlap": "patches",
    "sample_share": "sampled",
    "sample_by": "sampled",
}
"""The --see that an option is of."""
_WINDOWS: dict[str, Any] = {"crop_size": None, "crop": 1.0}
"""What patches take the place of, and the value that says so."""


def with_seeing(config: TrainConfig, task: Literal["classify", "segment"], console: Console) -> TrainConfig:
    """Return ``config`` with what its --see does not use at values that say so, and the overlap of a grid as a number.

    Defaults may stand for nothing, and so may a recipe's values, which come later; what was given may not.

    Raises:
        UsageError: an option was given that would do nothing.
    """
    if task == "classify" and config.see != "whole":
        raise UsageError(
            f"--see is {config.see}, and {config.data} has one class for each image; it needs masks, one class for "
            "each pixel",
            hint="leave out --see",
        )
    values = {}
    for option, unused in _unused(config).items():
        value = getattr(config, option)
        if _will_be_missed(config, option, unused):
            raise _refusal(config, task, option, value)
        if value != unused:
            values[option] = unused
            if option in config.from_file and config.resume is None:
                owner = "--see whole and sampled" if option in _WINDOWS else f"--see {_OF_WAY[option]}"
                console.say(f"note: {option} {value} of the config file is left aside: it is of {owner} alone")
    if config.see == "patches" and config.patches == "grid":
        values["patch_overlap"] = config.grid_overlap
    return config.resolved(**values)


def _unused(config: TrainConfig) -> dict[str, Any]:
    """The options that mean nothing beside the others, each with the value that stands for that."""
    unused = {option: _default(option) for option, way in _OF_WAY.items() if way != config.see}
    if config.see == "patches":
        unused |= _WINDOWS
        if config.patches != "grid":
            unused["patch_overlap"] = None
    return unused


def _default(option: str) -> Any:
    return next(field.default for field in fields(TrainConfig) if field.name == option)


def _will_be_missed(config: TrainConfig, option: str, unused: object) -> bool:
    """Whether somebody has set an option, and to another value than the one that stands for nothing."""
    value = getattr(config, option)
    is_usual = value in (unused, _default(option))
    if option in config.from_file:
        # A flag may change what the file's options were for; and a run's own file may have them from a recipe.
        has_changed = {"see", "patches"} & (config.given - config.from_file)
        return not (is_usual or has_changed or config.resume is not None)
    says_so = option in _WINDOWS and value == unused
    return option in config.given and not says_so and not (config.is_passed_on and is_usual)


def _refusal(config: TrainConfig, task: Literal["classify", "segment"], option: str, value: object) -> UsageError:
    flag = "--" + option.replace("_", "-")
    if option in _WINDOWS:
        instead = f"--patch-size {value}, or " if option == "crop_size" else ""
        return UsageError(
            f"{flag} is {value}, and --see patches cuts windows of {config.patch_size} pixels (--patch-size) already",
            hint=f"{instead}leave out {flag}",
        )
    way = _OF_WAY[option]
    if task == "classify":
        return UsageError(
            f"{flag} is {value}, which is of --see {way} alone, and {config.data} has one class for each image",
            hint=f"leave out {flag}",
        )
    if config.see == way:
        return UsageError(
            f"{flag} is {value}, which is of --patches grid alone, and --patches is {config.patches}",
            hint=f"--patches grid, or leave out {flag}",
        )
    grid = " --patches grid" if option == "patch_overlap" else ""
    return UsageError(
        f"{flag} is {value}, which is of --see {way} alone, and --see is {config.see}",
        hint=f"--see {way}{grid}, or leave out {flag}",
    )
