"""Before a long run: can this network learn these data with these options at all, and if not, why?"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from anysize.console import Console
from anysize.data import ImageDataset
from anysize.data.masks import IGNORED
from anysize.doctor.learn import LearningReport, diagnose_learning
from anysize.doctor.pairing import check_pairing
from anysize.errors import TrainingError
from anysize.loading import RawBatch
from anysize.models import fixed_side
from anysize.stepping.batch_norm import frozen_layers
from anysize.training.handful import load_sample, plain_images
from anysize.training.learn_config import LearnConfig
from anysize.training.learn_files import write_learning
from anysize.training.normalising import Normalising
from anysize.training.pretrained import trained_with
from anysize.training.progress import RunProgress
from anysize.training.run_folder import RunFolder
from anysize.training.setup import Setup, build_optimizer, set_up
from anysize.training.source import images_of

__all__ = ["LONG_PIXELS", "diagnose", "examine", "preflight"]

LONG_PIXELS = 500_000_000
"""Pixels of a whole run above which it is worth a minute to see whether it can learn: some ten minutes of two cores."""
_NUM_IMAGES = 4
_NUM_PAIRS = 8
_SECONDS = 60.0
_MAX_SIDE, _MIN_SIDE = 256, 64  # of the windows that are learned, in pixels
_LOOKED_AT = 200  # masks that are asked for their classes


def diagnose(config: LearnConfig, *, console: Console | None = None) -> LearningReport:
    """Try to learn a handful of the training images, and say what stands in the way; what `anysize doctor learn` does.

    With ``config.output`` the report is left there, and a sheet of what a segmenter answered at the end.

    Raises:
        AnysizeError: the data or the options are wrong in themselves.
    """
    console = console or Console()
    folder = None if config.output is None else RunFolder(config.output)
    if folder is not None:
        folder.require_free()
    setup = set_up(config, console)
    chosen = _varied(setup, config.images)
    report = examine(setup, console, chosen, seconds=config.seconds)
    if folder is not None:
        folder.create()
        paths = images_of(setup.train).table.paths
        write_learning(folder, report, setup, [paths[index] for index in chosen])
        console.say(f"report      {folder.root}")
    return report


def preflight(setup: Setup, console: Console) -> None:
    """Examine a segmenter before a run, and stop where it cannot learn.

    Before any run some images are held against their masks, which takes a second; whether the network learns is tried
    before a long one.

    Raises:
        TrainingError: it cannot, with the causes that were found and their fixes.
    """
    config = setup.config
    if not config.preflight or config.resume is not None or setup.task.name != "segment":
        return
    _require_pairs(setup)
    if _pixels(setup) < LONG_PIXELS:
        console.say(
            "not examined, being short: 'anysize doctor learn' with the options of this run asks whether it can learn"
        )
        return
    console.say(
        f"preflight: learning a handful of images by heart; it ends after {_SECONDS:.0f} seconds at the latest, with "
        "the step that runs then (--no-preflight leaves it out)"
    )
    report = examine(setup, console, _varied(setup, _NUM_IMAGES), seconds=_SECONDS)
    lines = report.lines()
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        raise TrainingError(
            "the preflight found why this run would not learn:\n" + "\n".join(lines),
            hint=f"{errors[0].fix}; --no-preflight trains all the same",
        )
    for line in lines:
        (console.warn if report.failed else console.say)(f"preflight: {line}")


def _pixels(setup: Setup) -> float:
    """Of all training images in all epochs."""
    stages = [(0, setup.config.epochs)]
    if setup.config.start is not None:
        small = setup.config.start.epochs
        stages = [(0, small), (small, setup.config.epochs - small)]
    return sum(float(setup.train.sizes(first).prod(axis=1).sum()) * count for first, count in stages)


def _require_pairs(setup: Setup) -> None:
    """Stop where images and masks do not belong together: moved, mirrored, or one behind in the list."""
    dataset = images_of(setup.train)
    drawn = np.random.default_rng(setup.config.seed).permutation(len(dataset))[:_NUM_PAIRS]
    images = plain_images(setup, np.sort(drawn).tolist())
    pairs = [images.load_pair(place) for place in range(len(images))]
    found = check_pairing([image for image, _ in pairs], [mask for _, mask in pairs], tuple(images.table.paths))
    if found:
        shrunk = bool((images.table.sizes > images.sizes()).any())
        scale = f" of images that --max-side {setup.config.max_side} has shrunk, in whose pixels this is" * shrunk
        raise TrainingError(
            f"{found[0].found} (looked at {len(pairs)} pairs{scale})",
            hint=f"{found[0].fix}{', in pixels of the shrunk images' * shrunk}; `anysize doctor` looks at the images "
            "as they are, and prints the line that moves the masks where that mends them; --no-preflight trains all "
            "the same",
        )


def examine(setup: Setup, console: Console, chosen: Sequence[int], *, seconds: float) -> LearningReport:
    """Put a run's network, loss and optimiser before the probes, with images as training sees them, not augmented.

    Args:
        setup: the run.
        console: where to say what is done.
        chosen: indices of the training images that are to be learned.
        seconds: the longest that it may take.
    """
    config = setup.config
    progress = RunProgress.at_start(setup)
    normalising = Normalising(config, setup.model, progress, console)
    normalising.begin_epoch()
    setup.model.train()
    expected = None if config.pretrained is None else trained_with(config.pretrained)
    images = plain_images(setup, chosen)
    least, most = _sides(setup, len(chosen))
    with console.bar("learning a handful of images", 0):
        report = diagnose_learning(
            setup.model,
            [_sample(setup, images, place) for place in range(len(chosen))],
            setup.criterion.objective,
            num_classes=len(setup.card.classes),
            ignore_label=IGNORED if setup.task.name == "segment" else None,
            optimizer_factory=lambda model: build_optimizer(config, model),
            normalisation=(setup.normalisation.mean, setup.normalisation.std),
            expected_normalisation=None if expected is None else (expected.mean, expected.std),
            batch_norm_frozen=frozen_layers(setup.model),  # the others learn: a new decoder behind an old encoder
            batch_size=config.batch_size,
            seconds=seconds,
            max_side=most,
            min_side=least,
        )
    normalising.undo()
    return report


def _sides(setup: Setup, num_images: int) -> tuple[int, int]:
    """The smallest and the largest window: what the network requires, and what fits into a pass of this run."""
    least = max(setup.card.smallest_side, fixed_side(setup.model) or 0, _MIN_SIDE)
    fitting = math.isqrt(setup.config.pixel_limit // max(num_images, 1))
    return least, max(least, min(_MAX_SIDE, fitting))


def _sample(setup: Setup, images: ImageDataset, place: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image, normalised, and its target, on the device of the network."""
    pixels, label = load_sample(images, place)
    raw = RawBatch.from_arrays([pixels], pixels.shape[:2], None, [place])
    batch = setup.normalisation(raw, setup.device, channels_last=setup.config.channels_last)
    return batch.canvas[0], torch.as_tensor(label).long().to(setup.device)


def _varied(setup: Setup, count: int) -> list[int]:
    """Training images that together have many classes: each the one that adds most, of a draw that stays the same."""
    dataset = images_of(setup.train)
    drawn = np.random.default_rng(setup.config.seed).permutation(len(dataset))[:_LOOKED_AT].tolist()
    if not dataset.has_masks:
        by_class = {dataset.label(index): index for index in reversed(drawn)}
        first = list(by_class.values())
        return [*first, *(index for index in drawn if index not in first)][: max(count, 2)]
    plain = plain_images(setup, drawn)
    present = {index: set(np.unique(plain.load_mask(k)).tolist()) - {IGNORED} for k, index in enumerate(drawn)}
    chosen: list[int] = []
    seen: set[int] = set()
    while len(chosen) < min(count, len(drawn)):
        rest = [index for index in drawn if index not in chosen]
        best = max(rest, key=lambda index: (len(present[index] - seen), len(present[index])))
        chosen.append(best)
        seen |= present[best]
    return chosen
