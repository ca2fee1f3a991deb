"""The options of `anysize doctor`, apart from the checks: the command line reads them without loading torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.errors import UsageError

__all__ = ["CHECKS", "DoctorConfig"]

CHECKS = ("numerics",)


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """What `anysize doctor` does."""

    what: Annotated[str | None, Positional, arg(metavar="WHAT")] = None
    """What to check. 'numerics': whether the operators of this machine compute what they should."""
    dtype: Literal["all", "float32", "bfloat16", "float16"] = "all"
    """Check the operators in this number type only."""
    device: str = "all"
    """Check on this device only: 'cpu', 'cuda', 'cuda:1', 'mps'. 'all': the CPU, and the first CUDA GPU if there is
    one."""

    def require_check(self) -> str:
        """Return the check that was asked for.

        Raises:
            UsageError: none, or one that does not exist.
        """
        known = ", ".join(CHECKS)
        if self.what is None:
            raise UsageError(f"nothing to check was given; known: {known}", hint="anysize doctor numerics")
        if self.what not in CHECKS:
            raise UsageError(f"doctor was given {self.what!r}; known: {known}", hint="anysize doctor numerics")
        return self.what
