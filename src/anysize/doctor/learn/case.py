"""What the probes look at: a network, a handful of samples on one common size, a loss, an optimiser."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from anysize.doctor.outputs import logits_of, mean_loss
from anysize.doctor.untouched import untouched
from anysize.errors import UsageError

__all__ = ["NO_CLASS", "Case", "Normalisation", "Sample", "build_case"]

NO_CLASS = -1
"""In `Case.labels`: a pixel that counts in no loss, or whose value is no class."""
_MIN_SIDE = 64  # images with a shorter side are left out where others remain

Sample = tuple[Tensor, Any]
Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation a channel, in 0..255, that images are normalised with."""


@dataclass(kw_only=True)
class Case:
    """One question put to the probes."""

    model: nn.Module
    loss: Any
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    num_classes: int
    ignore_label: int | None
    images: Tensor
    """(N, C, H, W): the middle of each image, or where most classes are."""
    targets: Tensor
    """As the loss takes them: (N,) or (N, H, W) indices; (N, K, H, W) one-hot or soft."""
    labels: Tensor
    """(N,) or (N, H, W), int64: the class, or `NO_CLASS`."""
    originals: Sequence[Sample]
    """The samples as given."""
    places: Sequence[int]
    """Where each was among those given; ones too small beside the others are left out."""
    normalisation: Normalisation | None = None
    """What the images were normalised with."""
    expected: Normalisation | None = None
    """What the weights were trained with."""
    batch_norm_frozen: bool | Collection[str] = False
    """Whether batch normalisation is meant to keep its running statistics: all layers, none, or those so named."""
    batch_size: int | None = None
    """Images of a real training step."""
    was_training: bool = True
    left_out: int = 0
    """How many samples were too small beside the others."""
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured, by name."""

    @property
    def is_segmenter(self) -> bool:
        """Whether targets are maps."""
        return self.targets.dim() >= 3

    @property
    def is_one_hot(self) -> bool:
        """Whether targets have a channel a class."""
        return self.targets.dim() == 4

    @contextmanager
    def trial(self, *, train: bool) -> Iterator[nn.Module]:
        """Lend the model for a trial, in training mode as its owner has it or in evaluation; it ends as it was.

        A model that is handed over in training mode keeps its flags: layers that were put into evaluation by hand stay
        so. One in evaluation mode gets ``.train()``.
        """
        with untouched(self.model), torch.enable_grad():
            if not train:
                self.model.eval()
            elif not self.was_training:
                self.model.train()
            yield self.model

    def forward(self, images: Tensor | None = None) -> Tensor:
        """Logits of the images (or of others), in the mode that the model is in."""
        return logits_of(self.model(self.images if images is None else images))

    def value(self, logits: Tensor, targets: Tensor | None = None) -> Tensor:
        """The mean loss, a scalar."""
        return mean_loss(self.loss, logits, self.targets if targets is None else targets)

    def predictions(self, logits: Tensor) -> Tensor:
        """Class indices in the form of `labels`."""
        if logits.shape[1] == 1:
            return (logits.detach()[:, 0] > 0).long()
        return logits.detach().argmax(dim=1)


def build_case(
    model: nn.Module,
    samples: Sequence[Sample],
    loss: Any,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    *,
    num_classes: int,
    ignore_label: int | None,
    max_side: int,
    **more: Any,
) -> Case:
    """Lay the samples on one common size: the smallest, at most ``max_side``.

    Each image gives the window, of nine, in which most classes and then most labelled pixels are. One common size lets
    any loss and any network be asked; nothing is resized or padded.

    Raises:
        UsageError: no samples, or an image and a mask that differ in size.
    """
    if not samples:
        raise UsageError("there are no samples; some four images with their masks are required")
    first = next(iter(model.parameters()), None)
    device = samples[0][0].device if first is None else first.device
    places = _large_enough(samples)
    kept = [samples[place] for place in places]
    if _is_map(kept[0][1]):
        _check_sizes(kept)
    sides = tuple(min(max_side, *(image.shape[axis] for image, _ in kept)) for axis in (1, 2))
    pairs = [_window(image, target, sides, num_classes, ignore_label) for image, target in kept]
    targets = torch.stack([torch.as_tensor(target) for _, target in pairs]).to(device)
    if targets.dim() < 4:
        targets = targets.long()
    return Case(
        model=model,
        loss=loss,
        make_optimizer=make_optimizer,
        num_classes=num_classes,
        ignore_label=ignore_label,
        images=torch.stack([image for image, _ in pairs]).float().to(device),
        targets=targets,
        labels=_labels(targets, num_classes, ignore_label),
        originals=kept,
        places=places,
        was_training=model.training,
        left_out=len(samples) - len(kept),
        **more,
    )


def _is_map(target: Any) -> bool:
    return isinstance(target, Tensor) and target.dim() >= 2


def _large_enough(samples: Sequence[Sample]) -> list[int]:
    kept = [place for place, (image, _) in enumerate(samples) if min(image.shape[1:]) >= _MIN_SIDE]
    return kept if len(kept) >= 2 else list(range(len(samples)))


def _check_sizes(samples: Sequence[Sample]) -> None:
    for index, (image, mask) in enumerate(samples):
        if image.dim() != 3 or tuple(image.shape[1:]) != tuple(mask.shape[-2:]):
            raise UsageError(
                f"sample {index} has an image of shape {tuple(image.shape)} and a mask of {tuple(mask.shape)}; "
                "(C, H, W) and (H, W) of the same size are required"
            )


def _window(
    image: Tensor, target: Any, sides: tuple[int, ...], num_classes: int, ignore_label: int | None
) -> tuple[Tensor, Any]:
    height, width = sides
    tops = sorted({(image.shape[1] - height) * part // 2 for part in (0, 1, 2)})
    lefts = sorted({(image.shape[2] - width) * part // 2 for part in (0, 1, 2)})
    corners = [(top, left) for top in tops for left in lefts]
    if not _is_map(target):
        top, left = corners[len(corners) // 2]
        return image[:, top : top + height, left : left + width], target

    def richness(corner: tuple[int, int]) -> tuple[int, int]:
        cut = target[..., corner[0] : corner[0] + height, corner[1] : corner[1] + width]
        labels = _labels(cut[None].long() if cut.dim() == 2 else cut[None], num_classes, ignore_label)
        valid = labels[labels != NO_CLASS]
        return len(torch.unique(valid)), len(valid)

    top, left = max(corners, key=richness)
    cut = (slice(top, top + height), slice(left, left + width))
    return image[:, cut[0], cut[1]], target[..., cut[0], cut[1]]


def _labels(targets: Tensor, num_classes: int, ignore_label: int | None) -> Tensor:
    if targets.dim() == 4:
        hot, index = (targets == targets.amax(dim=1, keepdim=True)).float().max(dim=1)
        single = (targets == targets.amax(dim=1, keepdim=True)).sum(dim=1) == 1
        return torch.where(single & (hot > 0), index, NO_CLASS)
    classes = max(num_classes, 2)
    valid = (targets >= 0) & (targets < classes)
    if ignore_label is not None:
        valid &= targets != ignore_label
    return torch.where(valid, targets, NO_CLASS)
