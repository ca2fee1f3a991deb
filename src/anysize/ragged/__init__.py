"""The exact batch: ``op(batch)[i]`` is ``op(image_i)``, for any module whose operators have a rule, or refused."""

import anysize.ragged.rules  # noqa: F401 - importing the rules registers them
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.group import RaggedGroup
from anysize.ragged.lengths import Length
from anysize.ragged.registry import register_rule, registered_functions

__all__ = ["Length", "Padding", "RaggedBatch", "RaggedGroup", "register_rule", "registered_functions"]
