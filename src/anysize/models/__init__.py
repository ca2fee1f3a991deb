"""Networks as plain modules that know nothing of batching; one file a network, found by name."""

from anysize.models.convolutional import convolutionalize
from anysize.models.flags import model_from_flags
from anysize.models.network import Network
from anysize.models.probe import fixed_side, has_batch_statistics, smallest_side
from anysize.models.registry import create_model, list_models, register_model
from anysize.models.saved import ModelCard, find_card, load_model, read_card, save_model
from anysize.models.weights import LoadReport, load_weights, save_weights

__all__ = [
    "LoadReport",
    "ModelCard",
    "Network",
    "convolutionalize",
    "create_model",
    "find_card",
    "fixed_side",
    "has_batch_statistics",
    "list_models",
    "load_model",
    "load_weights",
    "model_from_flags",
    "read_card",
    "register_model",
    "save_model",
    "save_weights",
    "smallest_side",
]
