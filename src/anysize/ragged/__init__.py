"""The exact batch: ``op(batch)[i]`` is ``op(image_i)``, for any module whose operators have a rule, or refused."""

import anysize.ragged.normalising.synchronised
import anysize.ragged.rules  # noqa: F401 - importing the rules registers them
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.each import each_image
from anysize.ragged.group import RaggedGroup, together
from anysize.ragged.lengths import Length
from anysize.ragged.registry import register_rule, registered_functions
from anysize.ragged.verification import VerifyReport, verify

__all__ = [
    "Length",
    "Padding",
    "RaggedBatch",
    "RaggedGroup",
    "VerifyReport",
    "each_image",
    "register_rule",
    "registered_functions",
    "together",
    "verify",
]
