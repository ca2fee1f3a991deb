# ruff: noqa: E402 - the process settings must be applied before torch is imported
"""Segmenters trained at native size beside the usual ways, on the same pixels, network, seed and recipe.

The question: is a network that is trained and answers at native size at least as good as one that is trained the usual
ways, in mean IoU over the data set at the original resolution of the masks, where all have seen as many pixels?

* ``native``: anysize. Images of all sizes as they are, on ragged batches; answers at native size. A step of a million
  pixels has two to six images; ``--batch-norm auto`` re-estimates BatchNorm's statistics where they are worth two of
  one size or more, and takes GroupNorm for fewer, as in any run.
* ``resized``: each image is resized to 512 x 512, as users of segmentation_models_pytorch do; its logits are
  interpolated to the mask's own size.
* ``cropped``: windows of 512 x 512 of the image as it is, smaller images padded with zeros and the ignore label;
  answers on the whole image, alone.
* ``native-bn``, ``native-gn`` and ``resized-gn`` tell the two differences apart: native size with BatchNorm or
  GroupNorm whatever ``auto`` says, 512 x 512 with GroupNorm.
* ``native-start``: as ``native``, after three quarters of the pixels at 512 pixels a side at most (``anysize train
  --start-side 512``). ``native-start-bn``, ``-frozen`` and ``-gn`` tell what batch normalisation may do at full size
  then: batches to the end, statistics that stand still, GroupNorm all along.
* ``native-512``: as ``native``, but images whose longer side has more than 512 pixels are shrunk to that, their shape
  kept (``anysize train --max-side 512``): what resolution does, and what squares do.

Alike in all ways: the network and its first weights, the optimiser, the loss (sum over all pixels of a step that are
not ignored, over their number), the schedule, flips, scale jitter and colour, the pixels a step (about a million) and
the pixels of the whole training, and so, nearly, the number of updates. A last batch that is not full is left out of
the usual ways, and a last step of a single image of the native one, for BatchNorm's sake. Each way runs in a process of
its own, which reports its peak memory; seconds are those of training alone, without evaluation. The last evaluation is
what counts: no epoch is chosen by its result.

    python benchmarks/segmentation_peers.py ../data --output results.json
    python benchmarks/segmentation_peers.py ../data --sets camvid isbi_em --megapixels 60
"""

import argparse
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anysize import startup

STARTUP_NOTES = startup.apply(startup.StartupSettings())

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import anysize
from anysize.batching import plan_epoch
from anysize.data import Augmentation, DataOptions, ImageDataset, check_source, load_data
from anysize.data.masks.rules import mask_rules
from anysize.inference.classify import evaluation_plan
from anysize.inference.segment import classes_at, segment
from anysize.inference.speed import describe_machine
from anysize.loading import Normalisation, PlanLoader
from anysize.losses import create_objective
from anysize.memory import without_pieces
from anysize.metrics import ConfusionMatrix
from anysize.models import create_model
from anysize.models.group_norm import with_group_norm
from anysize.options import MaskOptions
from anysize.ragged import together
from anysize.sizes.start_size import StartSize
from anysize.stepping import Passes, train_step
from anysize.stepping.batch_norm import apply_policy
from anysize.stepping.criterion import Criterion
from anysize.stepping.optimizers import create_optimizer, set_lr
from anysize.stepping.policy import FEW_IMAGES, FEW_LATER, choose_policy
from anysize.stepping.recalibration import recalibrate
from anysize.stepping.schedules import scheduled_lr

