"""Proof that frozen batch normalisation has not moved: compared bit by bit, through checkpoints too."""

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from anysize.errors import TrainingError, UsageError
from anysize.stepping.batch_norm import batch_norms, frozen_layers

__all__ = ["BatchNormGuard"]


class BatchNormGuard:
    """Remembers the running statistics of frozen layers, and finds out when they have moved.

    >>> layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    >>> guard = BatchNormGuard(layers, layers=["1"])
    >>> _ = layers(torch.ones(1, 1, 4, 4))
    >>> guard.check(layers)
    Traceback (most recent call last):
    ...
    anysize.errors.TrainingError: batch normalisation 1 is frozen, and its running_mean, running_var, ...

    Args:
        model: with the layers.
        layers: their names; by default those that `anysize.stepping.batch_norm.freeze_batch_norm` holds.
        digests: what `digests` was before: of a run that is resumed, so that the layers must still be as they were.

    Raises:
        UsageError: ``model`` has no such layer.
        TrainingError: a layer is not as ``digests`` has it.
    """

    def __init__(
        self, model: nn.Module, *, layers: Iterable[str] | None = None, digests: Mapping[str, str] | None = None
    ) -> None:
        known = dict(batch_norms(model))
        names = tuple(digests) if digests is not None else tuple(frozen_layers(model) if layers is None else layers)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UsageError(f"the network has no batch normalisation named {', '.join(unknown)}")
        self._digests = dict(digests) if digests is not None else {n: _digest(_buffers(known[n])) for n in names}
        # Copies beside the digests, to say which of a layer's buffers moved.
        self._copies = {name: {k: v.detach().clone() for k, v in _buffers(known[name]).items()} for name in names}
        if digests is not None:
            self.check(model)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the running statistics by layer: plain strings, for a checkpoint."""
        return dict(self._digests)

    @property
    def digest(self) -> str:
        """One SHA-256 of all of them."""
        lines = "\n".join(f"{name} {digest}" for name, digest in sorted(self._digests.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def check(self, model: nn.Module) -> None:
        """Compare ``model`` with what was remembered; to be called after each epoch.

        Raises:
            TrainingError: names the layers that have moved, or are gone.
        """
        known = dict(batch_norms(model))
        moved = []
        for name, digest in self._digests.items():
            buffers = _buffers(known[name]) if name in known else {}
            if _digest(buffers) != digest:
                moved.append(
                    (name, [k for k in self._copies[name] if not _same(buffers.get(k), self._copies[name][k])])
                )
        if not moved:
            return
        name, changed = moved[0]
        more = f" (and {len(moved) - 1} more layers: {', '.join(n for n, _ in moved[1:4])})" if moved[1:] else ""
        raise TrainingError(
            f"batch normalisation {name} is frozen, and its {', '.join(changed) or 'running statistics'} moved{more}",
            hint="freeze with anysize.stepping.batch_norm.freeze_batch_norm, which survives .train(), and after any "
            "conversion of the layers; module.eval() does not. Weights loaded later need a new guard",
        )


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_buffers(recurse=False))


def _digest(buffers: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(buffers.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(_bytes(tensor))
    return found.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    # As bytes, not as values: -0 and 0 differ, NaN equals itself, and every dtype has them.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _same(tensor: Tensor | None, other: Tensor) -> bool:
    return tensor is not None and tensor.dtype == other.dtype and _bytes(tensor) == _bytes(other)
