"""``nn.SyncBatchNorm`` on ragged batches: statistics over the real pixels of all ranks.

Its forward hands the input to an autograd function of its own, which asks no ``__torch_function__``: there a batch of
mixed sizes could be neither worked nor refused by a rule. So its ``forward`` is wrapped, once, when this is imported:
tensors go on to torch's own, ragged batches to the rule of batch normalisation. Unlike torch's it also works on CPUs.
"""

from functools import wraps
from typing import Any

from torch import distributed, nn
from torch.nn import functional

from anysize.ragged.batch import RaggedBatch
from anysize.ragged.group import RaggedGroup
from anysize.ragged.rules.normalization import batch_norm

__all__: list[str] = []

_torch_forward = nn.SyncBatchNorm.forward


@wraps(_torch_forward)
def _forward(self: nn.SyncBatchNorm, input: Any) -> Any:
    if not isinstance(input, RaggedBatch | RaggedGroup):
        return _torch_forward(self, input)
    self._check_input_dim(input)
    factor = 0.0 if self.momentum is None else self.momentum
    if self.training and self.track_running_stats and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:  # a cumulative average, as in torch
            factor = 1.0 / float(self.num_batches_tracked)
    training = self.training or (self.running_mean is None and self.running_var is None)
    kept = not self.training or self.track_running_stats
    return batch_norm(
        functional.batch_norm, input,
        self.running_mean if kept else None, self.running_var if kept else None,
        self.weight, self.bias, training, factor, self.eps,
        ranks=_ranks(self) if training and self.training else None,
    )  # fmt: skip


def _ranks(module: nn.SyncBatchNorm) -> Any:
    """The process group to synchronise with; None where there is one rank, or none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    group = module.process_group or distributed.group.WORLD
    return group if distributed.get_world_size(group) > 1 else None


nn.SyncBatchNorm.forward = _forward  # type: ignore[method-assign]