SETS: dict[str, MaskOptions] = {
    "facade_voc": MaskOptions(),
    "bridge_voc": MaskOptions(),
    "camvid": MaskOptions(ignore_label=11),
    "isbi_em": MaskOptions(),
    "water_voc": MaskOptions(),
}
MEGAPIXELS = {"facade_voc": 160.0, "bridge_voc": 240.0, "camvid": 100.0, "isbi_em": 100.0, "water_voc": 120.0}
"""Seen by each training: more where there are more pixels, and so that two cores train all of them in an hour."""
IDENTITY = ("name", "way", "megapixels", "lr", "seed")
"""What tells one training from another."""
STARTS = {
    "native-start": "",
    "native-start-bn": "recalibrate",
    "native-start-frozen": "frozen",
    "native-start-gn": "group",
}
"""Ways that begin with small images, each with its policy of batch normalisation; none: that of ``auto``."""
WAYS = ("native", "native-bn", "native-gn", *STARTS, "native-512", "resized", "resized-gn", "cropped")
OWN = ("native", "native-start", "native-512")
USUAL = ("resized", "cropped")
SIDE = 512
STEP_PIXELS = 4 * SIDE * SIDE
AUGMENTATION = Augmentation(hflip=0.5, scale=(0.75, 4 / 3), crop=0.9, color_jitter=0.2)
START_SHARE = 0.75
"""Of the seen pixels, those of images at 512 pixels a side at most, in ``native-start``."""
MAX_PIXELS = 8_000_000
MAX_SIDE = 2048
"""For memory: in all ways the few satellite images that are larger (up to 9 megapixels) are shrunk to this side."""


@dataclass(frozen=True)
class Job:
    """One training."""

    data: str
    name: str
    way: str
    megapixels: float
    lr: float
    seed: int
    threads: int
    workers: int

    @property
    def max_side(self) -> int:
        """Pixels that larger images are shrunk to."""
        return SIDE if self.way == "native-512" else MAX_SIDE

    @property
    def seeing(self) -> str:
        """How images are seen: native, resized or cropped."""
        return self.way.partition("-")[0]


@dataclass(frozen=True)
class Data:
    """What all ways share."""

    train: ImageDataset
    val: ImageDataset
    normalisation: Normalisation
    num_classes: int


def read(job: Job) -> Data:
    options = DataOptions(masks=mask_rules(SETS[job.name]))
    source = load_data(Path(job.data) / job.name, options)
    channels = source.train.channels_for("auto")
    checked = check_source(source, channels, options)
    source = checked.source
    assert source.val is not None
    common = {"coding": source.coding, "seed": job.seed}
    train = ImageDataset(
        source.train, channels, augmentation=AUGMENTATION, smallest_side=32, max_side=job.max_side, **common
    )
    if job.way in STARTS:
        train.start = started(train, job)
    val = ImageDataset(source.val, channels, max_side=job.max_side, **common)
    return Data(train, val, Normalisation(checked.mean, checked.std), len(source.classes))


def started(train: ImageDataset, job: Job) -> StartSize:
    """So many epochs at 512 pixels a side as have about the share of the pixels that they are to have."""
    train.start = StartSize(SIDE, 1)
    pixels = float(train.sizes(0).prod(axis=1).sum())
    return StartSize(SIDE, max(round(START_SHARE * budget(job) / pixels), 1))


def network(job: Job, data: Data) -> tuple[nn.Module, str]:
    """DeepLab v3+ on half a ResNet-18, which two cores train in minutes; and what is done about batch normalisation."""
    model = create_model(
        "deeplabv3plus",
        num_classes=data.num_classes,
        in_channels=data.train.channels,
        encoder="resnet18",
        encoder_width=0.5,
        channels=64,
    )
    policy = "group" if job.way.endswith("-gn") else "train"
    if job.way in OWN:
        policy = auto_policy(model, data, 0)
        if full_size_from(data) and policy != "group":
            policy = auto_policy(model, data, full_size_from(data), FEW_LATER)
            policy = "frozen" if policy == "group" else policy  # from full size on, as in any run
    policy = STARTS.get(job.way) or policy
    if policy == "group":
        with_group_norm(model)
    return model.to(memory_format=torch.channels_last), policy


def auto_policy(model: nn.Module, data: Data, epoch: int, few: float = FEW_IMAGES) -> str:
    """What ``--batch-norm auto`` is for the images of an epoch."""
    sizes, batch_size = data.train.sizes(epoch), step_images(data, epoch)
    return choose_policy(model, sizes, batch_size=batch_size, pretrained=False, few=few)[0]


