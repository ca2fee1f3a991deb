"""A class for each pixel of images of any size: masks at the images' own size, and the share of each class."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anysize.atomic import write_text
from anysize.console import Console
from anysize.data import FileProblem, ImageDataset
from anysize.data.masks import IGNORED
from anysize.errors import UsageError
from anysize.inference.config import PredictConfig
from anysize.inference.mask_files import write_mask, write_overlay
from anysize.inference.naming import output_names
from anysize.inference.prediction_data import find_images
from anysize.inference.segment import classes_at
from anysize.inference.trained import Reading, TrainedNetwork

__all__ = ["SegmentationPrediction", "SegmentationPredictions", "predict_maps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationPrediction:
    """A segmenter's answer for one image."""

    path: str
    height: int
    width: int
    shares: dict[str, float]
    """Of the image's pixels, for each class of the network, in its order; 0 where it has none."""
    ignored_share: float = 0.0
    """Of the pixels that no class is probable enough for (``ignore_below``)."""
    mask: Path | None = None
    """The file with the mask, where it was written."""
    overlay: Path | None = None
    """The image with its mask over it."""

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The classes that occur and their shares, the largest first."""
        found = [(name, share) for name, share in self.shares.items() if share]
        return tuple(sorted(found, key=lambda pair: -pair[1]))


@dataclass(frozen=True, slots=True)
class SegmentationPredictions:
    """The answers, in the order in which the images were named, and what was left out."""

    answers: tuple[SegmentationPrediction, ...]
    left_out: tuple[FileProblem, ...]


def predict_maps(config: PredictConfig, network: TrainedNetwork, console: Console) -> SegmentationPredictions:
    """Find the class of every pixel of the images; with ``config.output`` write masks and index.csv into that folder.

    Raises:
        AnysizeError: with what is wrong and how to fix it; nothing has been written.
    """
    _require_options(config, network)
    table, left_out = find_images(config, network, console)
    names = output_names(config.images, table.paths)
    answers: dict[int, SegmentationPrediction] = {}
    with console.bar("predicting", len(table)) as bar:
        reading = Reading(
            options=config,
            workers=config.workers,
            max_image_pixels=config.max_image_pixels,
            console=console,
            progress=bar.advance,
        )
        dataset = network.dataset(table, reading)
        for index, logits in network.maps(dataset, reading):
            answers[index] = _answer(config, network, dataset, index, logits, names[index])
    in_order = tuple(answers[index] for index in range(len(table)))
    if config.output is not None:
        _write_index(config.output, in_order, network.card.classes, overlay=config.overlay)
    return SegmentationPredictions(in_order, left_out)


def _require_options(config: PredictConfig, network: TrainedNetwork) -> None:
    """Refuse what only a classifier can do, and a folder that something could be lost in."""
    segmenter = f"{network.card.model} in {network.path} is a segmenter"
    if config.top != 1:
        raise UsageError(
            f"--top is {config.top}; {segmenter}, and every class in an image is named with its share",
            hint="leave out --top",
        )
    output = config.output
    if output is None:
        if config.overlay:
            raise UsageError("--overlay was given without a folder to write to", hint="--output FOLDER --overlay")
        return
    if output.suffix.lower() == ".csv" or output.is_file():
        raise UsageError(
            f"--output is {output}, a file; {segmenter} and writes a mask for each image, into a folder",
            hint=f"--output {output.with_suffix('')}: a new folder, whose index.csv has a line for each image",
        )
    if output.exists() and any(output.iterdir()):
        raise UsageError(
            f"the folder {output} exists and is not empty; masks are not written over other files",
            hint="choose another --output, or delete what is there",
        )


def _answer(
    config: PredictConfig, network: TrainedNetwork, dataset: ImageDataset, index: int, logits: Tensor, name: str
) -> SegmentationPrediction:
    """Count the classes of one image, and write its mask."""
    height, width = dataset.table.sizes[index].tolist()
    classes = classes_at(logits, (height, width), least_probability=config.ignore_below or 0.0)
    counts = np.bincount(classes.reshape(-1), minlength=IGNORED + 1)
    mask = overlay = None
    if config.output is not None:
        mask = config.output / "masks" / f"{name}.png"
        write_mask(mask, classes, network.palette)
        if config.overlay:
            overlay = config.output / "overlays" / f"{name}.png"
            write_overlay(overlay, dataset.native_image(index), classes, network.palette)
    shares: NDArray[np.float64] = counts / classes.size
    return SegmentationPrediction(
        path=dataset.table.paths[index],
        height=height,
        width=width,
        shares={known: float(shares[k]) for k, known in enumerate(network.card.classes)},
        ignored_share=float(shares[IGNORED]),
        mask=mask,
        overlay=overlay,
    )


def _write_index(
    folder: Path, answers: tuple[SegmentationPrediction, ...], classes: tuple[str, ...], *, overlay: bool
) -> None:
    """Write a line for each image: its mask's file (paths within the folder) and the share of each class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    files = ["mask", "overlay"] if overlay else ["mask"]
    writer.writerow(["path", "height", "width", *files, "ignored_share", *(f"share_{name}" for name in classes)])
    for answer in answers:
        written = [path.relative_to(folder).as_posix() for path in (answer.mask, answer.overlay) if path is not None]
        shares = [f"{share:.6f}" for share in (answer.ignored_share, *answer.shares.values())]
        writer.writerow([answer.path, answer.height, answer.width, *written, *shares])
    write_text(folder / "index.csv", text.getvalue())
