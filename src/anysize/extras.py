"""Packages that only some users need: asked for where they are used, and named with the command that installs them."""

import importlib
from types import ModuleType

from anysize.errors import MissingExtraError

__all__ = ["require_extra"]


def require_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: what is imported, ``"timm"``.
        extra: the extra of anysize that brings it, ``"zoo"``.

    Raises:
        MissingExtraError: it is not installed, or it fails on import.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: compiled parts that do not fit the installed torch
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MissingExtraError(
            f"{module} cannot be imported: {reason}",
            hint=f'pip install "anysize[{extra}]"',
        ) from error
