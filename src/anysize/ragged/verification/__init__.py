"""Is a model exact on images of mixed sizes? Run it together and alone, and say where they part."""

from anysize.ragged.verification.report import VerifyReport
from anysize.ragged.verification.run import verify

__all__ = ["VerifyReport", "verify"]
