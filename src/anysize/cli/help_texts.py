"""What ``anysize COMMAND --help`` shows: the options by what they concern, each with its docstring and its default.

The parser is not asked for it: its help breaks a sentence where the source does, calls a default that depends None, and
puts all options into one list.
"""

import ast
import dataclasses
import inspect
import itertools
import shlex
import shutil
import textwrap
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from anysize.training.recipes import RECIPES

__all__ = ["help_text"]

_WIDTHS = (60, 120)  # in narrower ones nothing fits, and longer lines are hard to read
_TEXT_COLUMN = 26
_METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}


def help_text(command: str, description: str, line: Any) -> str:
    """Return the help of ``anysize COMMAND``, as wide as the terminal, 120 characters at most.

    Args:
        command: its name: doctor learn.
        description: paragraphs, with an empty line between them; one that has indented lines is kept as it is.
        line: a dataclass instance with the options that all commands have, and those of this one as ``options``. Their
            values are told as the defaults.
    """
    width = min(max(shutil.get_terminal_size().columns, _WIDTHS[0]), _WIDTHS[1])
    options, kind = line.options, type(line.options)
    hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    places = [name for name in names if _is_positional(hints[name])]
    shared = [field.name for field in dataclasses.fields(line) if field.name != "options"]
    own, groups = _groups(kind, [name for name in names if name not in places])
    sections = {
        "arguments:": _entries(options, places, width),
        "options:": [
            _entry("-h, --help", "Show this text and exit.", width),
            *_entries(line, shared, width),
            *_entries(options, own, width),
        ],
        **{_heading(owner): _entries(options, of_owner, width) for owner, of_owner in groups.items()},
    }
    blocks = [
        " ".join(["usage: anysize", command, *(_metavar(name, hints[name]) for name in places), "[OPTIONS]"]),
        *(part if "\n " in part else _fill(part, width) for part in description.split("\n\n")),
        *("\n".join([_fill(heading, width), *entries]) for heading, entries in sections.items()),
    ]
    return "\n\n".join(blocks) + "\n"


def _groups(kind: type, names: Sequence[str]) -> tuple[list[str], dict[type, list[str]]]:
    """The options that are the command's own, its latest class first, and those of each class it shares with others."""
    own: list[str] = []
    groups: dict[type, list[str]] = {}
    for owner in kind.__mro__:
        of_owner = [name for name in names if _owner(kind, name) is owner]
        if owner.__name__.endswith("Config"):
            own += of_owner
        elif of_owner:
            groups[owner] = of_owner
    return own, groups


def _owner(kind: type, name: str) -> type:
    """The class that an option is written in."""
    return next(owner for owner in kind.__mro__ if name in inspect.get_annotations(owner))


def _is_positional(hint: Any) -> bool:
    return Positional in getattr(hint, "__metadata__", ())


def _heading(options: type) -> str:
    """``MaskOptions`` with its docstring: "mask options (what the values of label masks mean):"."""
    word = options.__name__.strip("_").removesuffix("Options").removesuffix("Settings").lower()
    promise = (inspect.getdoc(options) or "").partition("\n")[0].rstrip(".")
    return f"{word} options ({promise[:1].lower()}{promise[1:]}):"


def _entries(options: Any, names: Sequence[str], width: int) -> list[str]:
    """Each option with what it does and its default: that of ``options``."""
    kind = type(options)
    hints = get_type_hints(kind, include_extras=True)
    follows = hasattr(options, "recipe")
    of_recipes = {name for recipe in RECIPES.values() for name in recipe.values if follows}
    docstrings = {owner: _docstrings(owner) for owner in {_owner(kind, name) for name in names}}
    entries = []
    for name in names:
        metavar, flag = _metavar(name, hints[name]), name.replace("_", "-")
        if hints[name] is bool:
            shown = f"--{flag}, --no-{flag}"
        else:
            shown = metavar if _is_positional(hints[name]) else f"--{flag} {metavar}"
        told = [_default(getattr(options, name)), "a recipe may set it" if name in of_recipes else ""]
        default = "; ".join(filter(None, told))
        entries.append(_entry(shown, docstrings[_owner(kind, name)][name] + (default and f" ({default})"), width))
    return entries


def _entry(shown: str, text: str, width: int) -> str:
    body = _fill(text, width, indent=_TEXT_COLUMN)
    head = f"  {shown}"
    return f"{head:<{_TEXT_COLUMN}}{body.lstrip()}" if len(head) + 2 <= _TEXT_COLUMN else f"{head}\n{body}"


def _fill(text: str, width: int, indent: int = 0) -> str:
    """Lines that break between words only, so that --no-json and a path stay whole."""
    space = " " * indent
    flowing = " ".join(text.split())
    return textwrap.fill(
        flowing, width, initial_indent=space, subsequent_indent=space, break_long_words=False, break_on_hyphens=False
    )


def _default(value: Any) -> str:
    """Nothing where there is none: the docstring then says what is done."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"default: {'on' if value else 'off'}"
    return f"default: {' '.join(shlex.quote(str(item)) for item in value) if isinstance(value, tuple) else value}"


def _metavar(name: str, hint: Any) -> str:
    """What stands for an option's value.

    >>> _metavar("max_pixels", int | Literal["auto"]), _metavar("patches", Literal["class", "grid"])
    ('INT|auto', '{class,grid}')
    >>> _metavar("lr", float | None), _metavar("scale", tuple[float, float]), _metavar("std", tuple[float, ...] | None)
    ('FLOAT', 'FLOAT FLOAT', 'FLOAT ...')
    >>> _metavar("model_kwargs", tuple[str, ...])
    'NAME=VALUE ...'
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = [extra.metavar for extra in hint.__metadata__ if getattr(extra, "metavar", None)]
        return own[0] if own else _metavar(name, inner[0])
    if origin in (types.UnionType, Union):
        return "|".join(_metavar(name, part) for part in inner if part is not type(None))
    if origin is Literal:
        return "{" + ",".join(inner) + "}" if len(inner) > 1 else str(inner[0])
    if origin is tuple:
        word = "NAME=VALUE" if name.endswith("_kwargs") else None
        return " ".join("..." if part is Ellipsis else word or _metavar(name, part) for part in inner)
    return _METAVARS.get(hint, "VALUE")


def _docstrings(owner: type) -> dict[str, str]:
    """The attributes' docstrings of a class, which Python does not keep."""
    tree = cast(ast.ClassDef, ast.parse(inspect.getsource(owner)).body[0])
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
