"""The command line: reads arguments, calls the library, writes results to standard output."""

from anysize.cli.main import main

__all__ = ["main"]
