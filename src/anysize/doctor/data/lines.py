"""The report of a data set as lines of text: what there is, what is wrong with it, and the verdict."""

from collections.abc import Iterator

from anysize.data.problems import printable
from anysize.doctor.data.checks import number, share
from anysize.doctor.data.report import DataReport
from anysize.doctor.data.survey import Survey
from anysize.doctor.data.tables import class_rows, label_values, pixel_statistics, size_bins, split_rows
from anysize.doctor.finding import SEVERITIES, Finding

__all__ = ["report_lines", "told_notes"]

_BAR = 30
_MOST_CLASSES = 40
_MOST_PATHS = 5
_MOST_VALUES = 16


def report_lines(report: DataReport) -> list[str]:
    """The whole report; the last line is the verdict."""
    survey = report.survey
    lines = [_heading(report), ""]
    lines += _splits(survey)
    lines += _sizes(survey)
    lines += _classes(survey)
    lines += _pixels(survey)
    lines += [f"as read: {printable(note)}" for note in told_notes(report)]
    for severity in SEVERITIES:
        found = [finding for finding in report.findings if finding.severity == severity]
        if found:
            lines += ["", f"{severity}s" if len(found) > 1 else severity]
            for finding in found:
                lines += _finding(finding)
    lines.append("")
    lines += [f"overlays  {report.sheet}"] if report.sheet else []
    lines += [f"page      {report.page}"] if report.page else []
    return [*lines, report.verdict]


def told_notes(report: DataReport) -> list[str]:
    """What reading the data has said and no finding repeats: where the class names are from, what was drawn."""
    told = [str(problem) for problem in report.survey.mask_problems]
    told += [finding.fix for finding in report.findings if finding.fix.startswith("--")]
    return [note for note in report.survey.notes if not any(words in note for words in told)]


def _heading(report: DataReport) -> str:
    survey = report.survey
    what = {"classify": "a class for each image", "segment": "a mask for each image", "none": "no labels"}[survey.task]
    parts = [f"{printable(str(survey.root))}: {survey.layout}, {what}"]
    if survey.classes:
        parts.append(number(len(survey.classes), "class", "classes"))
    if len(survey.parts) > 1 and not survey.has_own_split:
        parts.append("split drawn (the data have none)")
    return ", ".join(parts)


def _splits(survey: Survey) -> Iterator[str]:
    rows = split_rows(survey)
    ignored = survey.task == "segment" and any(row.pixels for row in rows)
    head = ["split", "images", "smallest", "largest", "sizes", "megapixels", *(["ignored"] if ignored else [])]
    cells = [
        [
            row.name,
            f"{row.num_images:,}",
            _by(row.smallest),
            _by(row.largest),
            f"{row.num_sizes:,}",
            f"{row.megapixels:,.1f}",
            *([share(row.ignored, row.pixels)] if ignored else []),
        ]
        for row in rows
    ]
    yield from _table(head, cells)


def _sizes(survey: Survey) -> Iterator[str]:
    bins = size_bins(survey)
    if not bins:
        return
    most = max(item.num_images for item in bins)
    yield ""
    yield "side (square root of the area, in pixels)"
    wide = len(str(bins[-1].high))
    for item in bins:
        bar = "#" * max(round(_BAR * item.num_images / most), min(item.num_images, 1))
        yield f"{item.low:>{wide}} .. {item.high:>{wide}}  {bar:<{_BAR}}  {item.num_images:,}"


def _classes(survey: Survey) -> Iterator[str]:
    rows = class_rows(survey)
    if not rows:
        return
    segment = survey.task == "segment"
    head = ["class"]
    for part in survey.parts:
        head += [f"{part.name} pixels", "share", "masks"] if segment else [f"{part.name} images", "share"]
    cells = []
    for row in rows[:_MOST_CLASSES]:
        line = [f"{row.index} {printable(row.name)}"]
        for part in survey.parts:
            count = row.counts[part.name]
            line += [f"{count:,}", share(count, sum(other.counts[part.name] for other in rows))]
            line += [f"{row.images[part.name]:,}"] if segment else []
        cells.append(line)
    yield ""
    yield from _table(head, cells)
    if len(rows) > _MOST_CLASSES:
        yield f"... and {len(rows) - _MOST_CLASSES} more classes (--json lists them all)"


def _pixels(survey: Survey) -> Iterator[str]:
    yield ""
    values = label_values(survey)
    if values:
        shown = ", ".join(_value(item["value"]) for item in values[:_MOST_VALUES])
        more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
        yield f"values in the masks: {shown}{more}"
    found = pixel_statistics(survey)
    if found is not None:
        mean, std = (" ".join(f"{value:.1f}" for value in found[name]) for name in ("mean", "std"))
        yield f"training pixels (RGB, 0..255): mean {mean}, standard deviation {std}"
    if survey.sampled:
        yield (
            f"looked at {len(survey.seen):,} of {survey.num_images:,} images (--max-images): the others were compared "
            "byte for byte, and not decoded"
        )


def _finding(finding: Finding) -> Iterator[str]:
    yield f"  {finding.check}: {printable(finding.found)}"
    if finding.expected:
        yield f"    expected  {printable(finding.expected)}"
    if finding.fix:
        yield f"    fix       {printable(finding.fix)}"
    if finding.paths:
        shown = ", ".join(printable(path) for path in finding.paths[:_MOST_PATHS])
        more = len(finding.paths) - _MOST_PATHS
        yield f"    files     {shown}" + (f" and {more:,} more (--json lists them all)" if more > 0 else "")


def _table(head: list[str], cells: list[list[str]]) -> Iterator[str]:
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
    for line in [head, *cells]:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([first, *others])


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _value(value: int | list[int]) -> str:
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)
