"""Headers that other processes read are the same, and nothing is lost when one dies."""

import time
from pathlib import Path

import pytest

from anysize.data import SizeIndex, index
from anysize.data.header_processes import HeaderProcesses, read_headers
from anysize.data.images import ImageHeader


@pytest.fixture
def two():
    processes = HeaderProcesses(2)
    processes.start()
    deadline = time.monotonic() + 60
    while processes._idle.qsize() < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield processes
    processes.close()


def test_the_same_headers_and_errors(real_data: Path, two: HeaderProcesses) -> None:
    paths = [str(path) for path in sorted((real_data / "hard_inputs" / "files").iterdir())] + ["no such file"]
    expected = read_headers(paths, 10**6)
    found = two.read(paths, 10**6)
    assert two._idle.qsize() == 2, "a process has answered"
    assert len(found) == len(paths) > 40
    for one, other in zip(expected, found, strict=True):
        assert type(one) is type(other)
        if isinstance(one, ImageHeader):
            assert one == other
        else:
            assert (one.reason, one.lasting) == (other.reason, other.lasting)


def test_a_process_that_dies_is_done_without(make_image, two: HeaderProcesses) -> None:
    path = str(make_image("x.png", (3, 4)))
    for process in two._all:
        process.kill()
        process.wait()
    for left in (1, 0, 0):
        assert two.read([path], 100) == [ImageHeader(3, 4, 3, 1, "PNG")]
        assert two._idle.qsize() == left


def test_processes_end_with_the_scan(make_image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_MANY", 100)
    monkeypatch.setattr(index, "_BLOCK", 16)
    made: list[HeaderProcesses] = []
    started: list[int] = []
    original = HeaderProcesses.start

    def start(self: HeaderProcesses) -> None:
        original(self)
        made.append(self)
        started.extend(process.pid for process in self._all)

    monkeypatch.setattr(HeaderProcesses, "start", start)
    paths = [make_image(f"{n}.png", (1 + n % 5, 9)) for n in range(100)]
    with SizeIndex(tmp_path / "index.sqlite") as known:
        found = known.scan(paths, workers=2)
        assert found == [ImageHeader(1 + n % 5, 9, 3, 1, "PNG") for n in range(100)]
        assert len(set(started)) == 2
        assert made[0]._all == []
        started.clear()
        assert known.scan(paths, workers=2) == found
        assert started == [], "no process is started for what is known"
