"""Weights into a network, from any source and in any layout that is known: all of them, or none."""

import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from anysize.errors import UsageError
from anysize.models.encoder import list_encoders
from anysize.models.network import Network
from anysize.models.registry import create_model, list_models
from anysize.models.weights.fitting import Head, fit_tensors
from anysize.models.weights.layouts import OURS, Layout, layouts_of, recognise
from anysize.models.weights.report import LoadReport
from anysize.models.weights.sources import local_file, removed_if_damaged
from anysize.models.weights.stem import Stem
from anysize.models.weights.torch_files import FileTensors, read_tensors

__all__ = ["KERAS", "KERAS_SUFFIXES", "load_weights"]

KERAS = "keras"
"""The name of the layout of Keras files."""
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")

_SEGMENTERS = ("deeplabv3plus", "unet")  # an encoder of one's choice, and a decoder


def load_weights(
    model: nn.Module,
    source: str | os.PathLike[str],
    *,
    layout: str | None = None,
    head: Head = "load",
    stem: Stem = "load",
) -> LoadReport:
    """Load weights into a network, in place: either all that was asked for, or nothing and an error.

    The file's names tell whose they are: ours, or those of timm, torchvision, segmentation_models_pytorch or Keras. A
    classifier's file also fits the encoder of a segmenter (with ``head="new"``). Numbers are converted to the network's
    dtype and device. Files of `torch.save` are read without running what is in them.

    Args:
        model: the network; any module takes files with its own names.
        source: a path (.safetensors, .pth, .pt, .bin, .ckpt, .h5, .hdf5, .keras), an ``https://`` URL,
            ``hf-hub:OWNER/NAME[/FILE][@REVISION]`` (see `anysize.models.weights.sources.local_file`), or a name such as
            ``resnet50.a1_in1k`` (see `anysize.models.weights.published.PUBLISHED`).
        layout: whose names the file uses, where they could be read in two ways.
        head: ``load`` needs every tensor of the network, the heads with as many classes included; ``new`` leaves
            the heads, and for an encoder's file all behind the encoder, as they are in ``model``.
        stem: what to do when the images have other channels than those the file was trained on: ``load`` is an
            error, ``adapt`` keeps the first convolution's answers (further channels start at zero; for one channel, the
            sum), ``repeat`` repeats and scales its channels as timm does. The report says what was done.

    Raises:
        UsageError: an argument, or a kind of file, that is not known.
        MissingExtraError: a file of Keras, without h5py.
        CheckpointError: no such file, a damaged one, or one that does not fit: with what is missing, unexpected
            or of another shape, and which other network of this library it fits.
    """
    _check_choice("head", head, get_args(Head))
    _check_choice("stem", stem, get_args(Stem))
    _check_memory(model)
    name = os.fspath(source)
    path = local_file(source)
    file, chosen, said, warnings = _read(path, model, source=name, layout=layout)
    fit = fit_tensors(
        model,
        chosen,
        file.tensors,
        source=name,
        head=head,
        stem=stem,
        other=lambda: _where_it_fits(file.tensors, type(model)),
    )
    model.load_state_dict({**model.state_dict(), **fit.tensors})
    return LoadReport(
        source=name,
        path=path,
        layout=said,
        loaded=tuple(key for key in fit.tensors if key not in fit.adapted),
        adapted=fit.adapted,
        left_new=tuple(fit.new),
        unused=tuple(fit.unused),
        notes=(*file.notes, *_counters(fit.reset), *_dtypes(model, file.tensors)),
        warnings=warnings,
    )


def _read(
    path: Path, model: nn.Module, *, source: str, layout: str | None
) -> tuple[FileTensors, Layout, str, tuple[str, ...]]:
    """Read a file of any kind: its tensors, their names, whose file it is, and what is to be known of it."""
    if path.suffix.lower() in KERAS_SUFFIXES:
        _check_choice("layout", layout, (None, KERAS))
        keras = importlib.import_module("anysize.models.weights.keras")
        with removed_if_damaged(path):
            file = FileTensors(keras.read_keras(path, model))
        return file, layouts_of(model)[0], KERAS, keras.keras_network(model).warnings
    with removed_if_damaged(path):
        file = read_tensors(path)
    chosen = recognise(model, file.tensors, source=source, layout=layout, marked=file.layout)
    return file, chosen, chosen.name, chosen.warnings


def _check_choice(argument: str, value: object, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        shown = " or ".join(repr(choice) for choice in allowed)
        raise UsageError(f"{argument} is {value!r}; it must be {shown}")


def _check_memory(model: nn.Module) -> None:
    # Copying to the meta device does nothing, and says nothing.
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise UsageError("the network is on the meta device and holds no numbers", hint="model.to_empty(device='cpu')")


def _counters(reset: list[str]) -> list[str]:
    return [f"{len(reset)} num_batches_tracked are not in the file: they begin at 0"] if reset else []


def _dtypes(model: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    there = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    here = {tensor.dtype for tensor in model.parameters()}
    if len(here) != 1 or there <= here:
        return []
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in there))
    return [f"converted from {names} to {str(here.pop()).removeprefix('torch.')}"]


def _where_it_fits(tensors: Mapping[str, Tensor], asked: type[nn.Module]) -> str:
    """Say which network of this library has these tensors: its options are the defaults, but for the encoder."""
    for name, options in _variants(tensors):
        with torch.device("meta"):
            model = create_model(name, num_classes=1, **options)
        for layout in layouts_of(model):
            if _is_of(model, layout, tensors):
                given = "".join(f" with {key}={value!r}" for key, value in options.items())
                given = given or (" with its default options" if isinstance(model, asked) else "")
                whose = "" if layout.name == OURS else f", in the names of {layout.name}"
                return f"they are the weights of {name}{given}{whose}"
    return "they are those of no network of this library with its default options"


def _variants(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Any]]]:
    if any(key.startswith("decoder.") for key in tensors):
        yield from ((name, {"encoder": encoder}) for name in _SEGMENTERS for encoder in list_encoders())
    else:
        yield from ((name, {}) for name in list_models() if name not in _SEGMENTERS)


def _is_of(model: Network, layout: Layout, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file is this whole network, whatever its numbers of classes and channels."""
    free = {*model.head_names, model.stem_name}
    wanted = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    keys = {ours: layout.key(ours) for ours in wanted}
    found = {key for key in tensors if not key.endswith("num_batches_tracked")}
    if set(keys.values()) != found:
        return False
    return all(
        ours.rpartition(".")[0] in free
        or layout.unpack(ours, tensors[theirs], wanted[ours]).shape == wanted[ours].shape
        for ours, theirs in keys.items()
        if theirs is not None
    )
