"""Running statistics of batch normalisation, estimated anew over many batches (Wu and Johnson 2021, section 3)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from anysize.errors import TrainingError, UsageError
from anysize.ragged import RaggedBatch, RaggedGroup
from anysize.stepping.batch_norm import batch_norms, frozen_layers, num_values

__all__ = ["Recalibration", "recalibrate"]


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What `recalibrate` did."""

    layers: tuple[str, ...]
    """Names of the layers with new running statistics."""
    left: tuple[str, ...]
    """Names of layers that keep theirs: no batch reached them, or only one value a channel in all."""
    num_batches: int

    def __str__(self) -> str:
        kept = f"; unchanged, for want of values: {', '.join(self.left)}" if self.left else ""
        return f"running statistics of {len(self.layers)} layers taken anew over {self.num_batches} batches{kept}"


def recalibrate(
    model: nn.Module, batches: Iterable[Any], *, forward: Callable[[nn.Module, Any], object] | None = None
) -> Recalibration:
    """Give batch normalisation the statistics of all values in ``batches``, in place of its moving averages.

    One pass, without gradients: each layer normalises by the batch at hand, as in training, and everything else is in
    evaluation mode. What a layer gets is mean and unbiased variance of *all real values* of its input, over all
    batches: pooled with their counts (Chan, Golub and LeVeque 1979, in float64), so that a large image weighs more than
    a small one and the means of batches differing from each other count as variance. An average of the batches'
    variances, as with ``momentum=None``, has neither. For the first layer this is exactly the statistics over the
    concatenation of the images, however they are batched; deeper ones see what the layers before make of each batch.
    The same batches in the same order give the same bits.

    A layer with one value a channel in a batch uses its present running statistics there, and that value counts.
    Frozen layers stay as they are (`anysize.stepping.batch_norm.freeze_batch_norm`). Training does not notice: modes,
    momenta and counters of batches are left as they were.

    Args:
        model: any module; of one that is compiled, the module inside runs.
        batches: each goes through the model: tensors (N, C, *size), ragged batches or groups. The training images
            without augmentation, in batches as large as those of training, are what evaluation should see.
        forward: called with model and batch; by default ``model(batch)``.

    Raises:
        UsageError: no batch was given.
        TrainingError: a layer's input is not finite, or ``model`` fails; the running statistics are as before.
    """
    model = getattr(model, "_orig_mod", model)
    frozen = set(frozen_layers(model))
    layers = {
        name: module for name, module in batch_norms(model) if name not in frozen and module.running_mean is not None
    }
    sums = {name: _Pooled() for name in layers}
    num_batches = 0
    if layers:
        with torch.no_grad(), _measuring(model, layers, sums):
            for batch in batches:
                _ = model(batch) if forward is None else forward(model, batch)
                num_batches += 1
        if not num_batches:
            raise UsageError("no batch was given to take running statistics over", hint="pass one batch or more")
    _require_finite(sums)
    done = [name for name, pooled in sums.items() if pooled.count > 1]
    for name in done:
        sums[name].put_into(layers[name])
    return Recalibration(
        layers=tuple(done), left=tuple(name for name in layers if name not in done), num_batches=num_batches
    )


class _Pooled:
    """Mean and sum of squared deviations (C,) of all values so far, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Add (N, C, *size)."""
        count = values.numel() // max(values.shape[1], 1)
        if not count:
            return
        values = values.detach()
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        axes = [0, *range(2, values.dim())]
        variance, mean = (found.double().cpu() for found in torch.var_mean(values, axes, correction=0))
        total = self.count + count
        gap = mean - self.mean
        self.squares = self.squares + variance * count + gap.square() * (self.count * count / total)
        self.mean = self.mean + gap * (count / total)
        self.count = total

    def put_into(self, module: _BatchNorm) -> None:
        """Make them the running statistics."""
        for buffer, value in ((module.running_mean, self.mean), (module.running_var, self.squares / (self.count - 1))):
            if buffer is not None:
                buffer.copy_(value)


def _require_finite(sums: dict[str, _Pooled]) -> None:
    for name, pooled in sums.items():
        if not bool(torch.isfinite(pooled.mean).all() & torch.isfinite(pooled.squares).all()):
            raise TrainingError(
                f"the input of {name or 'the batch normalisation'} is not finite, so it has no running statistics; "
                "none were changed",
                hint="lower --lr, or look at the images: a NaN or infinity came out of the layers before",
            )


@contextmanager
def _measuring(model: nn.Module, layers: dict[str, _BatchNorm], sums: dict[str, _Pooled]) -> Iterator[None]:
    """Normalise by the batch, move nothing, and add up what comes in."""
    modes = [(module, module.training) for module in model.modules()]
    # A momentum of 0 holds the averages still; the counters move all the same, and NaN would come through.
    held = [(module, module.momentum, [b.clone() for b in module.buffers(recurse=False)]) for module in layers.values()]
    with ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_pre_hook(_adder(sums[name])).remove)
        try:
            model.eval()
            for module in layers.values():
                module.training, module.momentum = True, 0.0
            yield
        finally:
            for any_module, mode in modes:
                any_module.training = mode
            for layer, momentum, buffers in held:
                layer.momentum = momentum
                for buffer, before in zip(layer.buffers(recurse=False), buffers, strict=True):
                    buffer.copy_(before)


def _adder(pooled: _Pooled) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def add(module: nn.Module, args: tuple[Any, ...]) -> None:
        input = args[0]
        module.training = num_values(input) > 1  # one value has no variance: the running statistics, this time
        images = input.unbind() if isinstance(input, RaggedBatch | RaggedGroup) else None
        for values in [input] if images is None else [image[None] for image in images]:
            pooled.add(values)

    return add
