"""Images in a range that the weights do not expect: [0, 1] for [-1, 1], 0..255, another mean and deviation.

Trained batch normalisation remembers what its inputs were: the running mean and variance of the first one are those of
the first convolution on images as the weights know them. The images are tried as they are and with each usual
correction; where a correction fits these statistics far better, it is named.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import Case, Normalisation

__all__ = ["ORDER", "probe"]

ORDER = 15
_OF_THE_START = 0.05  # of running statistics that a new layer begins with; less is a memory of images
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_HALF = ((127.5,) * 3, (127.5,) * 3)
_UNIT = ((0.0,) * 3, (255.0,) * 3)
_BYTES = ((0.0,) * 3, (1.0,) * 3)
_FORMS: dict[str, Normalisation] = {
    "[0, 1]": _UNIT,
    "[-1, 1]": _HALF,
    "0..255": _BYTES,
    "ImageNet mean and deviation": IMAGENET,
}
# Misfit: mean squared difference of the statistics, in deviations and log-ratios. Measured with weights for [-1, 1] on
# facades, bridges, road scenes, electron microscopy and satellite images: 0.2 to 0.5 in the right range, 1.3 to 2.5 in
# [0, 1], 25 in 0..255, and the right correction explains all but 0.06 to 0.2 of it. Weights for [0, 1] give grey images
# up to 1.3 in their own range, of which another one happens to explain all but 0.19: that must not be told.
_CLAIMS = ((1.0, 6.0), (1.5, 4.0))  # a misfit of so much, and how many times less with the best correction
_ALSO = 3.0  # other corrections that explain nearly as much are named beside it
_OTHER = 0.1  # of a standard deviation or of a factor: more is another normalisation


class _SeenError(Exception):
    """The first batch normalisation has been reached."""


def probe(case: Case) -> list[Finding]:
    """Compare declared normalisations; else the first batch normalisation's memory; else the plain range."""
    images = case.images
    case.figures["image_mean"], case.figures["image_std"] = float(images.mean()), float(images.std())
    if case.normalisation is not None and case.expected is not None:
        return _declared(case.normalisation, case.expected)
    layer = None if images.shape[1] not in (1, 3) else _first_batch_norm(case)
    if layer is not None and _is_trained(layer):
        return _remembered(case, layer)
    return _plain(case)


def _declared(given: Normalisation, expected: Normalisation) -> list[Finding]:
    """Both in 0..255: known exactly."""
    worst = 0.0
    for mean, std, mean0, std0 in zip(*given, *expected, strict=False):
        worst = max(worst, abs(mean - mean0) / std0, abs(std / std0 - 1))
    if worst <= _OTHER:
        return []
    return [
        Finding(
            "inputs",
            "error",
            f"images are normalised with mean {_listed(given[0])} and std {_listed(given[1])} (in 0..255): "
            f"{_range_of(given)}",
            f"mean {_listed(expected[0])}, std {_listed(expected[1])}, as the weights were trained: "
            f"{_range_of(expected)}",
            f"--mean {_listed(expected[0])} --std {_listed(expected[1])}",
        )
    ]


def _range_of(form: Normalisation) -> str:
    low = min((0 - mean) / std for mean, std in zip(*form, strict=True))
    high = max((255 - mean) / std for mean, std in zip(*form, strict=True))
    return f"values in [{low:.3g}, {high:.3g}]"


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _first_batch_norm(case: Case) -> _BatchNorm | None:
    """The batch normalisation that runs first."""
    return next(iter(_inputs_of_first(case, case.images[:1])), None)


def _inputs_of_first(case: Case, images: Tensor) -> dict[_BatchNorm, Tensor]:
    """The first batch normalisation that runs on maps, and what it gets."""
    met: dict[_BatchNorm, Tensor] = {}

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, _BatchNorm) and isinstance(args[0], Tensor):
            met[module] = args[0].detach()
            raise _SeenError

    with torch.no_grad(), case.trial(train=False) as model:
        handles = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, _BatchNorm)]
        try:
            case.forward(images)
        except _SeenError:
            pass  # the rest of the network would be worked for nothing
        finally:
            for handle in handles:
                handle.remove()
    return met


