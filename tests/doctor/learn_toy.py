"""A toy world for the diagnosis of learning: coloured rectangles, and a network of four convolutions."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize.doctor.learn.case import Case, build_case

COLORS = np.array([[0.25, 0.3, 0.35], [0.9, 0.3, 0.2], [0.2, 0.4, 0.95]])


def shapes(num: int = 4, size: int = 48, seed: int = 0, *, num_classes: int = 3) -> list[tuple[Tensor, Tensor]]:
    """Images (3, S, S) with mean near 0, and masks (S, S) with a ring of 255 around each rectangle."""
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(num):
        mask = np.zeros((size, size), np.int64)
        for k in (1, 2, 1, 2):
            height, width = rng.integers(size // 5, size // 2, 2)
            top, left = rng.integers(0, size - height), rng.integers(0, size - width)
            mask[top : top + height, left : left + width] = min(k, num_classes - 1)
        image = np.clip(COLORS[mask] + rng.normal(0, 0.06, (size, size, 3)), 0, 1)
        border = np.zeros(mask.shape, bool)
        border[1:] |= mask[1:] != mask[:-1]
        border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
        mask[border] = 255
        samples.append((torch.tensor((image - 0.45) / 0.25, dtype=torch.float32).permute(2, 0, 1), torch.tensor(mask)))
    return samples


class Small(nn.Module):
    """Three convolutions with batch normalisation and ReLU, and a head: (N, 3, H, W) -> (N, K, H, W)."""

    def __init__(self, num_classes: int = 3, *, norm: bool = True, end: nn.Module | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (3, 12, 12):
            layers += [nn.Conv2d(channels, 12, 3, padding=1), *([nn.BatchNorm2d(12)] * norm), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(12, num_classes, 1)
        self.end = nn.Identity() if end is None else end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(self.head(self.body(images)))


def seeded(num_classes: int = 3, *, norm: bool = True, end: nn.Module | None = None) -> Small:
    torch.manual_seed(0)
    return Small(num_classes, norm=norm, end=end)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits, targets, ignore_index=255)


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Soft Dice of each class over space, then the mean over classes."""
    valid = (targets != 255).unsqueeze(1)
    shares = logits.softmax(1) * valid
    hot = functional.one_hot(torch.where(targets == 255, 0, targets), logits.shape[1]).movedim(-1, 1) * valid
    both, each = (shares * hot).sum((0, 2, 3)), (shares + hot).sum((0, 2, 3))
    return (1 - (2 * both + 1) / (each + 1)).mean()


def flat_dice(logits: Tensor, targets: Tensor) -> Tensor:
    """The trap: soft Dice over the flattened list of all valid pixels and classes."""
    valid = targets != 255
    shares = logits.softmax(1).movedim(1, -1)[valid]
    hot = functional.one_hot(targets[valid], logits.shape[1])
    return 1 - (2 * (shares * hot).sum() + 1) / (shares.sum() + hot.sum() + 1)


def one_hot(mask: Tensor, at_ignored: float) -> Tensor:
    """(H, W) -> (3, H, W), with one value in every channel where the label is ignored."""
    valid = mask != 255
    hot = functional.one_hot(torch.where(valid, mask, 0), 3).permute(2, 0, 1).float()
    hot[:, ~valid] = at_ignored
    return hot


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1).mean()


def case_of(model: nn.Module, loss: object = cross_entropy, samples: object = None, **more: object) -> Case:
    more.setdefault("num_classes", 3)
    more.setdefault("ignore_label", 255)
    chosen = shapes() if samples is None else samples
    return build_case(
        model, chosen, loss, lambda model: torch.optim.AdamW(model.parameters(), 1e-3), max_side=64, **more
    )  # type: ignore[arg-type]
