"""Files of Keras into the names and layouts of our networks."""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from anysize.errors import CheckpointError
from anysize.models.weights.keras.layers import KerasLayer, Variable
from anysize.models.weights.keras.networks import KerasNetwork, keras_network
from anysize.models.weights.keras.pairing import pair_layers
from anysize.models.weights.keras.stored import StoredLayer, StoredVariable, open_stored
from anysize.models.weights.misfit import misfit

__all__ = ["check_options", "read_keras"]

_MAX_FREE = 100_000
"""Classes or channels: what a file may have where its numbers need not be the network's."""


def read_keras(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Tensor]:
    """Read a file that Keras wrote for the network that ``model`` is: a state dict in our names, layouts and order.

    The tensors are as they are in the file: a head with other classes and a stem with other channels keep their own
    shapes, a head that the file lacks (``include_top=False``) is not in the result, and neither are the counters
    ``num_batches_tracked``, which Keras does not have. The state of an optimiser is no weight, and is not read.

    Args:
        path: legacy ``.h5`` (a network or weights only), ``.weights.h5`` or ``.keras``; told apart by content.
        model: ``xception``, ``resnet50``, ``mobilenet_v2``, ``fcn_small``, ``mnist_dense``, ``mnist_fcn`` or
            ``mnist_anysize``, built with the options that compute what Keras computes. It is not changed.

    Raises:
        UsageError: Keras has no such network.
        MissingExtraError: h5py is not installed.
        CheckpointError: no file of Keras, a damaged one, one of another network, or options that do not fit: with all
            that is missing, unexpected or of another shape.
    """
    path = Path(path)
    network = keras_network(model)
    heads = getattr(model, "head_names", ())
    with open_stored(path) as stored:
        pairs, lines = pair_layers(network.layers, stored, heads)
        if lines:
            raise misfit(path, lines, hint=f"they are not those of {network.theirs}")
        check_options(network, f"the weights in {path} are of {network.theirs}")
        found = _variables(model, pairs, lines)
        if lines:
            raise misfit(path, lines, hint=f"they are not those of {network.theirs} at this width")
        tensors = {variable.key: variable.to_ours(there.read()) for variable, there in found}
    return {key: tensors[key] for key in model.state_dict() if key in tensors}


def check_options(network: KerasNetwork, said: str) -> None:
    """Check that the network computes what Keras computes.

    Raises:
        CheckpointError: names the options to use.
    """
    if network.wrong:
        lacking = ", ".join(f"{name}={network.options[name]!r}" for name in network.wrong)
        whole = ", ".join(f"{name}={value!r}" for name, value in network.options.items())
        raise CheckpointError(
            f"{said}, and this {network.ours} was built without {lacking}: it would compute something else",
            hint=f"create_model({network.ours!r}, ..., {whole})",
        )


def _variables(
    model: nn.Module, pairs: list[tuple[KerasLayer, StoredLayer]], lines: list[str]
) -> list[tuple[Variable, StoredVariable]]:
    """Pair tensors, and add to ``lines`` what does not fit. Shapes are compared before anything is read."""
    state = model.state_dict()
    free = {getattr(model, "stem_name", None), *getattr(model, "head_names", ())}
    found = []
    for layer, stored in pairs:
        wanted = layer.variables
        lines += [f"missing: {layer.label}/{variable.name}" for variable in wanted[len(stored.variables) :]]
        lines += [f"unexpected: {there.path}" for there in stored.variables[len(wanted) :]]
        for variable, there in zip(wanted, stored.variables, strict=False):
            problem = _problem(variable, there, state, is_free=layer.ours in free)
            if problem:
                lines.append(f"{layer.label}/{variable.name} {problem}")
            found.append((variable, there))
    return found


def _problem(variable: Variable, there: StoredVariable, state: Mapping[str, Tensor], *, is_free: bool) -> str | None:
    wanted = variable.keras_shape(state[variable.key].shape)
    # A stem may have other input channels and a head other classes: one axis.
    differing = [a for a, b in zip(there.shape, wanted, strict=False) if a != b]
    allowed = is_free and len(differing) <= 1 and max(differing, default=1) <= _MAX_FREE
    if len(there.shape) != len(wanted) or (differing and not allowed) or not variable.fits(there.shape):
        return f"has shape {there.shape}, the network's is {wanted}"
    return None if there.is_floating else "holds no floating-point numbers"