def full_size_from(data: Data) -> int:
    """The first epoch with images at full size."""
    return 0 if data.train.start is None else data.train.start.epochs


def optimizer_of(model: nn.Module, job: Job) -> torch.optim.Optimizer:
    return create_optimizer(model, name="adamw", lr=job.lr, momentum=0.9, weight_decay=0.02)


def lr_at(job: Job, pixels: float) -> float:
    """Cosine over the budget of pixels, after a warm-up of a twentieth of it."""
    return scheduled_lr("cosine", peak=job.lr, epochs=1, epochs_done=min(pixels / budget(job), 1), warmup_epochs=0.05)


def budget(job: Job) -> float:
    return job.megapixels * 1e6


# Native size.


def step_images(data: Data, epoch: int | None = None) -> int:
    """So many images of an epoch's sizes, those at full size if None, that a step has about `STEP_PIXELS`."""
    is_start = epoch is not None and epoch < full_size_from(data)
    first = 0 if is_start else full_size_from(data)
    last = min(first + 3, full_size_from(data)) if is_start else first + 3
    mean_area = float(np.mean([data.train.sizes(number).prod(axis=1).mean() for number in range(first, last)]))
    return max(round(STEP_PIXELS / mean_area), 1)


def train_native(job: Job, data: Data, model: nn.Module, policy: str) -> dict[str, float]:
    optimizer = optimizer_of(model, job)
    criterion = Criterion(create_objective("ce", num_classes=data.num_classes))
    apply_policy(model, "train")  # a single image in a pass has one value behind image-level pooling
    loader = PlanLoader(data.train, workers=job.workers)
    passes = Passes(MAX_PIXELS, together=True, may_checkpoint=False, report=print, name_of=str)
    seen = steps = epoch = 0
    seconds = 0.0
    model.train()
    while seen < budget(job):
        if epoch and epoch == full_size_from(data):
            grow(job, data, model, policy)
        batch_size = step_images(data, epoch)
        plan = plan_epoch(
            data.train.sizes(epoch), batch_size, max_pixels=MAX_PIXELS, mixing="mixed", seed=job.seed, epoch=epoch,
            multiple_of=8,
        )  # fmt: skip
        for step, batches in zip(plan.steps, without_pieces(loader.steps(plan, epoch=epoch)), strict=True):
            if step.num_images == 1:  # the last: image-level pooling would give BatchNorm a single value
                break
            set_lr(optimizer, lr_at(job, seen))
            sums = train_step(
                model, optimizer, batches, data.normalisation, criterion, device=torch.device("cpu"),
                channels_last=True, passes=passes, name_of=str,
            )  # fmt: skip
            seen, steps, seconds = seen + sums.num_real, steps + 1, seconds + sums.seconds
            if seen >= budget(job):
                break
        epoch += 1
    return {"seen": seen, "steps": steps, "seconds": seconds, "batch_size": batch_size, "epochs": epoch}


def grow(job: Job, data: Data, model: nn.Module, policy: str) -> None:
    """From now on images come at full size: statistics that are to stand still are estimated over such images."""
    if policy == "frozen":
        recalibrate(model, plain_batches(job, data))
        apply_policy(model, "frozen")
        model.train()


def plain_batches(job: Job, data: Data) -> Iterator[Any]:
    """Training images as they are evaluated, in batches of the training's number of images."""
    plain = ImageDataset(data.train.table, data.train.channels, coding=data.train.coding, max_side=job.max_side)
    plan = plan_epoch(plain.sizes(0), step_images(data), max_pixels=MAX_PIXELS, mixing="mixed", seed=job.seed)
    for batches in PlanLoader(plain, workers=job.workers).steps(plan):
        yield together([data.normalisation(raw, torch.device("cpu"), channels_last=True) for raw in batches])


