"""Networks as plain modules that know nothing of batching; one file a network, found by name."""

from anysize.models.flags import model_from_flags
from anysize.models.network import Network
from anysize.models.probe import has_batch_statistics, smallest_side
from anysize.models.registry import create_model, list_models, register_model
from anysize.models.saved import ModelCard, load_model, save_model

__all__ = [
    "ModelCard",
    "Network",
    "create_model",
    "has_batch_statistics",
    "list_models",
    "load_model",
    "model_from_flags",
    "register_model",
    "save_model",
    "smallest_side",
]
