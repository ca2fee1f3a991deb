"""Networks of this and of other libraries by one name, built with random weights: nothing is ever downloaded."""

import difflib
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch
from torch import nn

from anysize.errors import UsageError
from anysize.extras import require_extra
from anysize.models.registry import build_model, list_models

__all__ = ["import_zoo", "named_model"]

_LIBRARIES = {
    "timm": "timm",
    "torchvision": "torchvision",
    "smp": "segmentation_models_pytorch",
}
# torchvision's other folders take lists of images, pairs, or quantised tensors.
_TORCHVISION_OTHERS = ("detection", "quantization", "optical_flow")
_SCHEMAS: list[torch.library.Library] = []  # kept alive: a library that is collected takes its schemas along


def named_model(name: str, *, num_classes: int = 10, in_channels: int = 3, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: ``resnet9`` and the other names of `list_models`, or ``timm:NAME``, ``torchvision:NAME`` (classification
            and segmentation), ``smp:DECODER/ENCODER`` (``smp:Unet/resnet18``; encoders of timm as ``tu-NAME``).
        num_classes: the number of logits, an image or a pixel.
        in_channels: 1 for grey, 3 for colour. Networks of torchvision take 3 only.
        options: the network's own keyword arguments.

    Raises:
        UsageError: there is no such network (the hint has the closest name), or it cannot be built so.
        MissingExtraError: the library is not installed.
    """
    library, colon, inner = name.partition(":")
    if not colon:
        known = list_models()
        if name not in known:
            raise _unknown(name, "model", name, [*known, *(f"{short}:" for short in _LIBRARIES)], known)
        return build_model(name, num_classes=num_classes, in_channels=in_channels, options=options)
    builders: dict[str, Callable[..., nn.Module]] = {"timm": _timm, "torchvision": _torchvision, "smp": _smp}
    if library not in builders:
        raise _unknown(name, "library", library, _LIBRARIES, _LIBRARIES)
    if num_classes < 1 or in_channels < 1:
        raise UsageError(f"num_classes is {num_classes} and in_channels {in_channels}; both must be at least 1")
    try:
        return builders[library](name, inner, num_classes, in_channels, options)
    except TypeError as error:
        raise UsageError(
            f"{name} cannot be built with {', '.join(options) or 'no options'}: {error}",
            hint=f"the options are those of {_LIBRARIES[library]}",
        ) from error


def import_zoo(library: str) -> ModuleType:
    """Import ``timm``, ``torchvision`` or ``smp``.

    Raises:
        MissingExtraError: it is not installed.
    """
    _mend_torchvision()
    return require_extra(_LIBRARIES[library], extra="zoo")


def _mend_torchvision() -> None:
    """Let the networks of a torchvision built for CUDA load beside a torch for CPUs only.

    The package registries carry no other build. Its compiled part cannot be loaded there, and the import ends because
    two operators of object detection have no schema. The networks themselves are plain Python, so the schemas are
    defined, without anything behind them. timm and segmentation_models_pytorch import torchvision too.
    """
    if _SCHEMAS or torch.version.cuda is not None or "torchvision" in sys.modules:
        return
    try:
        import torchvision  # type: ignore[import-untyped, import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        return  # whoever needs it will say so
    except RuntimeError as error:  # only then: a build that does load defines them itself, and would clash
        if "torchvision::nms" not in str(error):
            return
        schemas = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            schemas.define(schema)  # type: ignore[no-untyped-call]
        _SCHEMAS.append(schemas)


def _timm(name: str, inner: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    timm: Any = import_zoo("timm")
    known = timm.list_models()
    if inner.partition(".")[0] not in known:  # a tag after the point names weights, which are not loaded
        raise _unknown(name, "model", inner, known, ())
    model: nn.Module = timm.create_model(
        inner, pretrained=False, num_classes=num_classes, in_chans=in_channels, **options
    )
    return model


def _torchvision(name: str, inner: str, num_classes: int, in_channels: int, own: dict[str, Any]) -> nn.Module:
    models: Any = import_zoo("torchvision").models
    known = {
        known_name: module
        for known_name in models.list_models()
        if (module := models.get_model_builder(known_name).__module__).split(".")[2] not in _TORCHVISION_OTHERS
    }
    if inner not in known:
        raise _unknown(name, "model for classification or segmentation", inner, known, ())
    if in_channels != 3:
        raise UsageError(
            f"{name} takes images of 3 channels, and in_channels is {in_channels}",
            hint="the networks of timm, of segmentation_models_pytorch and of this library take any number",
        )
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if ".segmentation." in known[inner]:
        options["weights_backbone"] = None
        if not inner.startswith("lraspp"):
            options["aux_loss"] = True
    elif inner in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # slow, and replaced by whoever verifies
    model: nn.Module = models.get_model(inner, **{**options, **own})
    return model


def _smp(name: str, inner: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    smp: Any = import_zoo("smp")
    decoders = {kind.__name__: kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    decoder, slash, encoder = inner.partition("/")
    if decoder not in decoders:
        raise _unknown(name, "decoder", decoder, decoders, decoders)
    known = list(smp.encoders.encoders)
    if encoder.startswith("tu-"):
        known = [f"tu-{model}" for model in import_zoo("timm").list_models()]
    if not slash or encoder not in known:
        raise _unknown(name, "encoder", encoder, known, ())
    model: nn.Module = decoders[decoder](
        encoder, encoder_weights=None, classes=num_classes, in_channels=in_channels, **options
    )
    return model


def _unknown(name: str, kind: str, given: str, known: Iterable[str], shown: Iterable[str]) -> UsageError:
    """Make the error for an unknown name: the closest one where there is, and all of them where they are few."""
    close = difflib.get_close_matches(given, list(known), n=1)
    listing = ", ".join(sorted(shown))
    whole = name.replace(given, close[0], 1) if close and given else ""
    return UsageError(
        f"{name!r} names no {kind}" + (f"; there are {listing}" if listing else ""),
        hint=f"did you mean {whole}?" if whole else "NAME, timm:NAME, torchvision:NAME or smp:DECODER/ENCODER",
    )
