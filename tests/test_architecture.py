"""The house stays in order: who imports whom, what is public, and how large a room may be."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import anysize

ROOT = Path(anysize.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Each unit imports from the lines above its own, never from beside or below.
ORDER = (
    {"errors", "extras", "version", "atomic", "cache_folder", "sizes"},
    {"startup", "config_file", "console", "pairs", "kernels"},
    {"options"},
    {"ragged", "data", "models"},
    {"batching", "losses", "metrics", "remembered"},
    {"loading", "reporting", "memory", "timing"},
    {"inference", "stepping"},
    {"doctor"},
    {"training", "planning"},
    {"cli"},
)
LEVELS = {unit: level for level, units in enumerate(ORDER) for unit in units}
# Lowest line only: sizes and extras raise errors.
WITHIN_A_LINE = {("sizes", "errors"), ("extras", "errors")}
WITHOUT_TORCH = {
    "errors",
    "extras",
    "version",
    "atomic",
    "cache_folder",
    "sizes",
    "startup",
    "options",
    "config_file",
    "console",
} | {
    "data",
    "batching",
    "reporting",
    "cli",
}


def unit_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_run_downwards_only() -> None:
    seen = set()
    for path in FILES:
        unit = unit_of(path)
        if unit in ("__init__", "__main__"):  # the front doors: lazily everything, and the command line
            continue
        assert unit in LEVELS, f"{path}: give {unit} a place in ORDER"
        for name in imports(path):
            first, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if first != "anysize" or other == unit:
                continue
            assert other in LEVELS, f"{path} imports {name}"
            assert LEVELS[other] < LEVELS[unit] or (unit, other) in WITHIN_A_LINE, f"{path} imports {name}"
            seen.add((unit, other))
    assert {("training", "inference"), ("cli", "training"), ("options", "startup")} <= seen


def test_only_the_front_door_imports_the_command_line() -> None:
    importers = {unit_of(path) for path in FILES for name in imports(path) if name.startswith("anysize.cli")}
    assert importers == {"cli", "__main__"}


def test_units_without_torch_do_not_import_it() -> None:
    users = {unit_of(path) for path in FILES for name in imports(path) if name.split(".")[0] == "torch"}
    assert {"ragged", "models", "training"} <= users
    assert not users & WITHOUT_TORCH


def test_importing_anysize_loads_nothing_heavy() -> None:
    code = "import sys, anysize; dir(anysize); print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "anysize.version" in loaded
    assert not loaded & {"torch", "numpy", "matplotlib", "rich", "tyro", "PIL", "yaml"}


def public_names(tree: ast.Module) -> set[str]:
    """What a module defines without an underscore."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def in_order(names: list[str]) -> list[str]:
    """CONSTANTS, then Classes, then functions, each by code point."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_public_means_listed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} does not say what it is for"
    if path.name == "__main__.py":  # to be run, not imported
        return
    module = importlib.import_module(module_name(path))
    imported_here = path.name == "__init__.py" and any(isinstance(node, ast.ImportFrom) for node in tree.body)
    is_command = path.parent == ROOT / "cli" / "commands"  # its four names are the contract of a command
    if not hasattr(module, "__all__"):
        assert is_command or not (public_names(tree) or imported_here), f"{path} has no __all__"
        return
    listed = list(module.__all__)
    assert listed == in_order(listed)
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert hasattr(module, name), f"{path} lists {name}, which does not exist"


def test_the_front_door_opens_on_every_name() -> None:
    from anysize import _HOMES

    assert set(anysize.__all__) == {*_HOMES, "__version__"}
    for name, home in _HOMES.items():
        assert getattr(anysize, name) is getattr(importlib.import_module(home), name)
        assert name in importlib.import_module(home).__all__
    assert set(anysize.__all__) <= set(dir(anysize))
    with pytest.raises(AttributeError, match=r"^module 'anysize' has no attribute 'trian'$"):
        _ = anysize.trian


def test_the_front_door_tells_type_checkers_the_same() -> None:
    from anysize import _HOMES

    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert told == _HOMES


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_rooms_are_small_and_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def test_every_command_keeps_the_contract() -> None:
    commands = sorted((ROOT / "cli" / "commands").glob("[!_]*.py"))
    assert {path.stem for path in commands} >= {"plan", "train", "eval", "predict"}
    for path in commands:
        module = importlib.import_module(module_name(path))
        assert module.SUMMARY
        assert not module.SUMMARY.endswith(".")
        examples = module.EXAMPLES.strip().splitlines()
        assert len(examples) >= 2
        assert all(line.strip().startswith(f"anysize {path.stem.replace('_', ' ')} ") for line in examples)
        assert module.DESCRIPTION.strip().endswith(".")
        assert callable(module.run)
        assert isinstance(module.OPTIONS, type)
