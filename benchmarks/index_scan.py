"""How fast sizes are read: a folder of small files, and the same images in shards, new and known to the index.

    python benchmarks/index_scan.py [--files 20000] [--rounds 5]

Makes its files in a temporary folder: 80 % JPEG, 10 % JPEG with EXIF, 10 % PNG, 96 to 320 pixels a side. They have just
been written, so all bytes are in the page cache: the figures are those of the processor, not of a disk. `new` means an
empty index, `known` a second scan. The peers are Pillow alone: open each file, ask for its size, keep nothing (one
thread; a pool of threads). The processor time of an image (all threads) is shown too: it says on a busy machine what a
quiet one would do.
"""

import argparse
import io
import os
import platform
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from anysize.data import DataOptions, SizeIndex, load_data

_CLASSES = 20
_SHARDS = 20
_DIFFERENT = 200
_CHUNK = 64


def _encoded(number: int) -> tuple[str, bytes]:
    """One image: smooth noise, which JPEG and PNG compress about as well as photos."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(96, 321, 2).tolist()
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    fine = rng.integers(0, 24, (height, width, 3), np.uint8)
    image = Image.fromarray(np.asarray(image) // 2 + fine)
    stream = io.BytesIO()
    if number % 10 == 0:
        image.save(stream, "PNG")
        return "png", stream.getvalue()
    exif = Image.Exif()
    if number % 10 == 1:
        exif[274], exif[271] = 6, "maker"
    image.save(stream, "JPEG", quality=85, exif=exif)
    return "jpg", stream.getvalue()


def _make(root: Path, num_files: int) -> list[str]:
    """``root/files/CLASS/N.jpg`` and the same images in ``root/shards/N.tar``; the paths of the files."""
    images = [_encoded(number) for number in range(min(_DIFFERENT, num_files))]
    (root / "shards").mkdir()
    tars = [tarfile.open(root / "shards" / f"{k:03}.tar", "w") for k in range(_SHARDS)]  # noqa: SIM115
    paths = []
    for number in range(num_files):
        extension, content = images[number % len(images)]
        label = f"c{number % _CLASSES:02}"
        path = root / "files" / label / f"{number:06}.{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1e9, 1e9))  # what was written a moment ago is not kept in the index
        paths.append(str(path))
        for name, data in ((path.name, content), (path.stem + ".cls", label.encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tars[number % _SHARDS].addfile(info, io.BytesIO(data))
    for tar in tars:
        tar.close()
    print(f"{num_files} files, {sum(map(os.path.getsize, paths)) / num_files / 1024:.1f} KiB each")
    return paths


def _pillow_sizes(paths: Sequence[str]) -> list[tuple[int, int]]:
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.size)
    return sizes


def _ways(root: Path, paths: list[str], num_cores: int) -> dict[str, Callable[[], object]]:
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    index, shards = root / "index.sqlite", root / "shards"

    def scan(workers: int) -> None:
        with SizeIndex(index) as known:
            load_data(root / "files", DataOptions(workers=workers), index=known)

    def new(workers: int) -> None:
        for file in root.glob("index.sqlite*"):
            file.unlink()
        scan(workers)

    def new_shards(workers: int) -> None:
        (shards / ".anysize-index").unlink(missing_ok=True)
        load_data(shards, DataOptions(workers=workers))

    def threads() -> None:
        with ThreadPoolExecutor(num_cores) as executor:
            list(executor.map(_pillow_sizes, chunks))

    return {
        "folder, new, 1 thread": lambda: new(1),
        f"folder, new, {num_cores} threads": lambda: new(num_cores),
        "folder, known": lambda: scan(num_cores),
        "shards, new, 1 thread": lambda: new_shards(1),
        f"shards, new, {num_cores} threads": lambda: new_shards(num_cores),
        "shards, known": lambda: load_data(shards, DataOptions()),
        "Pillow alone, 1 thread": lambda: _pillow_sizes(paths),
        f"Pillow alone, {num_cores} threads": threads,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"{platform.machine()}, {num_cores} cores, Python {platform.python_version()}, Pillow {PIL.__version__}")
    root = Path(tempfile.mkdtemp(prefix="anysize-index-scan-"))
    try:
        paths = _make(root, arguments.files)
        ways = _ways(root, paths, num_cores)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(arguments.rounds):
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
            for name, way in ways.items():
                start, cpu_start = time.perf_counter(), time.process_time()
                way()
                rates[name].append(arguments.files / (time.perf_counter() - start))
                costs[name].append(1e6 * (time.process_time() - cpu_start) / arguments.files)
            print(f"round {number + 1}, load {load:.1f}: " + "  ".join(f"{r[-1]:,.0f}" for r in rates.values()))
    finally:
        shutil.rmtree(root)
    print(f"\n{'images/s':32}{'median':>10}{'lowest':>10}{'highest':>10}{'CPU us each':>14}")
    for name, values in rates.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:32}{middle:10,.0f}{low:10,.0f}{high:10,.0f}{statistics.median(costs[name]):14.1f}")


if __name__ == "__main__":
    main()
