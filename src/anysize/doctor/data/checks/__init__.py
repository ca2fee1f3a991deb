"""The checks of a data set: one file each, found by itself; each reads a survey and opens nothing."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from anysize.doctor.data.survey import Survey
from anysize.doctor.finding import Finding

__all__ = ["DataCheck", "all_checks", "number", "share"]


@dataclass(frozen=True, slots=True)
class DataCheck:
    """One check. A module of this folder that has a ``CHECK`` object is one.

    Args:
        name: in lower case with dashes, as findings carry it.
        order: where its findings stand among others of their severity; the lowest first.
        run: yields what it finds.
    """

    name: str
    order: int
    run: Callable[[Survey], Iterable[Finding]]


@cache
def all_checks() -> tuple[DataCheck, ...]:
    """Every check of this folder, in order."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    checks: list[DataCheck] = [module.CHECK for module in modules if hasattr(module, "CHECK")]
    return tuple(sorted(checks, key=lambda check: (check.order, check.name)))


def number(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> number(1, "image"), number(2000, "image"), number(3, "class", "classes")
    ('1 image', '2,000 images', '3 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def share(part: float, whole: float) -> str:
    """A share in per cent, never a false 0 or 100.

    >>> share(1, 4), share(1, 100_000), share(0, 5), share(99_999, 100_000)
    ('25 %', '0.001 %', '0 %', '>99 %')
    """
    percent = 100 * part / whole if whole else 0.0
    if part and percent < 10:
        return f"{percent:.2g} %" if percent >= 0.001 else "<0.001 %"
    if percent > 99.5 and part < whole:
        return ">99 %"
    return f"{percent:.0f} %"
