"""The loader gives exactly what the plan says, whoever does the work, and from wherever it starts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anysize.batching import Plan, plan_epoch
from anysize.data import Augmentation, DataOptions, ImageDataset, ImageTable, load_data
from anysize.errors import DataError, TrainingError
from anysize.loading import Normalisation, PlanLoader, RawBatch
from toy import write_stripes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data") / "stripes", count=9)


def dataset_of(folder: Path, *, labelled: bool = True) -> ImageDataset:
    root = folder if labelled else folder / "down"
    source = load_data(root, DataOptions(val_split=0.0))
    return ImageDataset(source.train, 3, augmentation=Augmentation(), seed=5)


def plan_of(dataset: ImageDataset, epoch: int) -> Plan:
    return plan_epoch(dataset.sizes(epoch), 5, max_pixels=3_000, mixing="mixed", launch_pixels=500, epoch=epoch)


def check(batches: list[list[RawBatch]], dataset: ImageDataset, plan: Plan, epoch: int, first_step: int = 0) -> None:
    """Compare with the images read one by one."""
    steps = list(plan)[first_step:]
    assert len(batches) == len(steps) > 0
    for step, found in zip(steps, batches, strict=True):
        assert len(found) == len(step.micro_batches)
        for micro_batch, raw in zip(step.micro_batches, found, strict=True):
            assert raw.indices == micro_batch.indices
            assert raw.canvas.shape == (len(raw.indices), 3, *micro_batch.canvas)
            assert raw.canvas.is_contiguous(memory_format=torch.channels_last)
            assert raw.targets is not None
            assert raw.targets.tolist() == [dataset.label(index) for index in raw.indices]
            assert raw.num_canvas == len(raw.indices) * micro_batch.canvas[0] * micro_batch.canvas[1]
            for place, index in enumerate(raw.indices):
                image = dataset.load(index, epoch)
                height, width = raw.sizes[place]
                assert (height, width) == image.shape[:2]
                pixels = raw.canvas[place].permute(1, 2, 0).numpy()
                assert np.array_equal(pixels[:height, :width], image)
                assert not pixels[height:].any()
                assert not pixels[:, width:].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_gives_the_plan_s_micro_batches_with_and_without_workers(workers: int, folder: Path) -> None:
    """Three epochs through one loader, whose workers live on; the later ones not from their first step."""
    dataset = dataset_of(folder)
    loader = PlanLoader(dataset, workers=workers)
    for epoch, first_step in ((0, 0), (1, 1), (0, 2)):
        plan = plan_of(dataset, epoch)
        assert sum(len(step.micro_batches) for step in plan) > len(plan), "steps of one micro-batch prove little"
        batches = [list(step) for step in loader.steps(plan, epoch=epoch, first_step=first_step)]
        check(batches, dataset, plan, epoch, first_step)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_that_is_left_halfway_does_not_disturb_the_next(workers: int, folder: Path) -> None:
    dataset = dataset_of(folder)
    loader = PlanLoader(dataset, workers=workers)
    steps = loader.steps(plan_of(dataset, 0), epoch=0)
    check([list(next(steps))], dataset, plan_of(dataset, 0)[:1], 0)
    del steps
    plan = plan_of(dataset, 1)
    check([list(step) for step in loader.steps(plan, epoch=1)], dataset, plan, 1)


def test_nothing_is_left_behind_the_last_step(folder: Path) -> None:
    dataset = dataset_of(folder)
    plan = plan_of(dataset, 0)
    assert list(PlanLoader(dataset, workers=0).steps(plan, first_step=len(plan))) == []


def test_images_without_labels_have_no_targets(folder: Path) -> None:
    dataset = dataset_of(folder, labelled=False)
    (first, *_), *_ = (list(step) for step in PlanLoader(dataset, workers=0).steps(plan_of(dataset, 0)))
    assert first.targets is None


def test_loading_draws_nothing_from_the_model_s_random_numbers(folder: Path) -> None:
    dataset = dataset_of(folder)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    for step in PlanLoader(dataset, workers=1).steps(plan_of(dataset, 0)):
        list(step)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalised_pixels_have_zero_padding(channels_last: bool) -> None:
    images = [np.full((2, 3, 3), 100, np.uint8), np.full((4, 1, 3), 200, np.uint8)]
    raw = RawBatch.from_arrays(images, (5, 4), [1, 0], [7, 3])
    normalisation = Normalisation(mean=(50.0, 100.0, 150.0), std=(10.0, 20.0, 50.0))
    batch = normalisation(raw, torch.device("cpu"), channels_last=channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.canvas.is_contiguous(memory_format=layout)
    assert tuple(map(tuple, batch.sizes)) == ((2, 3), (4, 1))
    expected = torch.zeros(2, 3, 5, 4)
    expected[0, :, :2, :3] = torch.tensor([5.0, 0.0, -1.0]).reshape(3, 1, 1)
    expected[1, :, :4, :1] = torch.tensor([15.0, 5.0, 1.0]).reshape(3, 1, 1)
    assert torch.equal(batch.zeroed(), expected)
    assert (raw.num_real, raw.num_canvas) == (10, 40)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_arrives_as_it_is(tmp_path: Path, workers: int) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        Image.new("L", (5, 4)).save(path)
    table = ImageTable(
        root=tmp_path,
        paths=("a.png", "b.png"),
        labels=np.array([0, 1]),
        sizes=np.array([[4, 5], [4, 5]]),
        channels=np.array([1, 1], dtype=np.int8),
    )
    dataset = ImageDataset(table, 1)
    Image.new("L", (9, 4)).save(paths[1])
    loader = PlanLoader(dataset, workers=workers)
    step = next(loader.steps(plan_epoch(dataset.sizes(), 2)))
    with pytest.raises(DataError) as caught:
        list(step)
    assert str(caught.value).startswith(
        f"image {paths[1]} is 4x9 (height x width); it was 4x5 when the folder was scanned"
    )
    assert caught.value.hint is not None


def test_a_step_that_is_left_early_is_an_error(folder: Path) -> None:
    dataset = dataset_of(folder)
    steps = PlanLoader(dataset, workers=0).steps(plan_of(dataset, 0))
    next(next(steps))
    with pytest.raises(TrainingError, match="step 0 was left before all of its micro-batches were taken"):
        next(steps)
