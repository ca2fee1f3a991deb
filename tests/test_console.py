"""What is shown while a command works, where there is no terminal to show a bar."""

import pytest

from anysize import console as console_module
from anysize.console import Console


def test_without_a_terminal_a_line_a_minute_takes_the_place_of_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    with Console().bar("epoch 3/30", 40) as bar:
        for step in range(40):
            now[0] += 7.0
            bar.advance(1, f"loss {step / 10:.1f}")
    said = capsys.readouterr().err.splitlines()
    assert said == [f"epoch 3/30  {n}/40  loss {(n - 1) / 10:.1f}" for n in (9, 18, 27, 36)]  # 63 seconds each

    with Console().bar("reading sizes", 0) as bar:
        now[0] += 61.0
        bar.set(100_000, 1_281_167)
        bar.set(100_001, 1_281_167)
    with Console(quiet=True).bar("reading sizes", 0) as bar:
        now[0] += 61.0
        bar.set(1, 2)
    assert capsys.readouterr().err == "reading sizes  100000/1281167\n"