def _is_trained(layer: _BatchNorm) -> bool:
    mean, var = layer.running_mean, layer.running_var
    # Loaded statistics may come without a count of updates; after a few, they are still half of what they began with.
    updates = 0 if layer.num_batches_tracked is None else int(layer.num_batches_tracked)
    if updates and layer.momentum is not None and (1 - layer.momentum) ** updates > _OF_THE_START:
        return False
    return mean is not None and var is not None and bool((mean != 0).any()) and bool((var != 1).any())


def _misfit(case: Case, layer: _BatchNorm, images: Tensor) -> float:
    """Mean over channels of how far statistics lie from the running ones; a few odd channels count little."""
    values = _inputs_of_first(case, images)[layer].transpose(0, 1).flatten(1).double()
    mean, std = values.mean(1), values.std(1)
    assert layer.running_mean is not None and layer.running_var is not None  # noqa: S101, PT018 - see `_is_trained`
    mean0, std0 = layer.running_mean.double(), (layer.running_var.double() + layer.eps).sqrt()
    far = ((mean - mean0) / std0).square() + (std.clamp(min=1e-9) / std0).log().square()
    return float(far.clamp(max=25.0).median() * 0.5 + far.clamp(max=25.0).mean() * 0.5)


def _remembered(case: Case, layer: _BatchNorm) -> list[Finding]:
    images = case.images
    as_is = _misfit(case, layer, images)
    case.figures["input_misfit"] = as_is
    if as_is < _CLAIMS[0][0]:
        return []
    tried: list[tuple[float, str, str, Normalisation]] = []
    for name, form in _FORMS.items():
        if not _may_be(images, form):
            continue
        pixels = images * _column(form[1], images) + _column(form[0], images)
        for wanted, other in _FORMS.items():
            if wanted != name:
                corrected = (pixels - _column(other[0], images)) / _column(other[1], images)
                tried.append((_misfit(case, layer, corrected), name, wanted, other))
    best = min(tried, default=None, key=lambda entry: entry[0])
    if best is None or not any(as_is >= misfit and best[0] * factor <= as_is for misfit, factor in _CLAIMS):
        return []
    _, name, wanted, form = best
    low, high = float(images.min()), float(images.max())
    also = sorted({entry[2] for entry in tried if entry[0] * _ALSO <= as_is} - {wanted})
    names = " or ".join([wanted, *also])
    mean, std = (_listed(values[: images.shape[1]]) for values in form)
    return [
        Finding(
            "inputs",
            "error",
            f"images lie in [{low:.3g}, {high:.3g}] (as {name}), and the first batch normalisation remembers {names}: "
            f"its statistics differ by {as_is:.2g}, and by {best[0]:.2g} with images as {wanted}",
            f"images normalised as the weights were trained: {names}",
            f"--mean {mean} --std {std} (of pixels in 0..255, for {wanted})",
        )
    ]


def _may_be(images: Tensor, form: Normalisation) -> bool:
    """Whether the images' range is one that this normalisation gives to pixels in 0..255, and uses a part of it."""
    pixels = images * _column(form[1], images) + _column(form[0], images)
    low, high = float(pixels.min()), float(pixels.max())
    return low >= -1.0 and high <= 256.0 and high - low > 32.0


def _column(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values[: images.shape[1]], device=images.device).reshape(1, -1, 1, 1)


def _plain(case: Case) -> list[Finding]:
    """Without memory of other images, only what is far from any usual range."""
    images = case.images
    low, high, std = float(images.min()), float(images.max()), float(images.std())
    if std < 1e-4 * max(abs(high), 1e-3):
        return [Finding("inputs", "error", f"all images are {low:.3g} everywhere", "images", "look at their reading")]
    if high > 30 and low >= -1:
        return [
            Finding(
                "inputs",
                "warning",
                f"images lie in [{low:.3g}, {high:.3g}]: bytes that were not normalised",
                "a mean near 0 and a deviation near 1",
                "(image - mean) / std with --mean and --std of the data, or image / 127.5 - 1",
            )
        ]
    return []
