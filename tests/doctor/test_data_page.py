"""The page: whatever files and classes are called, it stays one harmless file."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from anysize.doctor.data.lines import report_lines
from anysize.doctor.data.report import DataReport
from anysize.doctor.finding import Finding
from anysize.doctor.page import render_page, write_page
from survey_toy import healthy, segments

EVIL = "<script>alert('&\"x')</script>\n.png"


class Tags(HTMLParser):
    """Counts open tags, and collects where a browser would fetch from."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href", "data", "action")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def report(tmp_path: Path) -> DataReport:
    Image.new("RGB", (8, 8)).save(tmp_path / "overlays.png")
    survey = segments([[800, 800, 800, 0]] * 20, [[800, 800, 800, 0]] * 12, classes=("a & b", EVIL, "c<d"))
    survey = replace(survey, root=Path(f"/data/{EVIL}"), palette=((0, 0, 0), (128, 0, 0), (1, 2, 3)))
    finding = Finding("files", "error", f"found {EVIL}", f"expected {EVIL}", f"fix {EVIL}", (EVIL,) * 300)
    return DataReport(survey=survey, findings=(finding,), sheet=tmp_path / "overlays.png")


def test_names_from_outside_are_text(tmp_path: Path) -> None:
    page = render_page(report(tmp_path))
    tags = parsed(page)
    assert "script" not in tags.seen
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 200
    assert "a &amp; b" in page
    assert "and 100 more" in page


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = render_page(report(tmp_path))
    (source,) = parsed(page).sources
    assert source.startswith("data:image/jpeg;base64,/9j/")
    assert not re.search(r"url\(|@import|https?://", page)
    assert "prefers-color-scheme: dark" in page


def test_a_report_without_findings_and_without_a_sheet(tmp_path: Path) -> None:
    plain = DataReport(survey=healthy(), findings=())
    write_page(tmp_path / "new" / "doctor.html", plain)
    page = (tmp_path / "new" / "doctor.html").read_text(encoding="utf-8")
    parsed(page)
    assert "nothing found: nothing stands against training." in page
    assert report_lines(plain)[-1] == "nothing found: nothing stands against training."


def test_warnings_count_when_strict() -> None:
    warning = Finding("classes", "warning", "f", "e", "x")
    lenient = DataReport(survey=healthy(), findings=(warning,))
    assert (lenient.ok, lenient.verdict) == (True, "1 warning: nothing stands against training.")
    strict = replace(lenient, strict=True)
    assert (strict.ok, strict.verdict) == (False, "1 warning: --strict refuses warnings.")
    error = replace(lenient, findings=(replace(warning, severity="error"), warning))
    assert (error.ok, error.verdict) == (False, "1 error, 1 warning: repair the errors before training.")


def test_the_report_in_text(tmp_path: Path) -> None:
    lines = report_lines(report(tmp_path))
    assert all("\n" not in line for line in lines)
    at = lines.index("error")
    assert lines[at + 1] == "  files: found <script>alert('&\"x')</script>\\n.png"
    assert lines[at + 4].endswith("and 295 more (--json lists them all)")
