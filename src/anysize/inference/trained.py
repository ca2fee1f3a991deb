"""A trained network, ready to answer."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anysize.batching import Plan
from anysize.console import Console
from anysize.data import ImageDataset, ImageTable
from anysize.data.masks import MaskCoding, default_palette
from anysize.errors import CheckpointError
from anysize.inference.classify import Classified, classify, evaluation_plan
from anysize.inference.device import choose_device
from anysize.inference.parts import Parts
from anysize.inference.requirements import require_sides
from anysize.inference.segment import Segmented, segment, segment_each
from anysize.loading import Normalisation, PlanLoader, waiting_bytes
from anysize.losses import Objective
from anysize.memory import LargestImage, check_elements, choose_limit
from anysize.models import ModelCard, load_model
from anysize.options import DeviceOptions, ForwardOptions

__all__ = ["Reading", "TrainedNetwork", "find_weights"]


def find_weights(run: Path, which: str) -> Path:
    """Return the weights in a run folder, or ``run`` itself if it is a .safetensors file.

    Raises:
        CheckpointError: there are none.
    """
    if run.suffix == ".safetensors":
        return run
    path = run / "weights" / f"{which}.safetensors"
    if path.is_file():
        return path
    if not run.is_dir():
        raise CheckpointError(f"there is no run folder at {run}", hint="pass the folder that 'anysize train' made")
    others = sorted(other.stem for other in (run / "weights").glob("*.safetensors"))
    raise CheckpointError(
        f"{run} holds no weights '{which}'",
        hint=f"--weights {others[0]}" if others else "a run has weights once its first epoch is over",
    )


def _answers_maps(model: nn.Module, card: ModelCard) -> bool:
    """Whether the answer for an image has a place for each pixel; a card without colours leaves that open."""
    if card.palette:
        return True
    probe = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad():
        answer = probe(torch.empty(1, card.in_channels, card.smallest_side, card.smallest_side, device="meta"))
    return bool(answer.dim() > 2)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How images reach the network."""

    options: ForwardOptions
    workers: int
    max_image_pixels: int
    console: Console
    progress: Callable[[int], None] | None = None
    """Called with the number of images done."""


@dataclass(frozen=True)
class TrainedNetwork:
    """Weights, what is needed to use them, and where they are."""

    model: nn.Module
    card: ModelCard
    path: Path
    device: torch.device
    channels_last: bool
    task: Literal["classify", "segment"]
    """What it answers: a class for each image, or for each pixel."""

    @classmethod
    def load(cls, run: Path, which: str, options: DeviceOptions) -> "TrainedNetwork":
        """Load the weights ``which`` ('best' or 'last') of a run folder onto the device of ``options``."""
        device = choose_device(options.device)
        path = find_weights(run, which)
        model, card = load_model(path)
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        task: Literal["classify", "segment"] = "segment" if _answers_maps(model, card) else "classify"
        model = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        return cls(model, card, path, device, options.channels_last, task)

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """(red, green, blue) of each class: of its card, or else the default's."""
        return self.card.palette or default_palette(len(self.card.classes))

    @property
    def channels(self) -> Literal[1, 3]:
        """How images are read for this network: 1 grey, 3 colour."""
        return 1 if self.card.in_channels == 1 else 3

    def dataset(self, table: ImageTable, reading: Reading, coding: MaskCoding | None = None) -> ImageDataset:
        """The images of ``table`` as this network sees them, with their masks where ``coding`` is given.

        Raises:
            ImageSizeError: images that are too small for the network.
        """
        card = self.card
        require_sides(table, card.smallest_side, card.model, card.max_side)
        return ImageDataset(
            table,
            self.channels,
            coding=coding,
            max_side=card.max_side,
            max_image_pixels=reading.max_image_pixels,
        )

    def classify(self, dataset: ImageDataset, reading: Reading) -> Classified:
        """Answer for every image of ``dataset``, in its order.

        Raises:
            ImageSizeError: images that are too large for the memory.
        """
        return classify(
            self.model,
            self._loader(dataset, reading),
            self._plan(dataset, reading),
            Normalisation(self.card.mean, self.card.std),
            num_classes=len(self.card.classes),
            progress=reading.progress,
            **self._pass(dataset, reading),
        )

    def segment(self, dataset: ImageDataset, objective: Objective, reading: Reading) -> Segmented:
        """Answer for every pixel of ``dataset``, and compare with its masks at their own size.

        Raises:
            ImageSizeError: images that are too large for the memory.
        """
        return segment(
            self.model,
            self._loader(dataset, reading),
            self._plan(dataset, reading),
            Normalisation(self.card.mean, self.card.std),
            dataset,
            objective,
            num_classes=len(self.card.classes),
            progress=reading.progress,
            **self._pass(dataset, reading),
        )

    def maps(self, dataset: ImageDataset, reading: Reading) -> Iterator[tuple[int, Tensor]]:
        """Give each image's place in ``dataset`` with its logits (K, h, w), in the order of the plan.

        Raises:
            ImageSizeError: images that are too large for the memory.
        """
        batches = segment_each(
            self.model,
            self._loader(dataset, reading),
            self._plan(dataset, reading),
            Normalisation(self.card.mean, self.card.std),
            **self._pass(dataset, reading),
        )
        for raw, logits in batches:
            yield from zip(raw.indices, logits, strict=True)
            if reading.progress is not None:
                reading.progress(len(raw.indices))

    def _loader(self, dataset: ImageDataset, reading: Reading) -> PlanLoader:
        return PlanLoader(dataset, workers=reading.workers, pin_memory=self.device.type == "cuda")

    def _plan(self, dataset: ImageDataset, reading: Reading) -> Plan:
        return evaluation_plan(dataset, reading.options.batch_size, self._limit(dataset, reading))

    def _pass(self, dataset: ImageDataset, reading: Reading) -> dict[str, Any]:
        parts = Parts(name_of=lambda index: str(dataset.path(index)), report=reading.console.warn)
        return {"device": self.device, "channels_last": self.channels_last, "parts": parts}

    def _limit(self, dataset: ImageDataset, reading: Reading) -> int:
        """Canvas pixels a pass: as the options say, or measured."""
        sizes = dataset.sizes(0)
        index = int(sizes.prod(axis=1).argmax())
        height, width = sizes[index].tolist()
        largest = LargestImage(str(dataset.path(index)), (height, width))
        options = reading.options
        if options.max_pixels != "auto":
            return check_elements(self.model, largest, options.max_pixels, in_channels=self.channels)
        limit = choose_limit(
            self.model,
            largest,
            in_channels=self.channels,
            training=False,
            channels_last=self.channels_last,
            loading_bytes=waiting_bytes(self.channels, reading.workers),
        )
        reading.console.say(str(limit))
        return limit.max_pixels
