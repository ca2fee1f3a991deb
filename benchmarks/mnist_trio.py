# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""Three classifiers of digits: what a dense head costs, and what only networks for any size can do.

Claims: ``mnist_dense``, ``mnist_fcn`` and ``mnist_anysize`` reach the accuracy of the same networks in Keras within 0.3
points, in no more time an epoch, on a CPU. And with the same weights the fully convolutional ones answer for digits of
other sizes, which they learn when they are trained on mixed sizes.

* MNIST: 60,000 digits to train on, 10,000 to test on, 28x28, in 0..1; Adam (1e-3), batches of 128, softmax loss.
* Keras (``--keras PYTHON``, an interpreter with TensorFlow; ``mnist_keras.py``) gets the very same initial weights
  (Glorot uniform, biases zero), the same optimiser and the same batches in the same order: permutations of
  ``[seed, epoch]``. It trains with ``compile`` and ``fit``, as its users do.
* Epochs of ours and of Keras alternate, and who begins alternates too: other work on the machine hits both. Seconds an
  epoch are of training alone, data in memory; printed is the median, and the median of the ratio within an epoch. The
  first epoch, with tracing and compiled kernels, is in no median where there are others.
* Inference: 10,000 digits in batches of 500, the median over epochs.
* Other sizes: the test digits, resized (bilinear, antialiased) to 14 to 84 pixels a side. ``mnist_fcn`` needs 28; its
  answer is the mean of its map.
* Mixed sizes: every digit at a size of its own, drawn anew each epoch (14..84, for ``mnist_fcn`` 28..84, evenly in the
  logarithm), batched exactly: ``plan_epoch``, similar sizes together, as `RaggedBatch`. From scratch.

    python benchmarks/mnist_trio.py mnist.npz
    python benchmarks/mnist_trio.py mnist.npz --keras /path/to/environment/with/tensorflow/bin/python
    python benchmarks/mnist_trio.py mnist.npz --epochs 1 --mixed-epochs 1 --train-digits 2560 --output /tmp/trio
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from anysize import startup

ENVIRONMENT = dict(os.environ)  # before our settings: a peer starts from the user's
STARTUP_NOTES = startup.apply(startup.StartupSettings())

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import anysize
from anysize.batching import plan_epoch
from anysize.inference.speed import describe_machine
from anysize.models import create_model
from anysize.ragged import RaggedBatch
from mnist_figure import draw_trio
from mnist_keras import MnistPeer, mnist_peer

NETWORKS = ("mnist_dense", "mnist_fcn", "mnist_anysize")
SIZES = (14, 20, 28, 42, 56, 84)
SMALLEST = {"mnist_fcn": 28, "mnist_anysize": 14}
BATCH_SIZE, TEST_BATCH_SIZE = 128, 500
LEARNING_RATE, EPSILON = 1e-3, 1e-7  # epsilon: Keras' default
TARGET_POINTS = 0.3

Rows = list[dict[str, float]]


class Digits:
    """Images (N, 1, 28, 28) in 0..1 and labels (N,)."""

    def __init__(self, path: Path, num_train: int, num_test: int) -> None:
        with np.load(path) as data:
            self.train = self._part(data, "train", num_train)
            self.test = self._part(data, "test", num_test)

    @staticmethod
    def _part(data: Any, part: str, count: int) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(data[f"x_{part}"][:count]).float().div_(255)[:, None]
        return images, torch.from_numpy(data[f"y_{part}"][:count]).long()


def build(network: str, seed: int, **options: Any) -> nn.Module:
    """A network with Keras' initialisation; convolutional ones in the layout that is fastest for them."""
    torch.manual_seed(seed)
    model: nn.Module = create_model(network, num_classes=10, in_channels=1, **options)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
    # A dense layer over channels-last maps would have to put them in order first.
    layout = torch.contiguous_format if network == "mnist_dense" else torch.channels_last
    return model.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=EPSILON, fused=True)


