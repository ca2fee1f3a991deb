"""Whole images, patches and sampled losses: the equivalences of Long, Shelhamer and Darrell 2015, sections 3.4 and 4.3.

"Patchwise training" over all receptive fields of an image is whole-image training: the gradient of a sum of losses is
the sum of gradients, and each output sees its receptive field alone, where nothing is padded.
"""

from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import Tensor, nn

from anysize.losses import create_objective, sample_hardest
from anysize.ragged import RaggedBatch
from anysize.stepping.criterion import Criterion

FIELD = 7  # pixels: two 3x3 convolutions, one of them dilated by 2


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3, dilation=2), nn.Tanh(), nn.Conv2d(6, 4, 1)
    ).double()  # fmt: skip


def images(sizes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    """Images (3, H, W), each with the labels of its outputs, (H - 6, W - 6)."""
    generator = torch.Generator().manual_seed(2)
    pairs = []
    for height, width in sizes:
        labels = torch.randint(0, 4, (height - FIELD + 1, width - FIELD + 1), generator=generator)
        labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
        pairs.append((torch.randn(3, height, width, generator=generator, dtype=torch.float64), labels))
    return pairs


def gradient(model: nn.Module, loss: Tensor) -> Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in found])


def whole(model: nn.Module, pairs: Sequence[tuple[Tensor, Tensor]], share: float = 1.0) -> Tensor:
    """The gradient of sum/count over all outputs of images of several sizes, as a training step has it."""
    criterion = Criterion(create_objective("ce", num_classes=4), hardest_share=share)
    batch = RaggedBatch.from_images([image for image, _ in pairs])
    targets = RaggedBatch.from_labels([labels for _, labels in pairs])
    sums, _ = criterion.sums(model(batch), targets)
    return gradient(model, sums[0].total / sums[0].count)


def patchwise(model: nn.Module, patches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The gradient of the mean over patches, one at a time, each with one output."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for patch, label in patches:
        total = total + nn.functional.cross_entropy(model(patch[None])[:, :, 0, 0], label[None])
        count += 1
    assert count
    return gradient(model, total / count)


def fields(image: Tensor, labels: Tensor, chosen: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    for row, column in chosen.nonzero().tolist():
        yield image[:, row : row + FIELD, column : column + FIELD], labels[row, column]


SIZES = ((12, 15), (9, 20), (7, 7), (16, 10))


def test_whole_image_training_is_patchwise_training_over_all_receptive_fields() -> None:
    model, pairs = network(), images(SIZES)
    patches = (patch for image, labels in pairs for patch in fields(image, labels, labels != 255))
    torch.testing.assert_close(whole(model, pairs), patchwise(model, patches), rtol=1e-10, atol=1e-13)


def test_a_sampled_loss_is_patchwise_training_over_the_sampled_patches() -> None:
    """Random sampling of patches, section 3.4: outputs are ignored rather than images cut."""
    model, pairs = network(), images(SIZES)
    generator = torch.Generator().manual_seed(5)
    kept = []
    for image, labels in pairs:
        drop = torch.rand(labels.shape, generator=generator) < 0.7
        kept.append((image, torch.where(drop, 255, labels)))
    patches = [patch for image, labels in kept for patch in fields(image, labels, labels != 255)]
    assert 20 < len(patches) < sum(int((labels != 255).sum()) for _, labels in pairs) / 2
    torch.testing.assert_close(whole(model, kept), patchwise(model, patches), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_hardest_outputs_are_the_patches_with_the_largest_losses(share: float) -> None:
    model, pairs = network(), images(SIZES)
    patches: list[tuple[Tensor, Tensor]] = []
    for image, labels in pairs:
        own = list(fields(image, labels, labels != 255))
        with torch.no_grad():
            losses = [float(nn.functional.cross_entropy(model(p[None])[:, :, 0, 0], t[None])) for p, t in own]
        order = sorted(range(len(own)), key=lambda place: -losses[place])
        patches += [own[place] for place in order[: -(-len(own) * int(share * 100) // 100)]]
    torch.testing.assert_close(whole(model, pairs, share), patchwise(model, patches), rtol=1e-10, atol=1e-13)


def test_sampling_by_hand_is_sampling_by_the_criterion() -> None:
    model, pairs = network(), images(SIZES)
    batch = RaggedBatch.from_images([image for image, _ in pairs])
    targets = RaggedBatch.from_labels([labels for _, labels in pairs])
    hardest = sample_hardest(model(batch).detach(), targets, 0.25)
    counted = [int((labels != 255).sum()) for labels in hardest.unbind()]
    assert counted == [-(-int((labels != 255).sum()) // 4) for _, labels in pairs]
    criterion = Criterion(create_objective("ce", num_classes=4))
    sums, _ = criterion.sums(model(batch), hardest)
    by_hand = gradient(model, sums[0].total / sums[0].count)
    torch.testing.assert_close(by_hand, whole(model, pairs, 0.25), rtol=1e-10, atol=1e-13)


def test_padding_breaks_the_equivalence() -> None:
    """The equivalence is of networks without padding: a padded border is no part of any other patch."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).double()
    image, labels = torch.randn(3, 8, 8, dtype=torch.float64), torch.randint(0, 4, (8, 8))
    sums, _ = Criterion(create_objective("ce", num_classes=4)).sums(
        model(RaggedBatch.from_images([image])), RaggedBatch.from_labels([labels])
    )
    patches = [
        (image[:, row : row + 3, column : column + 3], labels[row + 1, column + 1])
        for row in range(6)
        for column in range(6)
    ]
    total = sum(nn.functional.cross_entropy(model(patch[None])[:, :, 1, 1], label[None]) for patch, label in patches)
    inner = gradient(model, total / len(patches))  # type: ignore[operator, arg-type]
    assert not torch.allclose(gradient(model, sums[0].total / sums[0].count), inner, rtol=1e-3)
