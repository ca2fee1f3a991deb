"""A process of another interpreter that answers JSON lines on standard input with JSON lines on standard output."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    # glibc keeps memory, which `anysize.startup` tells it for torch.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


class Peer:
    """The process, as seen from ours; its first line names its versions."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.versions: str = self._read()["versions"]

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Keras process ended with exit code {self._process.wait()}; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def running(
    python: str, script: Path, environment: Mapping[str, str], settings: Mapping[str, Any]
) -> "Iterator[subprocess.Popen[str]]":
    """Run ``script`` with the interpreter ``python`` and its settings as JSON; it ends when its requests do."""
    process = subprocess.Popen(
        [python, str(script.resolve()), json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environment, **VARIABLES},
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
