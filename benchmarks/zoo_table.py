"""Which networks of timm, torchvision and segmentation_models_pytorch are exact on images of mixed sizes?

Claim: docs/zoo.md, which this script writes. One small network of every convolutional family, and several where
variants differ in kind (`zoo_models`), with random weights; nothing is downloaded. Each runs through `anysize.verify`
in float64, in evaluation and training: values, gradients, running statistics, with the padding filled with NaN.

    python benchmarks/zoo_table.py                     # all of it, from the beginning
    python benchmarks/zoo_table.py --resume            # only what has no result yet
    python benchmarks/zoo_table.py --only resnet       # what has this in its name, again

Every network has a process of its own, so that one that crashes or never ends takes no other along. Results are
appended to benchmarks/results/zoo.jsonl as they come; the last one of a name counts.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from zoo_models import FAMILIES, NO_CONVNETS, Network

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "zoo.jsonl"
TABLE = ROOT / "docs" / "zoo.md"
VERDICTS = ("exact", "refused", "WRONG", "fails", "not run")
PACKAGES = ("torch", "timm", "torchvision", "segmentation_models_pytorch")
LIBRARIES = {"timm": "timm", "torchvision": "torchvision", "smp": "segmentation_models_pytorch"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what is asked for, then write the table."""
    options = parse(arguments)
    if options.worker:
        with contextlib.redirect_stdout(sys.stderr):  # libraries print
            result = verify_one(options.worker)
        print(json.dumps(result))
        return 0
    known = read_results() if options.resume or options.only else {}
    if not (options.resume or options.only or options.table_only):
        RESULTS.unlink(missing_ok=True)
    wanted = [network for network in FAMILIES if options.only in network.name]
    if options.resume:
        wanted = [network for network in wanted if network.name not in known]
    if options.table_only:
        wanted = []
    elif not options.only:
        report_unlisted()
    run_all(wanted, options.workers, options.time_limit)
    write_table(read_results())
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks with this in their name (smp:Unet, resnet18)")
    parser.add_argument("--resume", action="store_true", help="leave out what has a result")
    parser.add_argument("--table-only", action="store_true", help="write the table from the results there are")
    parser.add_argument("--workers", type=int, default=2, help="processes at once, each with one thread")
    parser.add_argument("--time-limit", type=float, default=180.0, help="seconds a network")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def verify_one(name: str) -> dict[str, Any]:
    """In a process of its own: verify one network."""
    from anysize import startup

    startup.apply(startup.StartupSettings())  # before torch: allocating anew is a third of the time of large networks
    import torch

    from anysize.errors import AnysizeError
    from anysize.models.named import named_model
    from anysize.ragged import verify

    try:
        report = verify(named_model(name), in_channels=3, dtype=torch.float64)
    except AnysizeError as error:
        return {"verdict": "not run", "detail": error.message.splitlines()[0]}
    verdict = "exact" if report.exact else "fails" if report.failed else "WRONG"
    detail = ("casts to float32 inside" if report.casts else "") if report.exact else report.verdict
    if not report.exact and not report.failed and all(entry.exact for entry in report.entries):
        verdict = "refused"
        detail = "; ".join(dict.fromkeys(f"{failure.function or failure.why}" for failure in report.refused))
    return {
        "verdict": verdict,
        "detail": detail,
        "sizes": ["x".join(map(str, size)) for size in report.sizes],
        "sizes_reason": report.sizes_reason,
        "casts": report.casts,
        "refused": [[failure.mode, failure.function, failure.module, failure.why] for failure in report.refused],
        "failed": [[failure.mode, failure.module, failure.why] for failure in report.failed],
        "evaluation": largest(e.error for e in report.entries if e.mode == "evaluation" and "grad" not in e.kind),
        "training": largest(e.error for e in report.entries if e.mode == "training" and "grad" not in e.kind),
        "gradients": largest(e.error for e in report.entries if "grad" in e.kind),
    }


def largest(errors: Any) -> float | None:
    """The largest of ``errors``; None where there is none, and infinity as a large number, which JSON has."""
    found = list(errors)
    return None if not found else min(max(found), 1e308)


