"""Train fully convolutional networks on images of any size, at native resolution: exactly, and at fixed-size speed.

    import anysize

    batch = anysize.RaggedBatch.from_images(images)  # C x H x W tensors of any sizes
    out = model(batch)                               # an unmodified nn.Module

Names are imported when they are first used: ``import anysize`` costs nothing, and loads neither torch nor matplotlib.
"""

import importlib
from typing import TYPE_CHECKING, Any

from anysize.version import __version__

if TYPE_CHECKING:
    from anysize.batching import BatchSampler, CanvasSet, PlanStream, choose_canvases, plan_epoch
    from anysize.doctor.learn import diagnose_learning
    from anysize.inference import EvalConfig, PredictConfig
    from anysize.inference.evaluate import evaluate
    from anysize.inference.predict import predict
    from anysize.loading import collate
    from anysize.losses import create_objective
    from anysize.models import convolutionalize, create_model, list_models, load_weights, save_weights
    from anysize.ragged import RaggedBatch, RaggedGroup, VerifyReport, register_rule, verify
    from anysize.training import TrainConfig
    from anysize.training.run import train

_HOMES = {
    "BatchSampler": "anysize.batching",
    "CanvasSet": "anysize.batching",
    "EvalConfig": "anysize.inference",
    "PlanStream": "anysize.batching",
    "PredictConfig": "anysize.inference",
    "RaggedBatch": "anysize.ragged",
    "RaggedGroup": "anysize.ragged",
    "TrainConfig": "anysize.training",
    "VerifyReport": "anysize.ragged",
    "choose_canvases": "anysize.batching",
    "collate": "anysize.loading",
    "convolutionalize": "anysize.models",
    "create_model": "anysize.models",
    "create_objective": "anysize.losses",
    "diagnose_learning": "anysize.doctor.learn",
    "evaluate": "anysize.inference.evaluate",
    "list_models": "anysize.models",
    "load_weights": "anysize.models",
    "plan_epoch": "anysize.batching",
    "predict": "anysize.inference.predict",
    "register_rule": "anysize.ragged",
    "save_weights": "anysize.models",
    "train": "anysize.training.run",
    "verify": "anysize.ragged",
}

__all__ = [
    "BatchSampler",
    "CanvasSet",
    "EvalConfig",
    "PlanStream",
    "PredictConfig",
    "RaggedBatch",
    "RaggedGroup",
    "TrainConfig",
    "VerifyReport",
    "__version__",
    "choose_canvases",
    "collate",
    "convolutionalize",
    "create_model",
    "create_objective",
    "diagnose_learning",
    "evaluate",
    "list_models",
    "load_weights",
    "plan_epoch",
    "predict",
    "register_rule",
    "save_weights",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'anysize' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
