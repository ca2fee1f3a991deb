"""Options of the form name=value, such as ``--model-kwargs width=64``."""

from typing import Any

import yaml

from anysize.errors import UsageError

__all__ = ["parse_pairs"]


def parse_pairs(flag: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read name=value pairs; values are read as YAML.

    >>> parse_pairs("model-kwargs", ("width=64", "final_relu=false"))
    {'width': 64, 'final_relu': False}

    Raises:
        UsageError: one of them is no such pair; ``flag`` is named.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--{flag} was given {pair!r}; name=value is required", hint="for example width=64")
        try:
            options[name.replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(
                f"--{flag} was given {pair!r}; {value!r} is not a YAML value", hint="for example width=64"
            ) from error
    return options
