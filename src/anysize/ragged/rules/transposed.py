"""Transposed convolution: what lies beyond an image's border adds nothing to the outputs along it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from anysize.kernels import convolve_transposed
from anysize.ragged.batch import Padding, RaggedBatch
from anysize.ragged.registry import refusal, register_rule
from anysize.ragged.shapes.windows import per_axis, require_pixels
from anysize.sizes import Window

__all__: list[str] = []


@register_rule(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
def transposed_convolution(
    function: Callable[..., Any],
    input: RaggedBatch,
    weight: Any,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> RaggedBatch:
    """Convolve a ragged batch transposed: (N, C_in, *spatial) -> (N, C_out, *spatial').

    The output padding may be lengths on which all images agree, as a module computes it from ``output_size``. Others
    do not come here: torch itself refuses them before it asks for a rule.
    """
    if not isinstance(input, RaggedBatch) or isinstance(weight, RaggedBatch):
        raise refusal(function, "only its input may be ragged, not its weight")
    axes = input.spatial_axes
    windows = [
        Window(kernel=k, stride=s, padding_before=p, padding_after=p, dilation=d)
        for k, s, p, d in zip(
            weight.shape[2:], per_axis(stride, axes), per_axis(padding, axes), per_axis(dilation, axes), strict=True
        )
    ]
    extra = per_axis(output_padding, axes)
    lengths = tuple(
        length.map(window.transposed) + more for length, window, more in zip(input.lengths, windows, extra, strict=True)
    )
    require_pixels(
        function,
        input,
        lengths,
        lambda: [w.smallest_transposed_input(more) for w, more in zip(windows, extra, strict=True)],
    )
    # The first pixel beyond the border adds to outputs from (length * stride - padding) on.
    reads_beyond = any(
        window.extent + more > window.stride + window.padding_after for window, more in zip(windows, extra, strict=True)
    )
    canvas = input.cleared() if reads_beyond else input.settled()
    result = convolve_transposed(function, canvas, weight, bias, stride, padding, extra, groups, dilation)
    return RaggedBatch.laid_out(result, lengths, Padding.FINITE).kept_finite()
