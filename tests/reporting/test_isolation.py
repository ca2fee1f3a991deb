"""Figures touch nothing outside themselves: no import before they are drawn, no pyplot, no thread."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from anysize.reporting.fonts import PLACEHOLDER, printable

DRAWING = ("by_size", "confusion", "curves", "plan_figure", "preview")


def modules_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_does_not_import_matplotlib() -> None:
    modules = modules_after("import anysize.reporting, anysize.reporting.text, anysize.reporting.wilson")
    assert "anysize.reporting" in modules
    assert not {"matplotlib", "PIL", "torch"} & modules


def test_drawing_modules_import_no_pyplot_and_no_torch() -> None:
    modules = modules_after("".join(f"import anysize.reporting.{name}\n" for name in DRAWING))
    assert "matplotlib.figure" in modules
    assert not {"matplotlib.pyplot", "torch"} & modules


def test_threads_draw_the_same_as_one(tmp_path: Path) -> None:
    from anysize.reporting.curves import draw_curves

    rows = [{"epoch": i, "train_loss": 1.0 / i, "train_accuracy": 1 - 1 / i, "lr": 0.1} for i in range(1, 9)]
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: draw_curves(path, rows), paths))
    assert len({path.read_bytes() for path in paths}) == 1


def test_printable_keeps_what_is_shown_and_boxes_the_rest() -> None:
    assert printable("Größe $x_1$ → ✓") == "Größe $x_1$ → ✓"
    assert printable("two\nlines\tand\x00") == f"two lines and{PLACEHOLDER}"
    assert printable("bad\udcff.png") == f"bad{PLACEHOLDER}.png"
    assert printable("") == ""
