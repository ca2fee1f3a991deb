"""What a verification found, as plain data and as text."""

import math
from dataclasses import dataclass

from anysize.sizes import format_size

__all__ = ["Deviation", "Entry", "Failure", "VerifyReport", "largest_value_error"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One comparison."""

    mode: str
    """``evaluation`` or ``training``."""
    dtype: str
    """``float64``, ``float32``..."""
    output: str
    """Path within the model's output (``out``, ``out.aux``, ``0``); empty for what belongs to the whole model."""
    kind: str
    """``values``, ``partners`` (values, the images being batched with others), ``input gradients``, ``parameter
    gradients`` or ``statistics`` (the model's buffers after training)."""
    error: float
    """The largest deviation, relative to the largest true magnitude; infinite for NaN or a wrong shape."""
    tolerance: float
    """What the error may be."""
    worst: str = ""
    """The image, parameter or buffer with that error."""

    @property
    def exact(self) -> bool:
        """Whether the error is tolerated."""
        return self.error <= self.tolerance


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run on mixed sizes that ended in an exception where each image alone did not."""

    mode: str
    dtype: str
    function: str
    """The refused function, where the error names one."""
    module: str
    """Path of the module that was at work: ``ResNet.layer1.0.conv1``."""
    why: str
    """The error's text."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Where the first deviation arises, in the order of the forward pass."""

    mode: str
    dtype: str
    module: str
    """Path of the module; empty for the model itself."""
    what: str
    """``output``, or ``parameter gradients`` or ``statistics`` where all outputs agree."""
    error: float
    """As in `Entry`."""

    def __str__(self) -> str:
        return f"{self.module or 'the model itself'} ({self.what}, {self.mode}, {self.dtype}: {self.error:.1e})"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The result of `anysize.verify`; ``print(report)`` shows it as a table."""

    exact: bool
    """Nothing refused, nothing failed, and every comparison within its tolerance; at least one was made."""
    max_error: float
    """The largest error of the values in float64, in evaluation and training; NaN where none was compared."""
    entries: tuple[Entry, ...]
    """Every comparison."""
    refused: tuple[Failure, ...]
    """What has no exact rule."""
    failed: tuple[Failure, ...]
    """Any other exception."""
    first_deviation: Deviation | None
    """Where the first error beyond its tolerance arises."""
    sizes: tuple[tuple[int, ...], ...]
    """The sizes of the images."""
    sizes_reason: str
    """Why these and no smaller or odder ones; empty for the first choice and for the caller's own."""
    casts: bool
    """The model casts to a narrower dtype inside, so that its errors in float64 are judged as those of float32."""

    @property
    def verdict(self) -> str:
        """One line: exact, refused or not exact, and where."""
        if self.exact:
            return "exact"
        wrong = [entry for entry in self.entries if not entry.exact]
        if self.failed:
            failure = self.failed[0]
            return f"not exact: failed in {failure.module or 'the model'}: {_first_line(failure.why)}"
        if wrong:
            where = f": first deviation in {self.first_deviation}" if self.first_deviation else ""
            return f"not exact{where}"
        refusal = self.refused[0]
        what = refusal.function or "a number for all images"
        return f"refused: {what} in {refusal.module or 'the model'}"

    def lines(self) -> list[str]:
        """The report as a table: mode, dtype, output, error, tolerance; then the verdict."""
        sizes = ", ".join(format_size(size) for size in self.sizes)
        lines = [f"sizes  {sizes}" + (f" ({self.sizes_reason})" if self.sizes_reason else "")]
        if self.casts:
            lines.append("note   the model casts float64 to a narrower dtype inside: judged as float32")
        if self.entries:
            named = [
                (entry, f"{entry.kind} of {entry.output}" if entry.output else entry.kind) for entry in self.entries
            ]
            width = max(len(name) for _, name in named)
            lines.append(f"{'mode':<10}  {'dtype':<8}  {'compared':<{width}}  {'error':>8}  {'tolerance':>9}")
            for entry, name in named:
                row = (
                    f"{entry.mode:<10}  {entry.dtype:<8}  {name:<{width}}  {entry.error:>8.1e}  {entry.tolerance:>9.0e}"
                )
                lines.append(row if entry.exact else f"{row}  <- {entry.worst}".rstrip())
        for word, failures in (("refused", self.refused), ("failed", self.failed)):
            for failure in failures:
                lines.append(f"{word} in {failure.mode}, {failure.dtype}: {failure.why}")
        return [*lines, self.verdict]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def largest_value_error(entries: list[Entry]) -> float:
    """The largest error of values in float64; NaN where none was compared."""
    errors = [e.error for e in entries if e.dtype == "float64" and e.kind in ("values", "partners")]
    return max(errors, default=math.nan)


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
