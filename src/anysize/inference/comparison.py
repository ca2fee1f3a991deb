"""Networks side by side, one line each."""

from collections.abc import Sequence

from anysize.inference.speed import LEAST_ROUNDS, Speed
from anysize.inference.summaries import Compared
from anysize.models.summary.field import ReceptiveField
from anysize.models.summary.text import bytes_text, operations_text
from anysize.sizes import format_size

__all__ = ["HEADER", "comparison_lines", "comparison_row", "notes"]

HEADER = (
    "network",
    "size",
    "parameters",
    "trainable",
    "file",
    "mult-adds",
    "training",
    "field",
    "images/s",
    "top-1",
)
_GAP = "  "


def comparison_row(compared: Compared) -> tuple[str, ...]:
    """Return one network's cells, as `HEADER` names them."""
    summary, costs = compared.summary, compared.summary.costs
    return (
        summary.name,
        format_size(summary.size),
        f"{summary.counts.all_parameters:,}",
        f"{summary.counts.trainable:,}",
        bytes_text(summary.counts.float32_bytes),
        operations_text(costs.multiply_adds),
        "-" if costs.training_bytes is None else bytes_text(costs.training_bytes),
        _field(summary.field),
        "-" if compared.speed is None else _three_digits(compared.speed.images_per_second),
        "-" if compared.published is None else f"{compared.published.top1:.1f}",
    )


def comparison_lines(networks: Sequence[Compared], *, width: int | None = None) -> list[str]:
    """Write the table, in several parts where ``width`` characters are not enough, and what its columns are."""
    rows = [HEADER, *(comparison_row(network) for network in networks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines: list[str] = []
    for part in _parts(widths, width):
        if lines:
            lines.append("")
        lines += [
            _GAP.join([f"{row[0]:<{widths[0]}}", *(f"{row[column]:>{widths[column]}}" for column in part)]).rstrip()
            for row in rows
        ]
    return [*lines, "", *notes(networks)]


def notes(networks: Sequence[Compared]) -> list[str]:
    """Say what the columns are, and where the published figures are from."""
    lines = [
        "parameters  with buffers (the statistics of batch normalisation), as Keras counts them",
        "training    activations of one image kept for the backward pass, in float32",
        "field       side of the receptive field in pixels; all: the whole image (in brackets: of the last map before",
        "            the global pool, or without what is pooled over the image)",
    ]
    lines += _speed_notes(networks)
    sources: dict[str, list[str]] = {}
    for network in networks:
        if network.published is not None:
            told = f"{network.published.source}, {network.published.resolution} pixels"
            sources.setdefault(told, []).append(network.summary.name)
    for source, names in sources.items():
        lines.append(f"top-1       {', '.join(names)}: {source}")
    return lines


def _speed_notes(networks: Sequence[Compared]) -> list[str]:
    """Say how it was measured, and which networks otherwise or not at all."""
    told = [(network.summary.name, network.speed or network.not_measured) for network in networks]
    usual = max((how for _, how in told if isinstance(how, Speed)), key=lambda speed: speed.batch_size, default=None)
    lines = []
    if usual is not None:
        lines.append(
            f"evaluation, float32, channels_last, batches of {usual.batch_size}, "
            f"{usual.threads} thread{'s' * (usual.threads > 1)}, {usual.machine}"
        )
    for name, how in told:
        if isinstance(how, str):
            lines.append(f"{name}: not measured: {how}")
        elif how is not None and usual is not None and _reduced(how, usual):
            rounds = f"{how.rounds} round{'s' * (how.rounds > 1)}"
            lines.append(f"{name}: batches of {how.batch_size}, {rounds}; more would have taken too long")
    return [f"{'images/s' * (number == 0):<12}{line}" for number, line in enumerate(lines)]


def _reduced(speed: Speed, usual: Speed) -> bool:
    return speed.batch_size < usual.batch_size or speed.rounds < LEAST_ROUNDS


def _parts(widths: Sequence[int], width: int | None) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        taken = widths[0] + sum(len(_GAP) + widths[other] for other in [*parts[-1], column])
        if width is not None and taken > width and parts[-1]:
            parts.append([])
        parts[-1].append(column)
    return parts


def _field(field: ReceptiveField) -> str:
    if field.unknown is not None:
        return "unknown"
    everything = field.whole_image or field.share_of_image
    if field.size is None:
        return "all" if everything else "-"
    height, width = field.size
    local = str(height) if height == width else format_size(field.size)
    return f"all ({local})" if everything else local


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
