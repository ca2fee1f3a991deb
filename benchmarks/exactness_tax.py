"""The price of exactness: a ragged batch against the plain network on the same canvases, which leaks.

    python benchmarks/exactness_tax.py [--only resnet18] [--rounds 9] [--output benchmarks/results/exactness_tax.json]

Both sides run the same modules with the same weights on the same canvas tensors: the plain side treats padding as
picture. Sides alternate batch by batch within one process, and so does who goes first. Two ratios: of the fastest of
all rounds (what the work costs when nothing else disturbs it), and of the medians. Batches are planned as
`anysize train` plans them (images alike in size), so the padding is what it is in practice. On a CPU in float32
channels_last, each model in training (forward, loss, backward, SGD) and in evaluation; with CUDA in bfloat16 under
autocast, eager and compiled. Peak memory on a CPU is what a child process adds to what it held before the first step.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anysize.startup import StartupSettings, apply

apply(StartupSettings())

import torch  # noqa: E402 - after the process settings
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from anysize import RaggedBatch, plan_epoch  # noqa: E402
from anysize.models.named import named_model  # noqa: E402

MODELS = {
    "resnet18": "torchvision:resnet18",
    "resnet50": "torchvision:resnet50",
    "xception41": "timm:xception41",
    "deeplabv3plus": "smp:DeepLabV3Plus/resnet34",
}
BATCH = 16


@dataclass
class Result:
    """Both sides of one model in one mode; seconds are summed over the batches."""

    model: str
    mode: str
    kind: str
    padding_share: float
    ratio_of_fastest: float
    ratio_of_medians: float
    ragged_fastest: float
    plain_fastest: float
    ragged_seconds: list[list[float]]
    """For each batch, each round."""
    plain_seconds: list[list[float]]
    ragged_peak_mib: float | None = None
    plain_peak_mib: float | None = None


def sizes(multiple_of: int, num_images: int) -> list[tuple[int, int]]:
    """Photo-like sizes: the longer side 160 to 256 px, aspect 0.6 to 1.7."""
    generator = torch.Generator().manual_seed(0)
    long_side = torch.randint(160, 257, (num_images,), generator=generator).tolist()
    aspect = (0.6 * (1.7 / 0.6) ** torch.rand(num_images, generator=generator)).tolist()
    found = [(a, round(a / r)) if r > 1 else (round(a * r), a) for a, r in zip(long_side, aspect, strict=True)]
    # A decoder's own need: an image alone must be a multiple, too.
    return [tuple(max(multiple_of, round(n / multiple_of) * multiple_of) for n in size) for size in found]


def batches(device: torch.device, dtype: torch.dtype, multiple_of: int, num_batches: int) -> list[RaggedBatch]:
    """Planned batches of similar images, from a data set of 4,096."""
    every = sizes(multiple_of, 4096)
    plan = plan_epoch(every, batch_size=BATCH, max_pixels=4_000_000, mixing="similar", multiple_of=8, seed=0, epoch=0)
    made = []
    for step in list(plan)[:num_batches]:
        (micro,) = step.micro_batches
        generator = torch.Generator().manual_seed(len(made))
        images = [torch.randn(3, *every[index], generator=generator) for index in micro.indices]
        batch = RaggedBatch.from_images(images, canvas=micro.canvas)
        made.append(batch.to(device=device, dtype=dtype).to(memory_format=torch.channels_last))
    return made


def loss_of(output: Any) -> torch.Tensor:
    """Any loss that reads every output: the cross-entropy with class 0."""
    maps = output if isinstance(output, torch.Tensor) else output.canvas
    target = torch.zeros((maps.shape[0], *maps.shape[2:]), dtype=torch.long, device=maps.device)
    if isinstance(output, RaggedBatch):
        return F.cross_entropy(output, target)
    return F.cross_entropy(maps, target)


def make_step(model: nn.Module, *, training: bool, autocast: bool, device: torch.device) -> Callable[[Any], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    model.train(training)

    def forward(batch: Any) -> Any:
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            return model(batch)

    def train(batch: Any) -> None:
        loss_of(forward(batch)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def evaluate(batch: Any) -> None:
        with torch.inference_mode():
            forward(batch)

    return train if training else evaluate


def timed(step: Callable[[Any], None], inputs: list[Any], device: torch.device) -> float:
    """Seconds; with one thread on a CPU, of this process alone, which other work on the machine disturbs less."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = clock()
    for batch in inputs:
        step(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def inputs_of(side: str, made: list[RaggedBatch]) -> list[Any]:
    return made if side == "ragged" else [batch.canvas for batch in made]


def measure(name: str, mode: str, kind: str, rounds: int, num_batches: int) -> Result:
    device = torch.device("cuda" if kind.startswith("cuda") else "cpu")
    torch.manual_seed(0)
    sides = {}
    for side in ("ragged", "plain"):
        model = named_model(MODELS[name]).to(device).to(memory_format=torch.channels_last)
        if kind == "cuda-compiled":
            model = torch.compile(model, dynamic=False, fullgraph=True)
        sides[side] = make_step(model, training=mode == "training", autocast=device.type == "cuda", device=device)
    made = batches(device, torch.float32, 32 if name == "deeplabv3plus" else 1, num_batches)
    inputs = {side: inputs_of(side, made) for side in sides}
    for side, step in sides.items():  # oneDNN compiles its kernels; a second pass for what the first left cold
        for _ in range(2):
            timed(step, inputs[side], device)
    seconds: dict[str, list[list[float]]] = {side: [[] for _ in made] for side in sides}
    for number in range(rounds):
        for batch in range(len(made)):
            for side in ("ragged", "plain") if (number + batch) % 2 else ("plain", "ragged"):
                seconds[side][batch].append(timed(sides[side], [inputs[side][batch]], device))
    fastest = {side: sum(map(min, columns)) for side, columns in seconds.items()}
    medians = {side: sum(map(statistics.median, columns)) for side, columns in seconds.items()}
    real = sum(batch.num_real for batch in made)
    canvas = sum(batch.canvas[:, 0].numel() for batch in made)
    return Result(
        model=name, mode=mode, kind=kind, padding_share=1 - real / canvas,
        ratio_of_fastest=fastest["ragged"] / fastest["plain"], ratio_of_medians=medians["ragged"] / medians["plain"],
        ragged_fastest=fastest["ragged"], plain_fastest=fastest["plain"],
        ragged_seconds=seconds["ragged"], plain_seconds=seconds["plain"],
    )  # fmt: skip


def peak_mib(name: str, mode: str, side: str, num_batches: int) -> float:
    """Peak resident memory of a process that does nothing but these steps, above what it had before them."""
    command = [sys.executable, __file__, "--peak", name, mode, side, str(num_batches)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(name: str, mode: str, side: str, num_batches: int) -> None:
    model = named_model(MODELS[name]).to(memory_format=torch.channels_last)
    step = make_step(model, training=mode == "training", autocast=False, device=torch.device("cpu"))
    made = batches(torch.device("cpu"), torch.float32, 32 if name == "deeplabv3plus" else 1, num_batches)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        timed(step, inputs_of(side, made), torch.device("cpu"))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def kinds() -> Iterator[str]:
    if torch.cuda.is_available():
        yield from ("cuda-eager", "cuda-compiled")
    else:
        yield "cpu-float32"


def report(result: Result) -> str:
    memory = ""
    if result.ragged_peak_mib and result.plain_peak_mib:
        memory = f"  peak {result.ragged_peak_mib:.0f} / {result.plain_peak_mib:.0f} MiB = "
        memory += f"{result.ragged_peak_mib / result.plain_peak_mib:.3f}"
    return (
        f"{result.kind:13} {result.model:14} {result.mode:10} ratio {result.ratio_of_fastest:.3f} of the fastest, "
        f"{result.ratio_of_medians:.3f} of medians; fastest ragged {result.ragged_fastest:.3f} s, "
        f"plain {result.plain_fastest:.3f} s, padding {result.padding_share:.1%}{memory}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=MODELS, action="append", help="this model (may be given several times)")
    parser.add_argument("--mode", choices=("training", "evaluation"), action="append")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--memory-only", action="store_true", help="print peak memory, measure no time")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        name, mode, side, count = options.peak
        print_peak(name, mode, side, int(count))
        return
    print(
        f"# {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"# {' '.join(sys.argv)}")
    if options.memory_only:
        for name in options.only or MODELS:
            for mode in options.mode or ("training", "evaluation"):
                ragged, plain = (peak_mib(name, mode, side, options.batches) for side in ("ragged", "plain"))
                print(f"{name:14} {mode:10} peak {ragged:.0f} / {plain:.0f} MiB = {ragged / plain:.3f}", flush=True)
        return
    results = []
    for kind in kinds():
        for name in options.only or MODELS:
            for mode in options.mode or ("training", "evaluation"):
                result = measure(name, mode, kind, options.rounds, options.batches)
                if kind == "cpu-float32" and not options.no_memory:
                    result.ragged_peak_mib, result.plain_peak_mib = (
                        peak_mib(name, mode, side, options.batches) for side in ("ragged", "plain")
                    )
                results.append(result)
                print(report(result), flush=True)
    if options.output:
        options.output.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
