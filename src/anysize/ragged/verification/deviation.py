"""The module in which a deviation first arises: both runs once more, with every module's inputs and outputs kept."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from anysize.ragged.verification.alone import run_alone
from anysize.ragged.verification.comparison import poisoned
from anysize.ragged.verification.outputs import Images, largest, relative_error, split
from anysize.ragged.verification.preparation import WithoutDropout

__all__ = ["first_deviation"]

Call = tuple[str, int]
"""A module's path, and how often it was called before."""
Kept = dict[str, Images]


class _Recorder:
    """Keeps what goes into and comes out of every module, by call."""

    def __init__(self, model: nn.Module) -> None:
        self.inputs: dict[tuple[int, Call], Kept] = {}
        self.outputs: dict[tuple[int, Call], Kept] = {}  # in the order in which the calls end: the inner ones first
        self._calls: Counter[tuple[int, str]] = Counter()
        self._local = threading.local()  # each image may run in a thread of its own
        for path, module in model.named_modules():
            module.register_forward_pre_hook(self._before(path), with_kwargs=True)
            module.register_forward_hook(self._after, with_kwargs=True)

    @contextmanager
    def image(self, number: int) -> Iterator[None]:
        """Record what follows in this thread as that of image ``number``."""
        self._local.number, self._local.open = number, []
        with WithoutDropout():
            yield

    def _before(self, path: str) -> Any:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            number = self._local.number
            call = (path, self._calls[number, path])
            self._calls[number, path] += 1
            self._local.open.append(call)
            # Copies: activations often work in place.
            self.inputs[number, call] = _copied((args, kwargs))

        return hook

    def _after(self, _module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
        self.outputs[self._local.number, self._local.open.pop()] = _copied(output)


def _copied(value: Any) -> Kept:
    try:
        return {path: [image.detach().clone() for image in images] for path, images in split(value).items()}
    except Exception:  # a batch inside the model that has no images to show is no fault of the model
        return {}


def first_deviation(
    models: tuple[nn.Module, nn.Module], images: Sequence[Tensor], tolerance: float
) -> tuple[str, float] | None:
    """Return (module's path, relative error) of the first output that deviates, in the order of the forward pass.

    Where a module is given inputs that deviate already, though no output before it does, the deviation arose between
    the modules: then its parent is named.

    Args:
        models: two equal copies, which are used up.
        images: (C, *size) each.
        tolerance: what an error may be.
    """
    batch, single = _Recorder(models[0]), _Recorder(models[1])
    with torch.no_grad():
        with batch.image(0):
            models[0](poisoned(images))
        run_alone(models[1], images, within=single.image)
    for key, outputs in batch.outputs.items():
        call = key[1]
        error = _error(outputs, [single.outputs.get((number, call)) for number in range(len(images))])
        if error > tolerance:
            path = call[0]
            into = _error(batch.inputs[key], [single.inputs.get((number, call)) for number in range(len(images))])
            return (path.rpartition(".")[0] if into > tolerance else path), error
    return None


def _error(got: Kept, alone: Sequence[Kept | None]) -> float:
    """The largest error of one call, among what can be compared."""
    worst = 0.0
    for path, images in got.items():
        parts = [kept.get(path, []) if kept is not None else [] for kept in alone]
        if len(images) != len(alone) or any(len(part) != 1 for part in parts):
            continue
        truths = [part[0] for part in parts]
        pairs = list(zip(images, truths, strict=True))
        # Within a model a batch may keep its axes in another order than a tensor has them.
        if any(a.shape != b.shape and sorted(a.shape) == sorted(b.shape) for a, b in pairs):
            continue
        scale = largest(truths)
        worst = max(worst, *(relative_error(a, b, scale) for a, b in pairs))
    return worst
