"""Memory in pieces is given back between steps: when, how often, and that it is."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from anysize.memory import pieces, without_pieces

GIB = 1 << 30


class Held:
    """Memory as a run would see it: each step leaves `left` behind, and needs what its image needs."""

    def __init__(self, needs: list[float], left: float) -> None:
        self.needs, self.left = needs, left
        self.pieces, self.now, self.most = 0.0, 0.0, 0.0
        self.freed: list[int] = []
        self.step = 0

    def run(self) -> None:
        for need in without_pieces(self.needs):
            self.pieces += self.left
            self.now = need + self.pieces
            self.most = max(self.most, self.now)
            self.step += 1

    def resident(self) -> int:
        return int(self.now * GIB)

    def free(self, _device: object) -> None:
        self.pieces, self.now = 0.0, 0.0
        self.freed.append(self.step)


def held(monkeypatch: pytest.MonkeyPatch, needs: list[float], left: float) -> Held:
    made = Held(needs, left)
    monkeypatch.setattr(pieces, "_resident_bytes", made.resident)
    monkeypatch.setattr(pieces, "free_memory", made.free)
    made.run()
    return made


def test_pieces_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = held(monkeypatch, [2.0] * 200, 0.1)
    assert found.most < 1.6 * 2.1
    assert len(found.freed) == pytest.approx(200 / 12, abs=2)  # each time that they are half of what a step needs


def test_what_is_needed_is_not_given_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = held(monkeypatch, [1.0, *[9.0] * 100], 0.0)
    assert 1 <= len(found.freed) <= 6
    assert held(monkeypatch, [1.0, 3.0] * 100, 0.0).freed[-1] < 20


def test_little_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(monkeypatch, [0.1] * 100, 0.008).freed == []


def test_all_steps_come_in_order_and_one_at_a_time() -> None:
    taken: list[int] = []

    def steps() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    for number in without_pieces(steps()):
        assert taken == list(range(number + 1))
    assert taken == [0, 1, 2, 3, 4]


PROCESS = """
import torch
from anysize.memory import pieces
from anysize.startup import StartupSettings, apply

apply(StartupSettings())
pieces._LEAST = 100 << 20
pieces.free_memory(torch.device("cpu"))
before = pieces._resident_bytes()
torch.zeros(200 << 18).sum()  # 200 MiB that glibc keeps
held = pieces._resident_bytes()
list(pieces.without_pieces(range(2)))
print(before, held, pieces._resident_bytes())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone keeps pieces")
def test_the_process_really_holds_less() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True)
    before, after_use, at_end = map(int, done.stdout.split())
    assert after_use > before + 150 * 2**20
    assert at_end < before + 20 * 2**20
