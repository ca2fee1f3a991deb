"""The same networks, built by Keras: its own applications with a head put on, and plain stacks."""

from typing import Any

from torch import nn

from anysize.models.weights.keras.networks import KerasNetwork
from anysize.models.zoo.fcn_small import FcnSmall
from anysize.models.zoo.mnist_anysize import MnistAnysize
from anysize.models.zoo.mnist_dense import MnistDense
from anysize.models.zoo.mnist_fcn import MnistFcn

__all__ = ["build_in_keras"]

_APPLICATIONS = {"xception": "Xception", "resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2"}


def build_in_keras(keras: Any, network: KerasNetwork, model: nn.Module, size: tuple[int, int] | None) -> Any:
    """Build what ``model`` is, with random weights: (B, H, W, C) -> logits (B, K).

    Args:
        keras: the module.
        network: what Keras calls it, and its layers.
        model: ours, for its numbers of channels and classes and for its options.
        size: of the images that the network will take; None for any.
    """
    layers = network.layers
    state = model.state_dict()
    channels, classes = state[f"{layers[0].ours}.weight"].shape[1], len(state[f"{layers[-1].ours}.weight"])
    name = network.ours
    shape = (*(size or (None, None)), channels)
    if name not in _APPLICATIONS:
        return _stack(keras.layers, keras.Sequential, name, model, shape, classes)
    # With its own head it would ask for a fixed size, though global pooling takes any.
    application = getattr(keras.applications, _APPLICATIONS[name])
    base = application(include_top=False, weights=None, input_shape=shape)
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(base.output)
    logits = keras.layers.Dense(classes, name="predictions")(pooled)
    return keras.Model(base.input, logits, name=name)


def _stack(
    layers: Any, sequential: Any, name: str, model: nn.Module, shape: tuple[int | None, ...], classes: int
) -> Any:
    def conv(channels: int, side: int, padding: str = "same", activation: str | None = "relu") -> Any:
        return layers.Conv2D(channels, side, padding=padding, activation=activation)

    stack: list[Any]
    if isinstance(model, MnistDense):
        side = model.fixed_size.side
        shape = (side, side, shape[-1])
        stack = [conv(32, 3, "valid"), layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(classes)]
    elif isinstance(model, MnistFcn):
        stack = [conv(16, 3), layers.MaxPooling2D(), conv(32, 3), layers.MaxPooling2D()]
        stack += [conv(32, 7, "valid"), conv(classes, 1, activation=None)]
        stack += [] if model.pool is None else [layers.GlobalAveragePooling2D()]
    elif isinstance(model, MnistAnysize):
        stack = [conv(16, 3), conv(32, 3), layers.GlobalMaxPooling2D(keepdims=True), conv(classes, 1, activation=None)]
        stack.append(layers.Flatten())
    elif isinstance(model, FcnSmall):
        last = "relu" if isinstance(model.head[-1], nn.ReLU) else None
        stack = [conv(32, 3), layers.MaxPooling2D(), conv(32, 3, activation=None), layers.MaxPooling2D()]
        stack += [conv(16, 1), conv(8, 1), conv(classes, 1, activation=last), layers.GlobalAveragePooling2D()]
    else:
        raise NotImplementedError(f"nobody has written down how Keras builds {name}")
    return sequential([layers.Input(shape), *stack], name=name)