def evaluate_native(job: Job, data: Data, model: nn.Module) -> ConfusionMatrix:
    objective = create_objective("ce", num_classes=data.num_classes)
    return segment(
        model, PlanLoader(data.val, workers=job.workers), evaluation_plan(data.val, 4, MAX_PIXELS),
        data.normalisation, data.val, objective, num_classes=data.num_classes, device=torch.device("cpu"),
    ).confusion  # fmt: skip


# The usual ways.


class Squares(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images of 512 x 512 and their masks, resized or cropped, as an ordinary data set has them."""

    def __init__(self, data: Data, way: str, seed: int) -> None:
        self.data, self.way, self.seed = data, way, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.data.train)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.data.train.load_pair(index, self.epoch)
        return squared(image, mask, self.way, np.random.default_rng((self.seed, self.epoch, index)))


def squared(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], way: str, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    pixels, labels = torch.from_numpy(image).permute(2, 0, 1).float(), torch.from_numpy(mask).long()
    if way == "resized":
        return resized(pixels), functional.interpolate(labels[None, None].float(), (SIDE, SIDE), mode="nearest")[
            0, 0
        ].long()
    height, width = labels.shape
    top, left = (int(rng.integers(max(length - SIDE, 0) + 1)) for length in (height, width))
    pixels, labels = pixels[:, top : top + SIDE, left : left + SIDE], labels[top : top + SIDE, left : left + SIDE]
    below, right = SIDE - labels.shape[0], SIDE - labels.shape[1]
    return functional.pad(pixels, (0, right, 0, below)), functional.pad(labels, (0, right, 0, below), value=255)


def resized(pixels: Tensor) -> Tensor:
    """Bilinear with antialiasing, as Pillow and albumentations' area interpolation have it."""
    return functional.interpolate(pixels[None], (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)[0]


def normalised(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    mean, std = (torch.tensor(value).reshape(1, -1, 1, 1) for value in (normalisation.mean, normalisation.std))
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def train_usual(job: Job, data: Data, model: nn.Module, _: str) -> dict[str, float]:
    optimizer = optimizer_of(model, job)
    squares = Squares(data, job.seeing, job.seed)
    batch_size = STEP_PIXELS // SIDE**2
    seen = steps = epoch = 0
    seconds = 0.0
    model.train()
    while seen < budget(job):
        squares.epoch = epoch
        # Its workers start anew each epoch, as they must to see the epoch; that time is not counted.
        batches = iter(batches_of(squares, batch_size, job, epoch))
        first = next(batches)
        started = time.perf_counter()
        for pixels, labels in _chain(first, batches):
            set_lr(optimizer, lr_at(job, seen))
            loss = functional.cross_entropy(model(normalised(pixels, data.normalisation)), labels, ignore_index=255)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen, steps = seen + labels.numel(), steps + 1
            if seen >= budget(job):
                break
        seconds += time.perf_counter() - started
        epoch += 1
    return {"seen": seen, "steps": steps, "seconds": seconds, "batch_size": batch_size, "epochs": epoch}


def batches_of(squares: Squares, batch_size: int, job: Job, epoch: int) -> Any:
    generator = torch.Generator().manual_seed(job.seed + epoch)
    return torch.utils.data.DataLoader(
        squares, batch_size, shuffle=True, drop_last=len(squares) > batch_size, num_workers=job.workers,
        generator=generator,
    )  # fmt: skip


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def evaluate_usual(job: Job, data: Data, model: nn.Module) -> ConfusionMatrix:
    matrix = ConfusionMatrix(data.num_classes)
    model.eval()
    for index in range(len(data.val)):
        pixels = torch.from_numpy(data.val.native_image(index)).permute(2, 0, 1).float()
        truth = data.val.native_mask(index)
        if job.seeing == "resized":
            pixels = resized(pixels)
        with torch.inference_mode():
            logits = model(normalised(pixels[None], data.normalisation))[0]
        matrix.update_map(truth, classes_at(logits, truth.shape))
    return matrix


# One training, and all of them.


def run(job: Job) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    data = read(job)
    torch.manual_seed(job.seed)
    model, policy = network(job, data)
    train, evaluate = (train_native, evaluate_native) if job.seeing == "native" else (train_usual, evaluate_usual)
    found = train(job, data, model, policy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    if policy == "recalibrate":
        recalibrate(model, plain_batches(job, data))
    matrix = evaluate(job, data, model)
    return {
        **asdict(job),
        "data": Path(job.data).name,
        **found,
        "policy": policy,
        "mean_iou": matrix.mean_iou,
        "pixel_accuracy": matrix.accuracy,
        "iou": [None if np.isnan(value) else float(value) for value in matrix.iou],
        "peak_mib_training": before / 1024,
        "evaluation_seconds": time.perf_counter() - started,
    }


def alone(job: Job) -> dict[str, Any]:
    """Run a job in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, job.data, "--job", json.dumps(asdict(job))],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def row(one: dict[str, Any]) -> str:
    return (
        f"{one['name']:12} {one['way']:19} {one['mean_iou']:9.2%} {one['pixel_accuracy']:9.2%} {one['steps']:8} "
        f"{one['seen'] / 1e6:9.1f} {one['seconds']:8.1f} {one['seen'] / 1e6 / one['seconds']:6.2f} "
        f"{one['peak_mib_training']:9.0f}"
    )


def report(results: list[dict[str, Any]]) -> list[str]:
    head = (
        f"{'data':12} {'way':19} {'mean IoU':>9} {'pixel acc':>9} {'updates':>8} {'seen Mpx':>9} {'seconds':>8} "
        f"{'Mpx/s':>6} {'peak MiB':>9}"
    )
    order = {name: place for place, name in enumerate(SETS)}
    ranked = sorted(results, key=lambda one: (one["seed"], order[one["name"]], WAYS.index(one["way"])))
    return [head, *map(row, ranked), *verdict(ranked)]


def verdict(results: list[dict[str, Any]]) -> list[str]:
    """Anysize's ways beside each of the usual ones, by the mean over seeds."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in results:
        found.setdefault((one["name"], one["way"]), []).append(one["mean_iou"])
    means = {key: float(np.mean(values)) for key, values in found.items()}
    lines, total = [], []
    for own in OWN:
        for way in USUAL:
            names = [name for name in SETS if (name, way) in means and (name, own) in means]
            gains = [100 * (means[name, own] - means[name, way]) for name in names]
            lines += [
                f"{name:12} {own:12} - {way:8} {gain:+6.2f} points" for name, gain in zip(names, gains, strict=True)
            ]
            if gains:
                total.append(f"{'mean':12} {own:12} - {way:8} {np.mean(gains):+6.2f} points, of {len(gains)} data sets")
    return [*lines, *total]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--megapixels", type=float, help="seen by each training; 100 to 240, by data set, if not given")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, help="raw results; trainings that it holds already are not repeated")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(run(Job(**json.loads(options.job)))))
        return
    shown = [Path(argument).name if "/" in argument else argument for argument in sys.argv[1:]]
    header = {
        "command": f"python benchmarks/segmentation_peers.py {shlex.join(shown)}",
        "machine": f"{describe_machine()}, {options.threads} threads, Python {platform.python_version()}",
        "versions": f"anysize {anysize.__version__}, torch {torch.__version__}",
    }
    for line in header.values():
        print(f"# {line}")
    results: list[dict[str, Any]] = []
    if options.output and options.output.is_file():
        results = json.loads(options.output.read_text())["results"]
    done = {tuple(one[name] for name in IDENTITY) for one in results}
    for seed in options.seeds:
        for name in options.sets:
            for way in options.ways:
                megapixels = options.megapixels or MEGAPIXELS[name]
                job = Job(options.data, name, way, megapixels, options.lr, seed, options.threads, options.workers)
                if tuple(getattr(job, name) for name in IDENTITY) in done:
                    continue
                results.append(alone(job))
                print(row(results[-1]), flush=True)
                if options.output:
                    options.output.write_text(json.dumps({**header, "results": results}, indent=1) + "\n")
    print("\n".join(report(results)))


if __name__ == "__main__":
    main()
