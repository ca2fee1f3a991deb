"""Which command, and how it ends: every failure has a message, a hint and an exit code other than 0."""

import difflib
import importlib
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from anysize import startup
from anysize.errors import AnysizeError, UsageError
from anysize.version import __version__

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_OVERVIEW = """usage: anysize COMMAND ... [--json] [--help]

Train convolutional networks on images of any size, at native resolution.

commands:
{commands}

start here:
  anysize plan photos/                     # how the images would be batched; no training
  anysize train photos/ --output runs/a    # photos/ has one folder a class
  anysize eval runs/a photos/              # loss and accuracy, per class and by image size
  anysize predict runs/a new/*.jpg         # any sizes

'anysize COMMAND --help' shows the options of a command, with examples.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``anysize`` with the given arguments (by default those of the process) and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name's bytes come out as they are, UTF-8 or not
            stream.reconfigure(errors="surrogateescape" if stream is sys.stdout else "backslashreplace")
    try:
        try:
            code = _run(given)
        except SystemExit as leaving:  # from the argument parser: --help
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        sys.stdout.flush()  # here, where a reader that has gone can still be dealt with
        return code
    except AnysizeError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is where people read it
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone (anysize predict ... | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a disk that is full, a folder that may not be written
        what = error.strerror or type(error).__name__
        print(f"error: {what}" + (f": {error.filename}" if error.filename else ""), file=sys.stderr)  # noqa: T201
        return AnysizeError.exit_code


def _run(given: list[str]) -> int:
    # A file doctor_learn.py is the command of two words 'doctor learn'.
    names = [module.name.replace("_", " ") for module in pkgutil.iter_modules(_commands().__path__)]
    if not given or given[0] in ("-h", "--help", "help"):
        width = max(map(len, names))
        lines = [f"  {name:<{width}} {_command(name).SUMMARY}" for name in names]
        print(_OVERVIEW.format(commands="\n".join(lines)), end="")  # noqa: T201
        return 0 if given else UsageError.exit_code
    if given[0] == "--version":
        print(f"anysize {__version__}")  # noqa: T201
        return 0
    words = 2 if " ".join(given[:2]) in names else 1
    name = " ".join(given[:words])
    if name not in names:
        close = difflib.get_close_matches(given[0], names, n=1)
        raise UsageError(
            f"there is no command {given[0]!r}; the commands are {', '.join(names)}",
            hint=f"did you mean 'anysize {close[0]}'?" if close else "anysize --help",
        )
    if words == 1:
        _refuse_misspelt(name, given[1:2], names)
    # Imported here: 'anysize --help' answers without the parser of the commands' options.
    from anysize.cli.arguments import parse

    command = _command(name)
    examples = command.EXAMPLES.strip("\n")
    description = f"{command.DESCRIPTION.strip()}\n\nexamples:\n{examples}"
    line = parse(name, command.OPTIONS, description, given[words:])
    if isinstance(line.options, startup.StartupSettings):
        for note in startup.apply(line.options):
            print(f"note: {note}", file=sys.stderr)  # noqa: T201
    code: int = command.run(line.options, as_json=line.json)
    return code


def _refuse_misspelt(name: str, word: list[str], names: list[str]) -> None:
    """Tell 'doctor lern' from a folder of that name."""
    known = [other.split()[1] for other in names if other.startswith(f"{name} ")]
    close = [found for one in word for found in difflib.get_close_matches(one, known, n=1, cutoff=0.7)]
    if close and not Path(word[0]).exists():
        raise UsageError(f"there is no '{name} {word[0]}'", hint=f"did you mean 'anysize {name} {close[0]}'?")


def _commands() -> ModuleType:
    return importlib.import_module("anysize.cli.commands")


def _command(name: str) -> ModuleType:
    return importlib.import_module(f"anysize.cli.commands.{name.replace(' ', '_')}")