def run_all(wanted: Sequence[Network], workers: int, time_limit: float) -> None:
    """Verify the networks, some at once, and append each result as it comes."""
    RESULTS.parent.mkdir(exist_ok=True)
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool, RESULTS.open("a", encoding="utf-8") as file:
        running = {pool.submit(run_worker, network, time_limit): network for network in wanted}
        for number, future in enumerate(as_completed(running), start=1):
            result = future.result()
            file.write(json.dumps(result) + "\n")
            file.flush()
            seconds = time.perf_counter() - start
            print(f"{number}/{len(wanted)} {seconds:5.0f} s  {result['name']}: {result['verdict']} {result['detail']}")


def run_worker(network: Network, time_limit: float) -> dict[str, Any]:
    """Start a process for one network and wait for its result, however it ends."""
    # In the same environment; only the package may have to be found where it is not installed.
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", network.name],
            capture_output=True, text=True, timeout=time_limit, env=environment, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            found = {"verdict": "not run", "detail": f"ended with {done.returncode}: {last}"}
        else:
            found = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        found = {"verdict": "not run", "detail": f"took more than {time_limit:.0f} s"}
    return {
        "name": network.name,
        "family": network.family,
        **found,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {package: version(package) for package in PACKAGES},
    }


def version(package: str) -> str:
    """The installed version, without the suffix of the build."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def report_unlisted() -> None:
    """A new timm brings new families: name those that are in neither list."""
    from anysize.errors import MissingExtraError
    from anysize.models.named import import_zoo

    try:
        families = import_zoo("timm").list_modules()
    except MissingExtraError as error:
        sys.exit(f"error: {error}")
    listed = {network.family for network in FAMILIES if network.library == "timm"} | set(NO_CONVNETS)
    for family in sorted(set(families) - listed):
        print(f"warning: timm's {family} is not listed in zoo_models.py")


def read_results() -> dict[str, dict[str, Any]]:
    """The last result of each name."""
    if not RESULTS.is_file():
        return {}
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return {row["name"]: row for row in rows}


def write_table(results: dict[str, dict[str, Any]]) -> None:
    """Write docs/zoo.md."""
    rows = [results[network.name] for network in FAMILIES if network.name in results]
    if not rows:
        print("no results, no table")
        return
    versions = ", ".join(f"{name} {number}" for name, number in rows[-1]["versions"].items())
    lines = [
        "# Networks that are exact",
        "",
        "Written by `python benchmarks/zoo_table.py`: each network, unmodified and with random weights, on one batch",
        "of images of mixed sizes against each image alone, in float64 (`anysize.verify`). Errors are the largest",
        "deviations, relative to the largest true magnitude: of the outputs in evaluation; of the outputs and running",
        "statistics in training; of all gradients in both. *exact*: within 1e-9, gradients 1e-7, with NaN for",
        "padding. *refused*: an operator without an exact rule, named, and nothing wrong computed. *fails*: ends",
        "in another exception. *not run*: the network takes none of the sizes alone, crashed or took too long.",
        "",
        f"With {versions}.",
        "",
        "| library | " + " | ".join(VERDICTS) + " | families, all exact |",
        "|---" * (len(VERDICTS) + 2) + "|",
    ]
    for library, package in LIBRARIES.items():
        mine = [row for row in rows if row["name"].startswith(f"{library}:")]
        counts = Counter(row["verdict"] for row in mine)
        families = {row["family"] for row in mine}
        exact = families - {row["family"] for row in mine if row["verdict"] != "exact"}
        numbers = " | ".join(str(counts[word]) for word in VERDICTS)
        lines.append(f"| {package} | {numbers} | {len(exact)} of {len(families)} |")
    for library, package in LIBRARIES.items():
        mine = [row for row in rows if row["name"].startswith(f"{library}:")]
        lines += ["", f"## {package}", "", "| family | network | sizes | evaluation | training | gradients | verdict |"]
        lines += ["|---|---|---|---|---|---|---|", *map(table_row, mine)]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{TABLE}: {len(rows)} of {len(FAMILIES)} networks")


def table_row(row: dict[str, Any]) -> str:
    """One network."""
    errors = [row.get(kind) for kind in ("evaluation", "training", "gradients")]
    shown = ["-" if error is None else ("inf" if error > 1e300 else f"{error:.0e}") for error in errors]
    sizes = row.get("sizes") or ["-"]
    which = sizes[0] + (", ..." if len(sizes) > 1 else "")
    detail = row["detail"].replace("|", "/")[:160]
    verdict = row["verdict"] + (f": {detail}" if detail else "")
    name = row["name"].partition(":")[2]
    return f"| {row['family']} | {name} | {which} | {' | '.join(shown)} | {verdict} |"


if __name__ == "__main__":
    sys.exit(main())
