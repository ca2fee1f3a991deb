"""From a report to HTML: every word from outside is escaped, the sheet lies within the file."""

import base64
import importlib
import io
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from anysize.atomic import write_text
from anysize.data.problems import printable
from anysize.doctor.data.checks import number, share
from anysize.doctor.data.lines import told_notes
from anysize.doctor.data.report import DataReport
from anysize.doctor.data.tables import class_rows, label_values, pixel_statistics, size_bins, split_rows
from anysize.doctor.finding import SEVERITIES
from anysize.version import __version__

__all__ = ["render_page", "write_page"]

_TEMPLATE = "page.html.jinja"
_MOST_PATHS = 200


def write_page(path: Path, report: DataReport) -> None:
    """Write the page to ``path``, whole or not at all; the sheet of ``report`` is embedded."""
    write_text(path, render_page(report))


def render_page(report: DataReport) -> str:
    """The page as text."""
    jinja2 = importlib.import_module("jinja2")  # here: the other commands answer without it
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"plain": lambda text: printable(str(text)), "thousands": lambda count: f"{count:,}"}
    template = environment.from_string(resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"))
    page: str = template.render(**_content(report))
    return page


def _as_jpeg(path: Path) -> bytes:
    """A tenth of the PNG's size: it is to be looked at, and the PNG lies beside the page."""
    stored = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(stored, "JPEG", quality=85)
    return stored.getvalue()


def _content(report: DataReport) -> dict[str, Any]:
    survey = report.survey
    bins = size_bins(survey)
    rows = class_rows(survey)
    totals = {part.name: sum(row.counts[part.name] for row in rows) for part in survey.parts}
    pixels = pixel_statistics(survey)
    sheet = None
    if report.sheet is not None:
        sheet = "data:image/jpeg;base64," + base64.b64encode(_as_jpeg(report.sheet)).decode("ascii")
    return {
        "name": survey.root.resolve().name,
        "root": str(survey.root),
        "survey": survey,
        "verdict": report.verdict,
        "ok": report.ok,
        "counts": report.counts,
        "groups": [
            (severity, [finding for finding in report.findings if finding.severity == severity])
            for severity in SEVERITIES
        ],
        "splits": split_rows(survey),
        "bins": bins,
        "most": max((item.num_images for item in bins), default=1),
        "classes": rows,
        "parts": [part.name for part in survey.parts],
        "totals": totals,
        "values": label_values(survey),
        "pixels": None if pixels is None else {key: " ".join(map("{:.1f}".format, pixels[key])) for key in pixels},
        "notes": told_notes(report),
        "sheet": sheet,
        "most_paths": _MOST_PATHS,
        "share": share,
        "number": number,
        "version": __version__,
    }
