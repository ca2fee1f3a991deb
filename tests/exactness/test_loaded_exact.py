"""From a data loader to the network: what workers lay on a canvas is what each image is alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import anysize
from anysize.loading import Normalisation, RawBatch
from anysize.models import create_model
from anysize.ragged import Padding, RaggedBatch
from oracle import randomise, relative_error

SIZES = [(int(h), int(w)) for h, w in np.random.default_rng(0).integers(4, 60, (23, 2))]


class Images(Dataset[Any]):
    def __init__(self, *, labelled: bool) -> None:
        self.labelled = labelled

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, *SIZES[index], generator=generator, dtype=torch.float64)
        return (image, index % 5) if self.labelled else image


@pytest.mark.parametrize("num_workers", [0, 1])
def test_collate_in_a_data_loader(num_workers: int) -> None:
    data = Images(labelled=True)
    plan = anysize.plan_epoch(SIZES, batch_size=6, max_pixels=20_000, seed=3)
    loader = DataLoader(
        data, batch_sampler=anysize.BatchSampler(plan), collate_fn=anysize.collate, num_workers=num_workers
    )
    model = randomise(create_model("resnet9", num_classes=4, width=4)).double().eval()
    seen: list[int] = []
    batches = [micro_batch.indices for step in plan for micro_batch in step.micro_batches]
    with torch.no_grad():
        for indices, (batch, targets) in zip(batches, loader, strict=True):
            assert isinstance(batch, RaggedBatch)
            assert batch.padding is Padding.ZERO
            assert batch.sizes == tuple(SIZES[index] for index in indices)
            assert targets.tolist() == [index % 5 for index in indices]
            truth = torch.cat([model(data[index][0][None]) for index in indices])
            assert relative_error(model(batch), truth) <= 1e-12
            seen += indices
    assert sorted(seen) == list(range(len(SIZES)))


def test_collate_without_targets_and_with_tensors_for_targets() -> None:
    data = Images(labelled=False)
    for batch in DataLoader(data, batch_size=8, collate_fn=anysize.collate):
        assert isinstance(batch, RaggedBatch)
    assert batch.sizes == tuple(SIZES[16:])
    batch, targets = anysize.collate([(data[0], torch.tensor([0.5, 1.0])), (data[1], torch.tensor([2.0, 3.0]))])
    assert torch.equal(targets, torch.tensor([[0.5, 1.0], [2.0, 3.0]]))
    assert torch.equal(batch.unbind()[1], data[1])


def raw_images(channels: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (*size, channels)).astype(np.uint8) for size in ((5, 9), (12, 3), (1, 1), (7, 7))]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("canvas", [(12, 9), (16, 32)])
def test_normalisation(channels: int, channels_last: bool, canvas: tuple[int, int]) -> None:
    images = raw_images(channels)
    raw = RawBatch.from_arrays(images, canvas, [3, 1, 4, 1], [10, 20, 30, 40])
    assert raw.canvas.shape == (4, channels, *canvas)
    assert raw.canvas.dtype == torch.uint8
    assert raw.canvas.is_contiguous(memory_format=torch.channels_last)
    assert (raw.num_real, raw.num_canvas) == (45 + 36 + 1 + 49, 4 * canvas[0] * canvas[1])
    assert raw.sizes == ((5, 9), (12, 3), (1, 1), (7, 7))
    assert raw.targets.tolist() == [3, 1, 4, 1]
    assert raw.targets.dtype == torch.int64
    assert raw.indices == (10, 20, 30, 40)
    before = raw.canvas.clone()
    mean, std = (117.3, 90.0, 101.5)[:channels], (55.5, 60.0, 47.25)[:channels]
    batch = Normalisation(mean, std)(raw, torch.device("cpu"), channels_last=channels_last)
    assert torch.equal(raw.canvas, before)
    assert batch.dtype == torch.float32
    assert batch.padding is Padding.ZERO
    if channels > 1:
        assert batch.canvas.is_contiguous(memory_format=torch.channels_last) == channels_last
    for image, source in zip(batch.unbind(), images, strict=True):
        truth = (source.astype(np.float64) - np.array(mean)) / np.array(std)
        np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), truth, rtol=3e-6, atol=3e-6)
    outside = ~batch.mask.expand_as(batch.canvas)
    assert bool(outside.any())
    assert bool((batch.canvas[outside] == 0).all())


def test_images_without_labels() -> None:
    raw = RawBatch.from_arrays(raw_images(1), (12, 9), None, range(4))
    assert raw.targets is None
    assert raw.indices == (0, 1, 2, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
def test_page_locked_memory() -> None:
    raw = RawBatch.from_arrays(raw_images(3), (12, 9), [0, 1, 2, 3], range(4)).pin_memory()
    assert raw.canvas.is_pinned()
    assert raw.targets is not None
    assert raw.targets.is_pinned()
