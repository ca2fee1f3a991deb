"""``anysize doctor``."""

import dataclasses
import math
from typing import TYPE_CHECKING

from anysize.cli.output import write_json, write_lines
from anysize.doctor.config import DoctorConfig

if TYPE_CHECKING:
    from anysize.doctor.numerics import NumericsReport, Row

SUMMARY = "whether your data, and this machine, are as training needs them"
DESCRIPTION = """
Check what training stands on; changes nothing of it.

DATA: counts, sizes, classes, what stands in the masks, files that cannot be read, masks that do not fit their images,
copies across the split, and more: what was found, what was expected, and the fix; with a page (doctor.html) and a sheet
of overlays in --output.

'numerics' compares each operator, forward and backward, in each number type, memory layout and device, with the same in
float64: some kernels are wrong, and say nothing.

'learn DATA' is a command of its own (anysize doctor learn --help): it learns a handful of the images by heart and,
where that fails, says why.

Exit code 0: nothing stands against training; 1: an error was found (with --strict, or a warning).
"""
EXAMPLES = """
  anysize doctor photos/
  anysize doctor camvid/ --ignore-label 11 --output report/ --strict
  anysize doctor masks/ --mask-values 0,255 --model deeplabv3plus --json
  anysize doctor numerics --dtype bfloat16 --device cpu
  anysize doctor numerics --json
"""
OPTIONS = DoctorConfig


def run(options: DoctorConfig, *, as_json: bool) -> int:
    """Write the report; 1 where there are errors, or where anysize would compute wrong."""
    if options.require_check() == "numerics":
        return _numerics(options, as_json=as_json)
    return _data(options, as_json=as_json)


def _data(options: DoctorConfig, *, as_json: bool) -> int:
    from anysize.console import Console
    from anysize.doctor.data.lines import report_lines
    from anysize.doctor.data.run import check_data

    report = check_data(options, Console().bar)
    if as_json:
        write_json(report.to_json())
    else:
        write_lines(*report_lines(report))
    return 0 if report.ok else 1


def _numerics(options: DoctorConfig, *, as_json: bool) -> int:
    from anysize.console import Console
    from anysize.doctor.numerics import check_numerics

    with Console().bar("checking operators", 0) as bar:
        report = check_numerics(options, progress=bar.set)
    if as_json:
        write_json(_content(report))
    else:
        write_lines(*_table(report), *_failures(report), *_notes(report), "", report.conclusion)
    return 0 if report.ok else 1


def _content(report: "NumericsReport") -> dict[str, object]:
    return {
        "ok": report.ok,
        "conclusion": report.conclusion,
        "speeds": [{**dataclasses.asdict(speed), "is_slow": speed.is_slow} for speed in report.speeds],
        "rows": [dataclasses.asdict(row) for row in report.rows],
    }


def _table(report: "NumericsReport") -> list[str]:
    """One line a family: its largest error, over the largest that a right kernel makes."""
    families: dict[str, list[Row]] = {}
    for row in report.rows:
        families.setdefault(row.family, []).append(row)
    width = max(map(len, families))
    lines = [f"{'operators':<{width}}  {'checks':>6}  {'wrong':>5}  {'error/bound':>11}  at"]
    for family, rows in families.items():
        compared = [row for row in rows if row.verdict != "not available"]
        num_wrong = sum(row.verdict != "right" for row in compared)
        worst = max(compared, key=_ratio, default=None)
        where = ("-", "not available") if worst is None else (f"{_ratio(worst):.2g}", worst.kernel)
        lines.append(f"{family:<{width}}  {len(compared):>6}  {num_wrong:>5}  {where[0]:>11}  {where[1]}")
    return lines


def _failures(report: "NumericsReport") -> list[str]:
    lines = [""] if report.failures else []
    for row in report.failures:
        lines.append(f"wrong         {row.kernel}, width {row.width}: error {row.error:.2g}, bound {row.bound:.2g}")
        if row.remedy:
            lines.append(f"              {row.remedy}")
    return lines


def _notes(report: "NumericsReport") -> list[str]:
    unavailable = (row for row in report.rows if row.verdict == "not available")
    missing = {f"{row.operator}, {row.dtype}, {row.device}": None for row in unavailable}
    slow = [
        f"slow          {speed.dtype} on {speed.device}: a convolution takes {speed.times_float32:.0f} times "
        "as long as in float32"
        for speed in report.speeds
        if speed.is_slow
    ]
    return ["", *slow, *(f"not available {name}" for name in missing)] if slow or missing else []


def _ratio(row: "Row") -> float:
    return row.error / row.bound if math.isfinite(row.error) else math.inf
