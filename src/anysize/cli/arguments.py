"""From arguments to options: defaults, then a YAML file, then flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from anysize.config_file import read_config
from anysize.errors import UsageError

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
        UsageError: a config file that cannot be used.
        SystemExit: --help was asked for (0), or arguments cannot be parsed (2).
    """
    path = _preset(arguments)
    line: Any = CommandLine[kind]  # type: ignore[valid-type]
    parsed: CommandLine[T] = tyro.cli(
        line,
        prog=f"anysize {command}",
        description=description,
        args=arguments,
        default=CommandLine(options=kind() if path is None else read_config(kind, path)),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return parsed


def _preset(arguments: list[str]) -> Path | None:
    """The file that presets the options: --config FILE, or that of the run folder in --resume RUN."""
    config, resume = _value_of("--config", arguments), _value_of("--resume", arguments)
    if config is not None:
        return Path(config)
    return None if resume is None else Path(resume) / "config.yaml"


def _value_of(flag: str, arguments: list[str]) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == flag:
            if place + 1 == len(arguments):
                raise UsageError(f"{flag} was given without a path", hint=f"{flag} PATH")
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return None
