"""``anysize doctor``: what it is asked, what it writes, and how it ends."""

import json
import subprocess
import sys

import pytest

from anysize.cli import main
from anysize.doctor import numerics
from anysize.doctor.numerics import REMEDY, NumericsReport, Row
from anysize.doctor.speed import Speed

HINT = "hint: anysize doctor numerics\n"


def row(**changes: object) -> Row:
    fields: dict[str, object] = {"operator": "convolution", "family": "convolution", "dtype": "bfloat16"}
    fields |= {"layout": "channels_last", "device": "cpu", "what": "weight gradient", "width": 57}
    fields |= {"error": 0.01, "bound": 0.04, "verdict": "right"} | changes
    return Row(**fields)


RIGHT = row()
AVOIDED = row(operator="dilated", error=1.3, verdict="gone round", remedy=REMEDY)
WRONG = row(operator="linear", family="matrix product", error=float("inf"), verdict="wrong")
MISSING = row(operator="gelu", family="activation", error=float("nan"), bound=float("nan"), verdict="not available")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """What the checks are made to find."""
    rows: list[Row] = []
    speeds = (Speed(dtype="float16", device="cpu", times_float32=26.2),)
    monkeypatch.setattr(numerics, "check_numerics", lambda *_, **__: NumericsReport(tuple(rows), speeds))
    return rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doctor", "error: nothing to check was given: DATA, or one of: numerics\nhint: anysize doctor DATA\n"),
        (
            "doctor numeric",
            f"error: there is no file or folder numeric, and no check of that name; known: numerics\n{HINT}",
        ),
        (
            "doctor photos/",
            "error: there is no file or folder photos/, and no check of that name; known: numerics\nhint: give the "
            "folder that holds the images: anysize doctor DATA\n",
        ),
        (
            "doctor numerics --max-images 4",
            "error: --max-images has no meaning for anysize doctor numerics\nhint: leave out --max-images\n",
        ),
        ("doctor . --dtype float16", "error: --dtype has no meaning for anysize doctor .\nhint: leave out --dtype\n"),
        (
            "doctor . --model-kwargs width=8",
            "error: --model-kwargs width=8 was given without --model\nhint: --model NAME, or leave it out\n",
        ),
        (
            "doctor numerics --dtype int8",
            "error: invalid choice 'int8' for argument '--dtype'. Expected one of ('all', 'float32', 'bfloat16', "
            "'float16')\nhint: anysize doctor --help shows the options\n",
        ),
        (
            "doctor numerics --devise cpu",
            "error: anysize doctor has no option --devise\nhint: did you mean --device?\n",
        ),
    ],
)
def test_what_cannot_be_checked(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr() == ("", message)


def test_the_table_then_the_failures_in_full(found: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    found += [RIGHT, AVOIDED, MISSING]
    assert main(["doctor", "numerics"]) == 0
    assert capsys.readouterr() == (
        "operators    checks  wrong  error/bound  at\n"
        "convolution       2      1           32  dilated, weight gradient, bfloat16, channels_last, cpu\n"
        "activation        0      0            -  not available\n"
        "\n"
        "wrong         dilated, weight gradient, bfloat16, channels_last, cpu, width 57: error 1.3, bound 0.04\n"
        f"              {REMEDY}\n"
        "\n"
        "slow          float16 on cpu: a convolution takes 26 times as long as in float32\n"
        "not available gelu, bfloat16, cpu\n"
        "\n"
        "1 kernel of this machine is wrong; anysize goes round it.\n",
        "",
    )


def test_what_anysize_would_compute_wrong_fails(found: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    found += [RIGHT, WRONG]
    assert main(["doctor", "numerics"]) == 1
    shown = capsys.readouterr().out
    assert "linear, weight gradient, bfloat16, channels_last, cpu, width 57: error inf, bound 0.04\n" in shown
    assert shown.endswith("\n1 kernel of this machine is wrong, and anysize does not go round it.\n")


def test_json(found: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    found += [RIGHT, WRONG]
    assert main(["doctor", "numerics", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content.keys() == {"ok", "conclusion", "speeds", "rows"}
    assert content["ok"] is False
    assert content["speeds"] == [{"dtype": "float16", "device": "cpu", "times_float32": 26.2, "is_slow": True}]
    assert content["rows"][0] == {
        "operator": "convolution",
        "family": "convolution",
        "dtype": "bfloat16",
        "layout": "channels_last",
        "device": "cpu",
        "what": "weight gradient",
        "width": 57,
        "error": 0.01,
        "bound": 0.04,
        "verdict": "right",
        "remedy": "",
    }
    assert content["rows"][1]["error"] is None


def test_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "numerics", "--dtype", "bfloat16", "--device", "cpu", "--json"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert shown.err == ""
    assert content["ok"] is True
    assert {row["dtype"] for row in content["rows"]} == {"bfloat16"}
    assert len(content["rows"]) > 300


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from anysize.cli import main; code = main(sys.argv[1:]); "
        "print(*({'torch', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, "doctor", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "\n")
    assert "anysize doctor numerics --json" in done.stdout
    assert "WHAT" in done.stdout
