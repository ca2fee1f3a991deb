"""A summary in words and numbers, for people."""

from collections.abc import Sequence

from anysize.models.probe import SmallestImage
from anysize.models.summary.field import ReceptiveField
from anysize.models.summary.layers import Layer, Shape
from anysize.models.summary.published import Published
from anysize.models.summary.report import NetworkSummary
from anysize.sizes import format_size

__all__ = [
    "bytes_text",
    "field_text",
    "heading",
    "layer_lines",
    "operations_text",
    "published_lines",
    "stride_text",
    "total_lines",
]

_MOST_ROWS = 48
_GAP = "  "
_ELLIPSIS = "…"


def bytes_text(num_bytes: float) -> str:
    """Write a number of bytes in the unit that fits, three digits.

    >>> [bytes_text(count) for count in (0, 999, 102_228_128, 15_054_848, 4_000_000_000)]
    ['0 B', '999 B', '102 MB', '15.1 MB', '4.00 GB']
    """
    return _scaled(num_bytes, "B")


def operations_text(count: float) -> str:
    """Write a number of operations in the unit that fits, three digits.

    >>> operations_text(4_089_184_256), operations_text(646_924_288)
    ('4.09 G', '647 M')
    """
    return _scaled(count, "").rstrip()


def _scaled(value: float, unit: str) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            scaled = value / factor
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def field_text(field: ReceptiveField) -> str:
    """Write how much of an image an output sees."""
    if field.unknown is not None:
        text = f"unknown {field.unknown}" if field.unknown.startswith("behind") else f"unknown: {field.unknown}"
        return f"the whole image (locally {text})" if field.whole_image else text
    if field.size is None:
        return "the whole image" if field.whole_image or field.share_of_image else "nothing"
    height, width = field.size
    local = f"{height}x{width}"
    if field.of == "last map":
        seen = "the whole image" if field.whole_image else "a grid over the whole image"
        return f"{seen} (last map: {local})"
    if field.whole_image or field.share_of_image:
        return f"the whole image ({local} without what is pooled over it)"
    return local


def stride_text(field: ReceptiveField) -> str:
    """Write how far the field moves from one output to the next."""
    if field.stride is None:
        return "-"
    down, right = (f"{stride:g}" if stride >= 1 else f"1/{1 / stride:g}" for stride in field.stride)
    text = down if down == right else f"{down}x{right}"
    return f"{text} (last map)" if field.of == "last map" else text


def heading(summary: NetworkSummary) -> str:
    """Say which network it is, and what it was built for."""
    classes, channels = summary.num_classes, summary.in_channels
    return f"{summary.name}: {classes:,} class{'es' * (classes > 1)}, {channels} channel{'s' * (channels > 1)}"


def published_lines(published: Published | None) -> list[str]:
    """Say what accuracy others found."""
    if published is None:
        return []
    return ["", f"ImageNet top-1  {published.top1:.1f} % at {published.resolution} pixels ({published.source})"]


def total_lines(summary: NetworkSummary) -> list[str]:
    """Everything but the layers, one fact a line."""
    counts, costs = summary.counts, summary.costs
    frozen = counts.parameters - counts.trainable
    training = "not countable" if costs.training_bytes is None else bytes_text(costs.training_bytes)
    rows = [
        ("parameters", f"{counts.parameters:,} (trainable {counts.trainable:,}, frozen {frozen:,})"),
        ("buffers", f"{counts.buffers:,}; parameters and buffers {counts.all_parameters:,}"),
        ("file", f"{bytes_text(counts.float32_bytes)} in float32"),
        ("receptive field", field_text(summary.field)),
        ("stride", stride_text(summary.field)),
        ("smallest image", _smallest_text(summary.smallest)),
        ("", ""),
        (f"one image of {format_size(summary.size)}, float32", ""),
        ("multiply-adds", f"{operations_text(costs.multiply_adds)}, of convolutions and matrix products"),
        ("training", f"{training} of activations kept for the backward pass"),
        ("evaluation", f"{bytes_text(costs.evaluation_bytes)} of activations at once, at most"),
    ]
    width = max(len(name) for name, value in rows if value)
    return [f"{name:<{width}}{_GAP}{value}" if value else name for name, value in rows]


def _smallest_text(smallest: SmallestImage | None) -> str:
    if smallest is None:
        return "unknown: it does not take every size"
    side = f"{smallest.side}x{smallest.side}"
    if smallest.only:
        return f"{side}, and no other size"
    if smallest.multiple_of is None:
        return f"{side}; it does not take every larger size"
    return side if smallest.multiple_of == 1 else f"{side}; sides are multiples of {smallest.multiple_of}"


def layer_lines(layers: Sequence[Layer], *, depth: int | None = None, width: int | None = None) -> list[str]:
    """Write the layers as a table; what lies deeper than ``depth`` is folded into what holds it.

    Args:
        layers: of a summary.
        depth: how deep; by default as deep as 48 rows allow.
        width: characters a line may have; names and kinds that are too long lose their middle. None for no limit.
    """
    deepest = max(layer.depth for layer in layers)
    limit = _fitting_depth(layers, deepest) if depth is None else depth
    shown = [layer for layer in layers if layer.depth <= limit]
    unfolded = {layer.name for layer in shown if layer.depth < limit and _children(layers, layer)}
    rows = [("layer", "kind", "output", "parameters")]
    for layer in shown:
        count = layer.own_parameters if layer.name in unfolded else layer.parameters
        own = layer.name.rpartition(".")[2] if layer.name else "(network)"
        times = f" x{layer.calls}" if layer.calls > 1 else ""
        # A container that is unfolded holds nothing itself: what its layers hold stands beside them.
        text = "" if layer.name in unfolded and not count else f"{count:,}"
        rows.append(("  " * layer.depth + own, layer.kind.lstrip("_") + times, _shape_text(layer.shape), text))
    return [*_table(rows, width), *_folded_note(limit, deepest)]


def _folded_note(limit: int, deepest: int) -> list[str]:
    return [] if limit >= deepest else [f"(folded at depth {limit} of {deepest}; --depth {deepest} shows all)"]


def _fitting_depth(layers: Sequence[Layer], deepest: int) -> int:
    for depth in range(deepest, 1, -1):
        if sum(layer.depth <= depth for layer in layers) <= _MOST_ROWS:
            return depth
    return 1


def _children(layers: Sequence[Layer], parent: Layer) -> bool:
    prefix = f"{parent.name}." if parent.name else ""
    return any(layer.depth == parent.depth + 1 and layer.name.startswith(prefix) for layer in layers)


def _shape_text(shape: Shape | None) -> str:
    return "-" if shape is None else " x ".join(str(length) for length in shape)


def _table(rows: Sequence[tuple[str, str, str, str]], width: int | None) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    if width is not None:
        spare = width - sum(widths) - 3 * len(_GAP)
        for column, least in ((1, 12), (0, 16)):
            cut = min(max(-spare, 0), max(widths[column] - least, 0))
            widths[column] -= cut
            spare += cut
    return [
        _GAP.join(
            (
                f"{_cut(name, widths[0]):<{widths[0]}}",
                f"{_cut(kind, widths[1]):<{widths[1]}}",
                f"{shape:<{widths[2]}}",
                f"{count:>{widths[3]}}",
            )
        ).rstrip()
        for name, kind, shape, count in rows
    ]


def _cut(text: str, width: int) -> str:
    """Leave out the middle of what is too long."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + _ELLIPSIS + (text[-tail:] if tail else "")
