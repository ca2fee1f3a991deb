"""A trained network, ready to answer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from anysize.console import Console
from anysize.data import ImageDataset, ImageTable
from anysize.errors import CheckpointError
from anysize.inference.classify import Classified, classify, evaluation_plan
from anysize.inference.device import choose_device
from anysize.inference.parts import Parts
from anysize.inference.requirements import require_sides
from anysize.loading import Normalisation, PlanLoader, waiting_bytes
from anysize.memory import LargestImage, check_elements, choose_limit
from anysize.models import ModelCard, load_model
from anysize.options import DeviceOptions, ForwardOptions

__all__ = ["TrainedClassifier", "find_weights"]


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


@dataclass(frozen=True)
class TrainedClassifier:
    """Weights, what is needed to use them, and where they are."""

    model: nn.Module
    card: ModelCard
    path: Path
    device: torch.device
    channels_last: bool

    @classmethod
    def load(cls, run: Path, which: str, options: DeviceOptions) -> "TrainedClassifier":
        """Load the weights ``which`` ('best' or 'last') of a run folder onto the device of ``options``."""
        device = choose_device(options.device)
        path = find_weights(run, which)
        model, card = load_model(path)
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        model = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        return cls(model, card, path, device, options.channels_last)

    @property
    def channels(self) -> Literal[1, 3]:
        """How images are read for this network: 1 grey, 3 colour."""
        return 1 if self.card.in_channels == 1 else 3

    def classify(
        self,
        table: ImageTable,
        options: ForwardOptions,
        *,
        workers: int,
        max_image_pixels: int,
        progress: Callable[[int], None] | None = None,
        console: Console | None = None,
    ) -> Classified:
        """Answer for every image of ``table``, in its order.

        Raises:
            ImageSizeError: images that are too small for the network, or too large for the memory.
        """
        card, console = self.card, console or Console()
        require_sides(table, card.smallest_side, card.model, card.max_side)
        dataset = ImageDataset(table, self.channels, max_side=card.max_side, max_image_pixels=max_image_pixels)
        return classify(
            self.model,
            PlanLoader(dataset, workers=workers, pin_memory=self.device.type == "cuda"),
            evaluation_plan(dataset, options.batch_size, self._limit(dataset, options, workers, console)),
            Normalisation(card.mean, card.std),
            num_classes=len(card.classes),
            device=self.device,
            channels_last=self.channels_last,
            progress=progress,
            parts=Parts(name_of=lambda index: str(dataset.path(index)), report=console.warn),
        )

    def _limit(self, dataset: ImageDataset, options: ForwardOptions, workers: int, console: Console) -> int:
        """Canvas pixels a pass: as the options say, or measured."""
        sizes = dataset.sizes(0)
        index = int(sizes.prod(axis=1).argmax())
        height, width = sizes[index].tolist()
        largest = LargestImage(str(dataset.path(index)), (height, width))
        if options.max_pixels != "auto":
            return check_elements(self.model, largest, options.max_pixels, in_channels=self.channels)
        limit = choose_limit(
            self.model,
            largest,
            in_channels=self.channels,
            training=False,
            channels_last=self.channels_last,
            loading_bytes=waiting_bytes(self.channels, workers),
        )
        console.say(str(limit))
        return limit.max_pixels
