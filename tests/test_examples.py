"""The examples run, and do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_own_loop_learns() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "own_loop.py")], capture_output=True, text=True, check=True
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith("epoch 4: ")
    assert float(last.removeprefix("epoch 4: ").split("%")[0]) > 95


@pytest.mark.slow
def test_the_demo_reaches_what_it_promises(tmp_path: Path) -> None:
    """It ends with an error below 97 %."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "the commands that were run:" in done.stdout


@pytest.mark.slow
def test_the_wheel_gives_the_command(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "torch"], check=True)  # first and pinned, as the Makefile does
    subprocess.run([*pip, str(wheel)], check=True)
    answer = subprocess.run(
        [str(environment / "bin" / "anysize"), "--version"], check=True, capture_output=True, text=True
    )
    assert answer.stdout.startswith("anysize ")
