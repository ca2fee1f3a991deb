"""Our networks into files that Keras loads by itself."""

import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from anysize.atomic import atomic_path
from anysize.errors import CheckpointError, UsageError
from anysize.extras import require_extra
from anysize.models.weights.keras.building import build_in_keras
from anysize.models.weights.keras.layers import KINDS
from anysize.models.weights.keras.networks import KerasNetwork, keras_network
from anysize.models.weights.keras.pairing import pair_layers
from anysize.models.weights.keras.reading import check_options
from anysize.models.weights.misfit import misfit

__all__ = ["write_keras"]

_WEIGHTS_ONLY = ".weights.h5"
_WHOLE = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class _BuiltLayer:
    """A layer with weights, of a network that Keras built."""

    kind: str
    name: str
    weights: list[Any]


def write_keras(model: nn.Module, path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> None:
    """Write a network for Keras, atomically. Keras builds its own (``keras.applications``, or a plain stack for the
    small ones), gets our weights in float32, and saves it: so whatever Keras wrote, Keras reads.

    The network gives logits, as ours does, not probabilities. Dropout is not in it. Where Keras is not yet imported
    and ``KERAS_BACKEND`` is not set, it runs on torch.

    Args:
        model: ``xception``, ``resnet50``, ``mobilenet_v2``, ``fcn_small``, ``mnist_dense``, ``mnist_fcn`` or
            ``mnist_anysize``, built with the options that compute what Keras computes. It is not changed.
        path: ``.keras`` or ``.h5``: the whole network, for ``keras.models.load_model``; ``.weights.h5``: its weights,
            for ``load_weights``.
        size: (height, width) in pixels of the images that the network in Keras will take; by default any.
            MobileNetV2 pads there by the size it is built for, and so gives our answers at that size only; without
            one, at multiples of 32. Its weights are the same.

    Raises:
        UsageError: Keras has no such network, or the path has another suffix.
        MissingExtraError: Keras or h5py is not installed.
        CheckpointError: options with which our network computes something else than Keras's, or another width.
    """
    path = Path(path)
    if not path.name.endswith(_WHOLE):
        raise UsageError(
            f"{path} has the suffix {path.suffix!r}; Keras's files end in {', '.join((*_WHOLE, _WEIGHTS_ONLY))}"
        )
    network = keras_network(model)
    check_options(network, f"{path} is to be {network.theirs}")
    if any(isinstance(module, nn.Conv2d) and module.dilation != (1, 1) for module in model.modules()):
        raise CheckpointError(
            f"{path} is to be {network.theirs}, whose output stride is 32, and this {network.ours} is dilated: it "
            "computes something else",
            hint="load the weights into one that is not: output_stride=32",
        )
    keras = _import_keras()
    theirs = build_in_keras(keras, network, model, size)
    _set_weights(theirs, model, network, path)
    _save(theirs, path)


def _import_keras() -> Any:
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")  # the one backend that is surely here
    require_extra("h5py", extra="keras")
    keras = require_extra("keras", extra="keras")
    if keras.config.image_data_format() != "channels_last":
        raise UsageError(
            f"Keras is set to {keras.config.image_data_format()}; networks are written channels_last",
            hint="keras.config.set_image_data_format('channels_last')",
        )
    return keras


def _set_weights(theirs: Any, model: nn.Module, network: KerasNetwork, path: Path) -> None:
    built = [
        _BuiltLayer(kind, layer.name, layer.weights)
        for layer in theirs.layers
        if (kind := _snake_case(type(layer).__name__)) in KINDS
    ]
    pairs, lines = pair_layers(network.layers, built, ())
    state = model.state_dict()
    values = []
    for layer, there in pairs:
        for variable, weight in zip(layer.variables, there.weights, strict=True):
            value = variable.to_keras(state[variable.key].detach().cpu().float())
            if tuple(value.shape) != tuple(weight.shape):
                lines.append(
                    f"{layer.label}/{variable.name} has shape {tuple(weight.shape)} in Keras, here it is "
                    f"{tuple(value.shape)}"
                )
            values.append((weight, value))
    if lines:
        raise misfit(
            f"this {network.ours}, to be written to {path},", lines, hint="only its standard width can be written"
        )
    for weight, value in values:
        weight.assign(value.numpy())


def _snake_case(name: str) -> str:
    return {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "SeparableConv2D": "separable_conv2d"}.get(
        name, "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    )


def _save(theirs: Any, path: Path) -> None:
    """Let Keras write under a name that it accepts, and put the file in its place in one go."""
    weights_only = path.name.endswith(_WEIGHTS_ONLY)
    suffix = _WEIGHTS_ONLY if weights_only else path.suffix
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent, prefix=".keras-") as folder:
        file = Path(folder) / f"model{suffix}"
        with warnings.catch_warnings():
            # Keras 3.15 on torch hands its variables to numpy in a way that numpy 2 will drop.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            (theirs.save_weights if weights_only else theirs.save)(file)
        file.replace(temporary)
