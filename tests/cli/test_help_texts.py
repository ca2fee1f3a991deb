"""What --help shows: sentences that flow, defaults that say something, and options beside those of their kind."""

import dataclasses
import importlib
import itertools
import pkgutil
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from tyro.conf import Positional

from anysize.cli import commands, main
from anysize.cli.arguments import parse
from anysize.training import TrainConfig
from anysize.training.recipes import RECIPES

COMMANDS = tuple(module.name.replace("_", " ") for module in pkgutil.iter_modules(commands.__path__))
OF_RECIPES = {name for recipe in RECIPES.values() for name in recipe.values}


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shown(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The help of a command on a terminal of 200 columns."""
    monkeypatch.setenv("COLUMNS", "200")
    return help_of(command, capsys)


def help_of(command: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main([*command.split(), *more, "--help"]) == 0
    return capsys.readouterr().out


def kind_of(command: str) -> Any:
    return importlib.import_module(f"anysize.cli.commands.{command.replace(' ', '_')}").OPTIONS


def texts_of(shown: str) -> dict[str, str]:
    """What is told of each option, in one line."""
    found = re.findall(r"^  --([\w-]+)([^\n]*(?:\n {26}[^\n]+)*)", shown, re.MULTILINE)
    return {flag.replace("-", "_"): " ".join(text.split()) for flag, text in found}


def check_flow(shown: str, width: int) -> None:
    """Where a text goes on in another line, the next word had no room."""
    num_breaks = 0
    lines = shown.partition("\narguments:")[2].splitlines()
    for line, following in itertools.pairwise(lines):
        assert len(line) <= width
        assert "  " not in line[26:]
        if re.match(r".{24}  \S", line) and re.match(r" {26}\S", following):
            assert len(line) + 1 + len(following.split()[0]) > width, line
            num_breaks += 1
    assert num_breaks > 3


def test_sentences_are_broken_by_the_width_alone(shown: str) -> None:
    check_flow(shown, 120)  # longer lines are hard to read


def test_a_narrow_terminal(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = help_of(command, capsys)
    check_flow(shown, 80)
    description = shown.partition("\n\n")[2].partition("\n\nexamples:\n  anysize ")[0]  # and no empty line between
    assert description.count("\n") >= 2
    assert max(map(len, description.splitlines())) <= 80


def test_every_option_is_told_once(command: str, shown: str) -> None:
    hints = get_type_hints(kind_of(command), include_extras=True)
    names = [field.name for field in dataclasses.fields(kind_of(command))]
    flags = [name for name in names if Positional not in getattr(hints[name], "__metadata__", ())]
    assert len(flags) < len(names)
    told = re.findall(r"^  --([\w-]+)", shown, re.MULTILINE)
    assert sorted(told) == sorted(name.replace("_", "-") for name in ["config", "json", *flags])


def test_a_default_says_something(shown: str) -> None:
    assert "default" in shown
    assert not re.search(r"default:\s*(None|True|False)?\)", shown)


def test_values_have_readable_names(shown: str) -> None:
    assert not re.search(r"\{None\}|\bSTR\b|\[STR", shown)
    for name, text in texts_of(shown).items():
        if name.endswith("_kwargs"):
            assert text.startswith("NAME=VALUE ... ")


def test_what_a_recipe_may_set_is_told(command: str, shown: str) -> None:
    follows = issubclass(kind_of(command), TrainConfig)
    assert follows == (command in ("train", "lr", "doctor learn"))
    told = {name for name, text in texts_of(shown).items() if text.endswith("a recipe may set it)")}
    assert told == (OF_RECIPES if follows else set())


def test_the_words_of_some_options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    texts = texts_of(help_of("train", capsys))
    assert texts["loss"].endswith(" (default: ce; a recipe may set it)")
    assert texts["scale"].startswith("FLOAT FLOAT ")
    assert texts["scale"].endswith(" (default: 0.8 1.25; a recipe may set it)")
    assert texts["lr"].endswith("torch's own for the others. (a recipe may set it)")
    assert texts["mean"].startswith("FLOAT ... Per channel")
    assert texts["max_pixels"].startswith("INT|auto Canvas")
    assert texts["tensorboard"] == (
        ", --no-tensorboard Write TensorBoard event files into the run folder. (default: on)"
    )
    assert "for classifiers none, and the defaults that --help tells are theirs." in texts["recipe"]


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("epochs", "options:"),
        ("low", "options:"),
        ("hflip", "augment options (what is varied each time an image is seen; masks follow their images):"),
        ("loss", "loss options (what the network is judged by, and on which of its outputs):"),
        ("lr", "optimizer options (how weights move, and which):"),
        ("mixing", "batch options (how the images of a training step are chosen):"),
        ("workers", "device options (where the work is done):"),
    ],
)
def test_options_stand_with_those_of_their_kind(
    name: str, heading: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    blocks = help_of("lr", capsys).split("\n\n")
    (block,) = (block for block in blocks if f"\n  --{name} " in block)
    assert block.splitlines()[0] == heading


def test_the_defaults_are_those_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = tmp_path / "preset.yaml"
    preset.write_text("top: 3\nignore_below: 0.5\n")
    texts = texts_of(help_of("predict", capsys, "--config", str(preset)))
    assert texts["top"].endswith(" (default: 3)")
    assert texts["ignore_below"].endswith(" (default: 0.5)")


def test_after_two_dashes_no_help_is_asked_for() -> None:
    assert parse("train", TrainConfig, "", ["--", "-h"]).options.data == Path("-h")
