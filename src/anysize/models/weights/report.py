"""What a call of `load_weights` did, as plain data and as lines to read."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LoadReport"]


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Which tensors of a network came from a file, and which did not."""

    source: str
    """As it was given."""
    path: Path
    """The file on this machine."""
    layout: str
    """Whose names the file uses: ``anysize``, ``timm``, ``torchvision``, ``smp`` or ``keras``."""
    loaded: tuple[str, ...]
    """Names in the network: as in the file."""
    adapted: dict[str, str]
    """Names in the network: changed to fit, and how."""
    left_new: tuple[str, ...]
    """Names in the network: as they were before."""
    unused: tuple[str, ...]
    """Names in the file: the network has no place for them, or was to keep its own."""
    notes: tuple[str, ...] = ()
    """How the file was read: where in it the weights were, what was converted."""
    warnings: tuple[str, ...] = ()
    """Why the network's answers will not be those of the library whose weights they are."""

    def lines(self) -> list[str]:
        """Return the report in words, a line a fact.

        >>> report = LoadReport(
        ...     source="a.safetensors", path=Path("a.safetensors"), layout="timm", loaded=("conv1.weight",), adapted={},
        ...     left_new=("fc.weight", "fc.bias"), unused=("fc.weight", "fc.bias"),
        ... )
        >>> print("\\n".join(report.lines()))
        1 of 3 tensors loaded from a.safetensors (names of timm)
        left as they were: fc (2 tensors)
        not used: fc (2 tensors)
        """
        total = len(self.loaded) + len(self.adapted) + len(self.left_new)
        lines = [f"{len(self.loaded)} of {total} tensors loaded from {self.source} (names of {self.layout})"]
        lines += [f"{name} adapted: {how}" for name, how in self.adapted.items()]
        lines += [f"left as they were: {_grouped(self.left_new)}"] if self.left_new else []
        lines += [f"not used: {_grouped(self.unused)}"] if self.unused else []
        return [*lines, *self.notes, *(f"warning: {warning}" for warning in self.warnings)]


def _grouped(names: tuple[str, ...]) -> str:
    """Say a few names of modules for many of tensors."""
    roots = list(dict.fromkeys(name.partition(".")[0] for name in names))
    count = f"{len(names)} tensor{'s' if len(names) != 1 else ''}"
    return f"{', '.join(roots)} ({count})"
