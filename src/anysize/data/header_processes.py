"""Reading headers in processes of their own: Pillow parses them under the interpreter lock, so threads share one core.

Plain processes with pipes rather than `multiprocessing`: that would import the user's script once more in each, and a
script without ``if __name__ == "__main__"`` would start itself again.
"""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from anysize.data import images
from anysize.data.images import ImageHeader, ImageReadError
from anysize.data.pillow import quiet_pillow

__all__ = ["HeaderProcesses", "read_headers", "serve"]

_LENGTH_BYTES = 8
_LAST_SECONDS = 5.0
_READY = "ready"
_CODE = "from anysize.data.header_processes import serve; serve()"


def read_headers(paths: Sequence[str], max_image_pixels: int) -> list[ImageHeader | ImageReadError]:
    """The header of each file, or why it cannot be read."""
    found: list[ImageHeader | ImageReadError] = []
    with quiet_pillow:
        for path in paths:
            try:
                found.append(images.read_header(Path(path), max_image_pixels=max_image_pixels))
            except ImageReadError as error:
                found.append(error)
    return found


class HeaderProcesses:
    """`read_headers` in other processes, for as many threads at once as there are processes.

    Where they cannot be started, or one dies, the calling thread reads instead.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._all: list[subprocess.Popen[bytes]] = []
        self._starters: list[threading.Thread] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the processes, if that has not been done; called by one thread alone."""
        if self._all or getattr(sys, "frozen", False) or not sys.executable:  # frozen: the program, not Python
            return
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with suppress(OSError):
            for _ in range(self._count):
                process = subprocess.Popen(
                    [sys.executable, "-c", _CODE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment,
                )
                self._all.append(process)
                starter = threading.Thread(target=self._await, args=(process,), daemon=True)
                starter.start()
                self._starters.append(starter)

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        """Until it has started, which takes some tenths of a second, the threads read headers themselves."""
        with suppress(OSError, EOFError):
            if process.stdout is not None and _receive(process.stdout) == _READY:
                self._idle.put(process)

    def read(self, paths: Sequence[str], max_image_pixels: int) -> list[ImageHeader | ImageReadError]:
        """As `read_headers`."""
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            return read_headers(paths, max_image_pixels)
        try:
            if process.stdin is None or process.stdout is None:
                raise EOFError
            _send(process.stdin, (list(paths), max_image_pixels))
            found: list[ImageHeader | ImageReadError] = _receive(process.stdout)
        except (OSError, EOFError):  # it has died: not to be used again
            return read_headers(paths, max_image_pixels)
        self._idle.put(process)
        return found

    def close(self) -> None:
        """End the processes; no thread may be reading any more."""
        for process in self._all:
            with suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()  # the end of its input is the end of its work
        for process in self._all:
            try:
                process.wait(_LAST_SECONDS)
            except subprocess.TimeoutExpired:  # somebody forked meanwhile and holds its input open
                process.kill()
                process.wait()
        for starter in self._starters:
            starter.join()
        for process in self._all:
            if process.stdout is not None:
                process.stdout.close()
        self._all = []


def serve() -> None:
    """The other end: answer what comes on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; whoever started this ends it
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr  # whatever prints must not write into the answers
    with suppress(EOFError, BrokenPipeError):
        _send(answers, _READY)
        while True:
            paths, max_image_pixels = _receive(source)
            _send(answers, read_headers(paths, max_image_pixels))


def _send(stream: IO[bytes], value: object) -> None:
    content = pickle.dumps(value)
    stream.write(len(content).to_bytes(_LENGTH_BYTES, "little") + content)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    prefix = stream.read(_LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    content = stream.read(length)
    if len(prefix) < _LENGTH_BYTES or len(content) < length:
        raise EOFError
    return pickle.loads(content)  # noqa: S301 - from our own process, through a pipe of our own
