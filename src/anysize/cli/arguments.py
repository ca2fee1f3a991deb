"""From arguments to options: defaults, then a YAML file, then flags."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, cast

import tyro

from anysize.cli.help_texts import help_text
from anysize.config_file import read_config
from anysize.errors import UsageError
from anysize.options import RemembersGiven
from anysize.training.config import TrainConfig
from anysize.training.recipes import keeps_its_recipe

__all__ = ["CommandLine", "parse"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CommandLine(Generic[T]):
    """What one command was given."""

    options: Annotated[T, tyro.conf.arg(name="")]
    config: Path | None = None
    """A YAML file with any of these options (names as in the run folder's config.yaml); flags override it."""
    json: bool = False
    """Write the result to standard output as JSON."""


def parse(command: str, kind: type[T], description: str, arguments: list[str]) -> CommandLine[T]:
    """Read the arguments of ``anysize COMMAND``.

    Raises:
        UsageError: arguments that cannot be parsed, or a config file that cannot be used.
        SystemExit: --help was asked for (0).
    """
    _refuse_unknown_flags(command, kind, arguments)
    path = _preset(arguments)
    line: Any = CommandLine[kind]  # type: ignore[valid-type]
    preset = kind() if path is None else read_config(kind, path)
    if {"-h", "--help"} & set(itertools.takewhile(lambda argument: argument != "--", arguments)):
        sys.stdout.write(help_text(command, description, CommandLine(options=preset)))
        raise SystemExit(0)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed: CommandLine[T] = tyro.cli(
                line,
                prog=f"anysize {command}",
                args=arguments,
                default=CommandLine(options=preset),
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as leaving:
        if not leaving.code:
            raise
        hint = f"anysize {command} --help shows the options"
        raise UsageError(_without_box(said.getvalue()), hint=hint) from None
    if isinstance(preset, RemembersGiven):
        # The parser has built every option; those that nobody gave are a recipe's to choose.
        _say_what_was_given(parsed.options, _given(kind, arguments), preset)
    return parsed


def _say_what_was_given(options: Any, flags: frozenset[str], preset: RemembersGiven) -> None:
    """A recipe that is asked for by a flag goes before a file, and any other flag before the recipe."""
    asks = isinstance(options, TrainConfig) and "recipe" in flags
    if asks and options.resume is not None:
        raise keeps_its_recipe(options.resume, options.recipe, cast(TrainConfig, preset).recipe)
    options.as_given(flags if asks else preset.given | flags)
    if isinstance(options, TrainConfig):
        options.as_from_file(preset.given - flags)


def _given(kind: type, arguments: list[str]) -> frozenset[str]:
    """Names of the options of ``kind`` that have a flag among the arguments."""
    flags = {argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in arguments if argument[:2] == "--"}
    names = {field.name for field in dataclasses.fields(kind)}
    return frozenset(names & (flags | {flag.removeprefix("no_") for flag in flags}))


def _refuse_unknown_flags(command: str, kind: type, arguments: list[str]) -> None:
    """The parser would say so too, but a spelling mistake is worth a short answer."""
    known = {"--help", "--config", "--json"}
    for field in dataclasses.fields(kind):
        known.add("--" + field.name.replace("_", "-"))
    for argument in arguments:
        flag = argument.partition("=")[0].replace("_", "-")
        switch = "--" + flag.removeprefix("--no-") if flag.startswith("--no-") else flag
        if not flag.startswith("--") or flag == "--" or flag.startswith("--tyro-") or {flag, switch} & known:
            continue
        close = difflib.get_close_matches(flag, known, n=1)
        raise UsageError(
            f"anysize {command} has no option {flag}",
            hint=f"did you mean {close[0]}?" if close else f"anysize {command} --help shows the options",
        )


def _without_box(text: str) -> str:
    r"""What the parser's box says, in one line: without the frame, and without the helptext below the fault.

    >>> _without_box("╭─ Bad choice ─╮\n│ invalid choice  │\n│ 'x'. │\n│ ───── │\n│ For help │\n╰───╯")
    "invalid choice 'x'"
    >>> _without_box(" Bad choice \n -------- \n  invalid choice 'x'. \n  -----\n  For help\n")  # no UTF-8
    "invalid choice 'x'"
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    sections: list[list[str]] = [[]]
    for line in plain.splitlines():
        content = line.strip(" │")
        if content.strip("╭─╮-") == "" or content.startswith("╭─"):
            sections.append([])
        else:
            sections[-1].append(content)
    said = " ".join(sections[1] if len(sections) > 1 else sections[0])
    return said.partition(" Got errors:")[0].removeprefix("Error parsing ").strip().rstrip(". ")


def _preset(arguments: list[str]) -> Path | None:
    """The file that presets the options: --config FILE, or that of the run folder in --resume RUN."""
    config, resume = _value_of("--config", arguments), _value_of("--resume", arguments)
    if config is not None:
        return Path(config)
    if resume is None:
        return None
    own = Path(resume) / "config.yaml"
    if not own.is_file():
        raise UsageError(
            f"there is no run to resume in {resume}: it holds no config.yaml",
            hint="--resume takes the folder of a run that was started before",
        )
    return own


def _value_of(flag: str, arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == flag:
            if place + 1 == len(arguments):
                raise UsageError(f"{flag} was given without a path", hint=f"{flag} PATH")
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None