def save_for_keras(model: nn.Module, path: Path) -> None:
    """Write the weights in Keras' order of axes, layer by layer."""
    arrays = {}
    for name, tensor in model.state_dict().items():
        array = tensor
        if tensor.dim() == 4:
            array = tensor.permute(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)
        elif name == "dense1.weight":  # over maps that were flattened channels first
            array = tensor.unflatten(1, (32, 26, 26)).permute(2, 3, 1, 0).flatten(0, 2)
        elif tensor.dim() == 2:
            array = tensor.T
        arrays[name] = array.numpy()
    np.savez(path, **arrays)


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, digits: tuple[Tensor, Tensor], order: Tensor
) -> tuple[float, float]:
    """Train on digits of one size in the given order; return seconds and the mean loss."""
    model.train()
    images, labels = digits
    total = torch.zeros(())
    started = time.perf_counter()
    for indices in order.split(BATCH_SIZE):
        loss = functional.cross_entropy(model(images[indices]), labels[indices])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(indices)
    mean = float(total) / len(order)
    return time.perf_counter() - started, mean


@torch.inference_mode()
def test(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, loss and seconds of inference."""
    model.eval()
    started = time.perf_counter()
    logits = torch.cat([model(batch) for batch in images.split(TEST_BATCH_SIZE)])
    seconds = time.perf_counter() - started
    return {
        "test_loss": float(functional.cross_entropy(logits.double(), labels)),
        "test_accuracy": float((logits.argmax(1) == labels).double().mean()),
        "inference_seconds": seconds,
    }


def compare(
    network: str, digits: Digits, options: argparse.Namespace, peer: MnistPeer | None
) -> tuple[dict[str, Any], nn.Module]:
    """Train a network, and the same in Keras, epoch by epoch in turn."""
    model = build(network, options.seed)
    optimizer = optimizer_of(model)
    result: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters()), "ours": [], "keras": []}
    if peer is not None:
        with tempfile.TemporaryDirectory() as folder:
            save_for_keras(model, Path(folder) / "weights.npz")
            assert peer.build(network, Path(folder) / "weights.npz") == result["parameters"]

    def ours(number: int) -> None:
        order = np.random.default_rng([options.seed, number]).permutation(len(digits.train[0]))
        seconds, loss = train_epoch(model, optimizer, digits.train, torch.from_numpy(order))
        row = {"epoch": number, "seconds": seconds, "train_loss": loss, **test(model, *digits.test)}
        result["ours"].append(row)

    def keras(number: int) -> None:
        if peer is not None:
            result["keras"].append({"epoch": number, **peer.epoch(network, number)})

    for number in range(1, options.epochs + 1):
        for turn in (ours, keras) if number % 2 else (keras, ours):
            turn(number)
        shown = {way: f"{result[way][-1]['test_accuracy']:.2%}" for way in ("ours", "keras") if result[way]}
        print(f"{network}: epoch {number} of {options.epochs}: {shown}", file=sys.stderr)
    return result, model


def resized(images: Tensor, side: int) -> Tensor:
    """Digits (N, 1, 28, 28) at ``side`` x ``side`` pixels."""
    if side == images.shape[-1]:
        return images
    return functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)


def resized_each(images: Tensor, sides: np.ndarray) -> list[Tensor]:
    """Digits (N, 1, 28, 28), each at its own size; those of one size together."""
    batch: list[Tensor] = [images[0]] * len(images)
    for side in np.unique(sides):
        places = np.flatnonzero(sides == side)
        for place, image in zip(places, resized(images[places], int(side)), strict=True):
            batch[place] = image
    return batch


def by_size(model: nn.Module, network: str, digits: tuple[Tensor, Tensor]) -> dict[int, float]:
    """Accuracy on the test digits at each size that the network takes."""
    images, labels = digits
    return {
        side: test(model, resized(images, side), labels)["test_accuracy"] for side in SIZES if side >= SMALLEST[network]
    }


def train_mixed(network: str, digits: Digits, options: argparse.Namespace) -> dict[str, Any]:
    """Train from scratch on digits of mixed sizes, in exact ragged batches."""
    average = {"average": True} if network == "mnist_fcn" else {}
    model = build(network, options.seed, **average)
    optimizer = optimizer_of(model)
    images, labels = digits.train
    rows: Rows = []
    for epoch in range(1, options.mixed_epochs + 1):
        random = np.random.default_rng([options.seed, epoch, 1])
        low, high = np.log(SMALLEST[network]), np.log(SIZES[-1] + 1)
        sides = np.exp(random.uniform(low, high, len(images))).astype(np.int64)
        plan = plan_epoch(np.stack([sides, sides], 1), BATCH_SIZE, seed=options.seed, epoch=epoch)
        model.train()
        total = torch.zeros(())
        started = time.perf_counter()
        for step in plan:
            for part in step.micro_batches:
                indices = np.asarray(part.indices)
                batch = RaggedBatch.from_images(resized_each(images[indices], sides[indices]), part.canvas)
                logits = model(batch.to(memory_format=torch.channels_last))
                loss = functional.cross_entropy(logits, labels[indices], reduction="sum")
                (loss / step.num_images).backward()
                total += loss.detach()
            optimizer.step()
            optimizer.zero_grad()
        seconds = time.perf_counter() - started
        rows.append({"epoch": epoch, "seconds": seconds, "train_loss": float(total) / len(images)})
        print(f"{network}, mixed sizes: epoch {epoch} of {options.mixed_epochs}", file=sys.stderr)
    return {"epochs": rows, "by_size": by_size(model, network, digits.test)}


def any_size(network: str, trained: nn.Module, digits: Digits, options: argparse.Namespace) -> dict[str, Any]:
    """What the weights that saw 28x28 alone say of other sizes, and those that saw mixed sizes."""
    average = {"average": True} if network == "mnist_fcn" else {}
    model = build(network, options.seed, **average)
    model.load_state_dict(trained.state_dict())
    return {
        "trained_at_28": by_size(model, network, digits.test),
        "trained_on_mixed_sizes": train_mixed(network, digits, options),
    }


# The report.


def median(rows: Rows, key: str) -> float:
    """Over the epochs behind the first, where there are any."""
    return statistics.median(row[key] for row in rows[1:] or rows)


def table(results: dict[str, Any]) -> list[str]:
    """Lay out both sides."""
    line = "  {:<15} {:<6} {:>10} {:>9} {:>9} {:>9} {:>9} {:>12}"
    lines = [line.format("network", "", "parameters", "accuracy", "loss", "s/epoch", "ratio", "10,000 digits")]
    for network, result in results.items():
        for way in ("ours", "keras"):
            rows = result[way]
            if not rows:
                continue
            last = rows[-1]
            pairs = zip(result["ours"], rows, strict=True)
            ratios: Rows = [{"ratio": ours["seconds"] / other["seconds"]} for ours, other in pairs]
            lines.append(
                line.format(
                    network,
                    way,
                    f"{result['parameters']:,}",
                    f"{last['test_accuracy']:.2%}",
                    f"{last['test_loss']:.4f}",
                    f"{median(rows, 'seconds'):.2f}",
                    "" if way == "ours" else f"{median(ratios, 'ratio'):.2f}",
                    f"{median(rows, 'inference_seconds'):.2f} s",
                )
            )
    return [*lines, "  ratio: ours / Keras, seconds an epoch, the median over epochs"]


def verdict(results: dict[str, Any]) -> list[str]:
    """What follows from the table."""
    lines = []
    for network, result in results.items():
        if not result["keras"]:
            return ["  Keras: not run (--keras PYTHON)"]
        points = 100 * (result["ours"][-1]["test_accuracy"] - result["keras"][-1]["test_accuracy"])
        pairs = list(zip(result["ours"], result["keras"], strict=True))
        ratio = median([{"ratio": a["seconds"] / b["seconds"]} for a, b in pairs], "ratio")
        lines.append(
            f"  {network}: {points:+.2f} points against Keras (target within {TARGET_POINTS}: "
            f"{'reached' if abs(points) <= TARGET_POINTS else 'missed'}), {ratio:.2f} of its time an "
            f"epoch (target 1.00: {'reached' if ratio <= 1 else 'missed'})"
        )
    return lines


def sizes_table(others: dict[str, Any]) -> list[str]:
    """Lay out accuracy by size."""
    line = "  {:<15} {:<24}" + " {:>8}" * len(SIZES) + " {:>9}"
    lines = [line.format("network", "trained", *(f"{side} px" for side in SIZES), "s/epoch")]
    for network, result in others.items():
        mixed = result["trained_on_mixed_sizes"]
        for name, found, seconds in (
            ("at 28 px alone", result["trained_at_28"], ""),
            (
                f"{SMALLEST[network]} to {SIZES[-1]} px mixed",
                mixed["by_size"],
                f"{median(mixed['epochs'], 'seconds'):.1f}",
            ),
        ):
            cells = [f"{found[side]:.2%}" if side in found else "refused" for side in SIZES]
            lines.append(line.format(network, name, *cells, seconds))
    return [*lines, f"  {'mnist_dense':<15} takes 28 px alone, and says so"]


def describe(options: argparse.Namespace, peer: MnistPeer | None) -> dict[str, str]:
    """Name hardware, versions, settings and the command line; paths without their folders."""
    arguments = [Path(a).name if "/" in a else a for a in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "benchmarks/mnist_trio.py", *arguments]),
        "processor": f"{describe_machine()}, {os.cpu_count()} cores",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "versions": f"anysize {anysize.__version__}, torch {torch.__version__}, NumPy {np.__version__}",
        "keras": peer.versions if peer else "not run (--keras PYTHON)",
        "settings": f"float32, {options.threads} threads, seed {options.seed}, Adam {LEARNING_RATE}, "
        f"batch {BATCH_SIZE}, {options.epochs} epochs, {options.mixed_epochs} on mixed sizes, "
        f"notes of anysize.startup: {'; '.join(STARTUP_NOTES) or 'none'}",
        "load": f"{os.getloadavg()[0]:.1f} before the start (0 on a quiet machine)",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="mnist.npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--mixed-epochs", type=int, default=3)
    parser.add_argument("--train-digits", type=int, default=60_000)
    parser.add_argument("--test-digits", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keras", metavar="PYTHON", help="an interpreter with TensorFlow")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "mnist_trio")
    return parser.parse_args()


def main() -> None:
    """Run everything; print the report, and write it beside the raw numbers and the figure."""
    options = parse()
    torch.set_num_threads(options.threads)
    digits = Digits(options.data, options.train_digits, options.test_digits)
    results, others = {}, {}
    with ExitStack() as stack:
        settings = {
            "data": str(options.data), "seed": options.seed, "threads": options.threads, "batch_size": BATCH_SIZE,
            "test_batch_size": TEST_BATCH_SIZE, "learning_rate": LEARNING_RATE, "epsilon": EPSILON,
            "train_digits": options.train_digits, "test_digits": options.test_digits,
        }  # fmt: skip
        peer = stack.enter_context(mnist_peer(options.keras, ENVIRONMENT, **settings)) if options.keras else None
        machine = describe(options, peer)
        models = {}
        for network in NETWORKS:
            results[network], models[network] = compare(network, digits, options, peer)
    for network in SMALLEST:
        others[network] = any_size(network, models[network], digits, options)
    lines = [f"{key:<10} {value}" for key, value in machine.items()]
    lines += ["", "Trained and tested at 28 px", *table(results), *verdict(results)]
    lines += ["", "Accuracy on the test digits at other sizes", *sizes_table(others)]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    output = options.output
    output.with_suffix(".txt").write_text(text)
    content = {"machine": machine, "networks": results, "other_sizes": others}
    output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    draw_trio(output.with_suffix(".png"), results, others)


if __name__ == "__main__":
    main()
