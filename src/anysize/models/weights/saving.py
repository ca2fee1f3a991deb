"""Weights out of a network, in our names or another library's."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from anysize.atomic import atomic_path
from anysize.errors import UsageError
from anysize.models.weights.layouts import OURS, layouts_of
from anysize.models.weights.loading import KERAS, KERAS_SUFFIXES
from anysize.models.weights.torch_files import mark

__all__ = ["save_weights"]


def save_weights(model: nn.Module, path: str | os.PathLike[str], *, layout: str | None = None) -> None:
    """Write the weights of a network to ``path``, whole or not at all.

    Tied weights, one tensor with several names, are written under each of them.

    Args:
        model: any module; layouts other than our own exist for the networks of this library only.
        path: ``.safetensors``, in the names of ``layout``; or ``.h5``, ``.weights.h5``, ``.keras`` for Keras.
        layout: ``anysize`` (the default), or another library's name: ``timm``, ``torchvision``, ``smp``. Where that
            library has a part of the network only, a segmenter's encoder, the file holds that part.

    Raises:
        UsageError: another kind of file, or a layout that the network does not have.
        MissingExtraError: a file of Keras, without h5py.
    """
    target = Path(path).expanduser()
    suffix = target.suffix.lower()
    if suffix in KERAS_SUFFIXES:
        if layout not in (None, KERAS):
            raise UsageError(f"{target} is a file of Keras; it cannot be in the layout {layout!r}")
        importlib.import_module("anysize.models.weights.keras").write_keras(model, target)
        return
    if suffix != ".safetensors":
        known = ", ".join((".safetensors", *KERAS_SUFFIXES))
        raise UsageError(f"{target} is no file of weights: its name ends in {suffix!r}", hint=f"one of {known}")
    wanted = layout or OURS
    layouts = {known.name: known for known in layouts_of(model)}
    if wanted not in layouts:
        raise UsageError(
            f"{type(model).__name__} has no layout {wanted!r}; its layouts are {', '.join(layouts)}",
            hint="a file for Keras ends in .h5 or .keras" if wanted == KERAS else None,
        )
    chosen = layouts[wanted]
    tensors = {
        theirs: chosen.pack(ours, tensor).detach().cpu().contiguous()
        for ours, tensor in model.state_dict().items()
        if (theirs := chosen.key(ours)) is not None
    }
    with atomic_path(target) as temporary:
        # Files for others say what those ask for; transformers refuses a file without the format.
        save_file(_apart(tensors), temporary, metadata=mark(OURS) if wanted == OURS else {"format": "pt"})


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory with an earlier one: safetensors refuses those."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return apart
