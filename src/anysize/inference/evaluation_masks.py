"""How the masks of an evaluation are read: as in training, unless the command line says otherwise."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from anysize.config_file import from_mapping, read_mapping
from anysize.console import Console
from anysize.data.formats import read_listing
from anysize.data.masks.rules import NAME_FILES, read_class_names
from anysize.data.problems import listed
from anysize.errors import UsageError
from anysize.inference.config import EvalConfig
from anysize.inference.trained import TrainedNetwork
from anysize.options import MaskOptions

__all__ = ["config_of", "masks_of"]

_NAMES = tuple(field.name for field in fields(MaskOptions))
_CODING = ("mask_values", "mask_palette", "reduce_zero_label")


def config_of(run: Path) -> Path:
    """The config.yaml of a run folder, or of the run whose weights are given; it need not be there."""
    if run.suffix == ".safetensors" and run.parent.name == "weights":
        return run.parent.parent / "config.yaml"
    return run / "config.yaml"


def masks_of(config: EvalConfig, network: TrainedNetwork, data: Path, console: Console, *, own: bool) -> MaskOptions:
    """What the values of the masks mean: as given, and else as the run was trained, on its own data and on any other.

    Without names a class is its place among the values, so that another reading of the same files measures other
    classes, and nothing would show it.

    Args:
        config: the options, and which of them were given.
        network: of the run.
        data: folder or CSV file.
        console: told what the run's options are, for other data than its own.
        own: whether these are the data that the run was trained on.

    Raises:
        UsageError: options of masks for a classifier; files of the run's options that are missing, or that name the
            classes otherwise than the data do.
    """
    given = {name: getattr(config, name) for name in _NAMES if name in config.given}
    changed = [name for name in given if given[name] != getattr(MaskOptions(), name)]
    if network.task == "classify":
        if changed:
            raise UsageError(
                f"{_flag(changed[0])} is an option of label masks, and {network.card.model} in {network.path} "
                "is a classifier",
                hint="leave it out",
            )
        return MaskOptions()
    path = config_of(config.require_run())
    content = read_mapping(path) if path.is_file() else {}
    trained = from_mapping(MaskOptions, {name: content[name] for name in _NAMES if name in content}, source=str(path))
    if any(name in given for name in _CODING):
        # Said anew which value is which class: what the run says of values would contradict it, or take one away.
        plain = MaskOptions()
        trained = replace(trained, **{name: getattr(plain, name) for name in ("ignore_label", *_CODING)})
    masks = replace(trained, **given)
    _require_files(masks, given, path)
    if "classes" not in given:
        _require_names_of_training(masks, network.card.classes, path)
    taken = [name for name in _NAMES if name not in given and getattr(masks, name) != getattr(MaskOptions(), name)]
    if taken and not own:
        _require_same_names(masks, given, data, path)
        told = " ".join(_as_typed(name, getattr(masks, name)) for name in taken)
        console.say(f"note: masks are read as in training, with {told} ({path}); a flag given here goes before it")
    return masks


def _require_files(masks: MaskOptions, given: dict[str, Any], path: Path) -> None:
    """Say which run asks for a file that is not there."""
    palette = masks.mask_palette
    files = {
        "classes": masks.classes,
        "mask_palette": None if palette is None or palette.startswith("#") else Path(palette),
    }
    for name, file in files.items():
        if name in given or file is None or file.is_file():
            continue
        relative = "" if file.is_absolute() else ", from the folder in which it was trained"
        raise UsageError(
            f"the run's {path} names {_flag(name)} {file}{relative}, and there is no such file",
            hint=f"{_flag(name)} FILE says where it is now",
        )


def _require_names_of_training(masks: MaskOptions, classes: Sequence[str], path: Path) -> None:
    """Refuse another file under the name of that of the training, from which classes would be renumbered in silence."""
    if masks.classes is None or masks.mask_values is not None or masks.mask_palette is not None:
        return  # or the order of the names need not be that of the classes
    names = read_class_names(masks.classes).names
    if [name for name in names if name in classes] != list(classes):
        raise UsageError(
            f"the run's {path} names --classes {masks.classes}, which is not as it was in training: it has "
            f"{listed(names)}, and the network's classes are {listed(classes)}",
            hint="--classes FILE with one name a line says what the values of the masks are called",
        )


def _require_same_names(masks: MaskOptions, given: dict[str, Any], data: Path, path: Path) -> None:
    """Refuse to choose between the names of the run and others in the data."""
    if masks.classes is None or "classes" in given:
        return
    listing = read_listing(data)
    if listing.masks is None:
        return
    beside = next((listing.root / name for name in NAME_FILES if (listing.root / name).is_file()), None)
    names = read_class_names(masks.classes).names
    other = listing.classes if listing.coding is not None else ()
    if beside is not None and not other:
        other = read_class_names(beside).names
    if other and other != names:
        where = f"{beside}" if beside is not None else f"the layout {listing.layout} of {data}"
        raise UsageError(
            f"the run's {path} names --classes {masks.classes}, and {where} names the classes otherwise",
            hint=f"--classes {masks.classes} reads the masks as in training"
            + (f", --classes {beside} as the data say" if beside is not None else ""),
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _as_typed(name: str, value: object) -> str:
    return _flag(name) if value is True else f"{_flag(name)} {value}"
