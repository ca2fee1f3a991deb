# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""A training step of our networks beside the same networks of other libraries, and what exactness costs on top.

Claim: a step (forward, cross-entropy, backward, SGD with momentum) in float32 on a CPU takes no longer than the peer's

* for ``deeplabv3plus`` (xception65, output stride 16, 21 classes), on two images of 512 x 512 pixels, beside
  segmentation_models_pytorch's ``DeepLabV3Plus`` on timm's xception65, with the same weights;
* for ``xception`` (1,000 classes), on eight images of 299 x 299 pixels, beside timm's ``legacy_xception``.

In one process, on the same images, with channels_last and the same threads and settings of `anysize.startup`:

* ``ours``: the network on a plain tensor.
* ``peer``: theirs.
* ``ragged``: our network on a `RaggedBatch` of the same images. There is no padding, so this is the price of
  exactness by itself.
* ``symmetric`` (xception): ``keras_padding=False``, which is what the peer computes. The default pads the max-pools as
  Keras does, by each image's own size.

Every way makes one step a round, and the order turns from round to round, because other work on the machine slows
whatever runs at that moment. Ratios are taken within a round. Before the rounds each way makes a few steps in which
oneDNN compiles its kernels. Where the peer has the same weights, the first losses are compared, too.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --only xception --rounds 15 --threads 1 --output results.json
"""

import argparse
import json
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anysize import startup

STARTUP_NOTES = startup.apply(startup.StartupSettings())

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import anysize
from anysize.inference.speed import describe_machine
from anysize.models import create_model
from anysize.models.named import import_zoo
from anysize.ragged import RaggedBatch

WARM_UP = 2
LEARNING_RATE, MOMENTUM = 1e-3, 0.9


@dataclass(frozen=True)
class Case:
    """One network and its peer, on the same images."""

    networks: dict[str, nn.Module]
    """By way; "ragged" is of "ours"."""
    size: int
    """Pixels a side."""
    num_images: int
    num_classes: int
    is_segmenter: bool
    peer: str


@dataclass
class Result:
    """Seconds a step, by way, one a round."""

    case: str
    peer: str
    seconds: dict[str, list[float]]

    def ratios(self, way: str, other: str) -> list[float]:
        """Ratios within each round."""
        return [mine / theirs for mine, theirs in zip(self.seconds[way], self.seconds[other], strict=True)]


def deeplabv3plus() -> Case:
    smp = import_zoo("smp")
    options = {"encoder_weights": None, "encoder_output_stride": 16, "decoder_atrous_rates": (6, 12, 18)}
    peer = smp.DeepLabV3Plus("tu-xception65", classes=21, **options)
    ours = create_model("deeplabv3plus", encoder="xception65", output_stride=16, num_classes=21, dropout=0.5)
    names = {key: re.sub(r"^encoder\.model\.(stem|blocks)_", r"encoder.\1.", key) for key in peer.state_dict()}
    ours.load_state_dict({names[key]: value for key, value in peer.state_dict().items()})
    title = f"segmentation_models_pytorch {smp.__version__}: DeepLabV3Plus/tu-xception65"
    return Case({"ours": ours, "peer": peer}, 512, 2, 21, True, title)


def xception() -> Case:
    timm = import_zoo("timm")
    networks = {
        "ours": create_model("xception", num_classes=1000),
        "peer": timm.create_model("legacy_xception", num_classes=1000),
        "symmetric": create_model("xception", num_classes=1000, keras_padding=False),
    }
    return Case(networks, 299, 8, 1000, False, f"timm {timm.__version__}: legacy_xception")


CASES: dict[str, Callable[[], Case]] = {"deeplabv3plus": deeplabv3plus, "xception": xception}


def steps_of(case: Case) -> dict[str, Callable[[], float]]:
    """Return one training step a way; each gives its loss."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.num_images, 3, case.size, case.size, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    shape = (case.num_images, case.size, case.size) if case.is_segmenter else (case.num_images,)
    targets = torch.randint(case.num_classes, shape, generator=generator)
    ragged_targets = RaggedBatch.from_labels(list(targets)) if case.is_segmenter else targets
    ragged = RaggedBatch.from_images(list(images)).to(memory_format=torch.channels_last)
    optimizers = {}
    for way, network in case.networks.items():
        network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimizers[way] = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def make(way: str, inputs: Any, wanted: Any) -> Callable[[], float]:
        def step() -> float:
            loss: Tensor = F.cross_entropy(case.networks[way](inputs), wanted)
            loss.backward()
            optimizers[way].step()
            optimizers[way].zero_grad(set_to_none=True)
            return float(loss.detach())

        return step

    steps = {way: make(way, images, targets) for way in case.networks}
    return {**steps, "ragged": make("ours", ragged, ragged_targets)}


def losses(case: Case) -> dict[str, float]:
    """The losses of the untrained networks in evaluation mode, where dropout draws nothing."""
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    target = torch.zeros((2, 128, 128) if case.is_segmenter else 2, dtype=torch.long)
    with torch.inference_mode():
        return {way: float(F.cross_entropy(net.eval()(images), target)) for way, net in case.networks.items()}


def measure(name: str, rounds: int) -> Result:
    torch.manual_seed(0)
    case = CASES[name]()
    found = losses(case)
    print(f"{name}: losses in evaluation {', '.join(f'{way} {loss:.6f}' for way, loss in found.items())}", flush=True)
    if case.is_segmenter and abs(found["ours"] - found["peer"]) > 1e-5:
        raise SystemExit(f"{name}: the networks differ, there is nothing to compare")
    steps = steps_of(case)
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    # With one thread, of this process alone, which other work on the machine disturbs less.
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {way: [] for way in steps}
    ways = list(steps)
    for number in range(rounds):
        turn = number // 2 % len(ways)
        order = ways[turn:] + ways[:turn]
        for way in order if number % 2 else reversed(order):
            started = clock()
            steps[way]()
            seconds[way].append(clock() - started)
        print(f"  round {number + 1:2}: " + ", ".join(f"{way} {seconds[way][-1]:.3f} s" for way in ways), flush=True)
    return Result(name, case.peer, seconds)


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3f} (quartiles {low:.3f} to {high:.3f}, range {min(values):.3f} to {max(values):.3f})"


def report(result: Result) -> str:
    lines = [f"{result.case}, beside {result.peer}; medians over {len(result.seconds['ours'])} rounds"]
    lines += [f"  {way:10} {spread(seconds)} s" for way, seconds in result.seconds.items()]
    lines += [f"  {way} / peer: {spread(result.ratios(way, 'peer'))}" for way in result.seconds if way != "peer"]
    lines.append(f"  ragged / ours: {spread(result.ratios('ragged', 'ours'))}")
    verdict = "holds" if statistics.median(result.ratios("ours", "peer")) <= 1.0 else "DOES NOT HOLD"
    return "\n".join([*lines, f"  claim (ours / peer at most 1): {verdict}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, action="append", help="this case (may be given several times)")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, help="of torch; by default its own choice")
    parser.add_argument("--output", type=Path, help="write the raw seconds as JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"# {describe_machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}")
    print(f"# anysize {anysize.__version__}, torch {torch.__version__}, float32, channels_last")
    print(f"# python {shlex.join(sys.argv)}")
    for note in STARTUP_NOTES:
        print(f"# {note}")
    results = []
    for name in options.only or CASES:
        results.append(measure(name, options.rounds))
        print(report(results[-1]), flush=True)
    if options.output:
        options.output.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
