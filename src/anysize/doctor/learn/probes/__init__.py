"""One cause a file; each is found by itself.

A probe has ``ORDER`` (what makes other probes moot comes first), and ``probe(case) -> list[Finding]``. It leaves the
model as it was (`Case.trial`), and says nothing where it cannot tell: false alarms are worse than misses.
"""

import importlib
import pkgutil
from collections.abc import Callable

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case

__all__ = ["Probe", "list_probes"]

Probe = Callable[[Case], list[Finding]]


def list_probes() -> list[tuple[str, Probe]]:
    """Return name and function of every probe, in the order in which they are run."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    modules.sort(key=lambda module: (module.ORDER, module.__name__))
    return [(module.__name__.rpartition(".")[2], module.probe) for module in modules]
