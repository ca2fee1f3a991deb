"""Options to YAML and back: the resolved options of a run are saved, and a file may preset any of them."""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from anysize.atomic import write_text
from anysize.errors import UsageError

__all__ = ["from_mapping", "read_config", "read_mapping", "to_mapping", "write_config"]

T = TypeVar("T")


def read_config(kind: type[T], path: Path) -> T:
    """Read options of class ``kind`` from a YAML file; what it leaves out keeps its default.

    Raises:
        UsageError: no such file, not YAML, an unknown name, or a value of the wrong type.
    """
    return from_mapping(kind, read_mapping(path), source=str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read names and plain values from a YAML file; an empty file holds none.

    Raises:
        UsageError: no such file, or not a YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the config file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file {path} is not YAML: {error}") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise UsageError(f"the config file {path} holds a {kind}; names with values are required")
    return content


def from_mapping(kind: type[T], content: Mapping[str, Any], *, source: str) -> T:
    """Build options of class ``kind`` from names and plain values; hyphens in names are read as underscores.

    Raises:
        UsageError: an unknown name, or a value of the wrong type; names ``source``.
    """
    hints = get_type_hints(kind)
    values = {str(name).replace("-", "_"): value for name, value in content.items()}
    for name in values:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, n=1)
            raise UsageError(
                f"{source} sets {name!r}, which is no option",
                hint=f"did you mean {close[0]}?" if close else f"the options are {', '.join(sorted(hints))}",
            )
    return kind(**{name: _convert(value, hints[name], f"{source}: {name}") for name, value in values.items()})


def _convert(value: Any, hint: Any, place: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        options = [option for option in get_args(hint) if option is not type(None)]
        if len(options) == 1:
            return _convert(value, options[0], place)
        for option in options:
            with suppress(UsageError):
                return _convert(value, option, place)
        raise UsageError(f"{place} is {value!r}; {' or '.join(map(_describe, options))} is required")
    if origin is Literal:
        for choice in get_args(hint):
            # By its text as well: YAML reads a bare 1 as a number, and --in-channels 1 is a word.
            if value == choice or (type(value) is int and str(value) == choice):
                return choice
        raise UsageError(f"{place} is {value!r}; it must be one of {', '.join(map(str, get_args(hint)))}")
    if origin is tuple and isinstance(value, list | tuple):
        kinds = get_args(hint)
        item_kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(item_kinds) == len(value):
            return tuple(_convert(item, kind, place) for item, kind in zip(value, item_kinds, strict=True))
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError):  # as text too: YAML 1.1 reads 1e-3, which has no point, as text
            return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UsageError(f"{place} is {value!r}; {_describe(hint)} is required")


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def to_mapping(options: Any) -> dict[str, Any]:
    """Return options as names and plain values (paths as text, tuples as lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return {field.name: plain(getattr(options, field.name)) for field in dataclasses.fields(options)}


def write_config(path: Path, options: Any) -> None:
    """Write all options, defaults included, as YAML."""
    write_text(path, yaml.safe_dump(to_mapping(options), sort_keys=False))
