"""Whether a reduced dtype is worth offering: some CPUs compute it many times slower than float32."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Speed", "measure_speeds"]

SLOW = 5.0  # times float32
_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a convolution costs in a reduced dtype."""

    dtype: str
    device: str
    times_float32: float
    """Its time over that of float32, forward and backward."""

    @property
    def is_slow(self) -> bool:
        """Whether it takes more than five times as long."""
        return self.times_float32 > SLOW


def measure_speeds(dtypes: Sequence[str], devices: Sequence[torch.device]) -> list[Speed]:
    """Time a 3x3 convolution of 32 channels on an image of 32x32, channels_last: bfloat16 and float16 over float32."""
    speeds = []
    for device in devices:
        float32 = _seconds(torch.float32, device)
        for name in dtypes:
            if name == "float32":
                continue
            try:
                seconds = _seconds(getattr(torch, name), device)
            except RuntimeError as error:  # no convolution in this dtype: the table says so
                if "not implemented" not in str(error):
                    raise
                continue
            speeds.append(Speed(dtype=name, device=str(device), times_float32=seconds / float32))
    return speeds


def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """The fastest of some runs: what else the machine does only ever adds."""
    input = torch.ones(1, 32, 32, 32, dtype=dtype, device=device).to(memory_format=torch.channels_last)
    weight = torch.ones(32, 32, 3, 3, dtype=dtype, device=device)
    fastest = float("inf")
    for _ in range(1 + _REPEATS):  # the first one compiles the kernels
        start = time.perf_counter()
        _run(input.requires_grad_(), weight.requires_grad_())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _run(input: Tensor, weight: Tensor) -> None:
    with torch.enable_grad():
        result = functional.conv2d(input, weight, padding=1)
        torch.autograd.grad(result, (input, weight), torch.ones_like(result))
