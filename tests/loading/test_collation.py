"""Samples of any structure become ragged batches, and say what is wrong where they cannot."""

import functools
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader

from anysize.batching import BatchSampler, CanvasSet, choose_canvases, plan_epoch
from anysize.errors import AnysizeError, PlanError, RaggedError
from anysize.loading import collate
from anysize.ragged import RaggedBatch, RaggedGroup

SIZES = [(5, 9), (8, 3), (6, 6), (40, 31), (38, 33), (7, 4)]
IMAGES = [torch.randn(3, *size, generator=torch.Generator().manual_seed(n)) for n, size in enumerate(SIZES)]
MASKS = [torch.randint(0, 4, size, generator=torch.Generator().manual_seed(n)) for n, size in enumerate(SIZES)]
Sample = namedtuple("Sample", ["image", "label"])


def check(found: Any, expected: list[torch.Tensor]) -> None:
    assert isinstance(found, RaggedBatch | RaggedGroup)
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found.unbind(), expected, strict=True))


def test_images_alone() -> None:
    batch = collate(IMAGES)
    check(batch, IMAGES)
    assert tuple(batch.canvas.shape) == (6, 3, 40, 33)


def test_pairs() -> None:
    images, labels = collate([(image, n % 3) for n, image in enumerate(IMAGES)])
    check(images, IMAGES)
    assert torch.equal(labels, torch.tensor([0, 1, 2, 0, 1, 2]))
    images, targets = collate([(image, torch.tensor([n, 0.5])) for n, image in enumerate(IMAGES)])
    assert torch.equal(targets, torch.tensor([[n, 0.5] for n in range(6)]))


@pytest.mark.parametrize("multiple_of", [1, 8])
@pytest.mark.parametrize("grouped", [False, True])
def test_masks_lie_as_their_images(grouped: bool, multiple_of: int) -> None:
    options = {"grouped": grouped, "multiple_of": multiple_of, "launch_pixels": 10}
    images, masks = collate(list(zip(IMAGES, MASKS, strict=True)), **options)
    pairs = list(zip(images.parts, masks.parts, strict=True)) if grouped else [(images, masks)]
    assert (len(pairs) > 1) is grouped
    for image_part, mask_part in pairs:
        assert image_part.sizes == mask_part.sizes
        assert image_part.canvas.shape[2:] == mask_part.canvas.shape[1:]
        assert all(length % multiple_of == 0 for length in mask_part.canvas.shape[1:])
    order = [SIZES.index(size) for size in images.sizes]
    check(images, [IMAGES[n] for n in order])
    check(masks, [MASKS[n] for n in order])
    loss = functional.cross_entropy(images.repeat(1, 2, 1, 1)[:, :4], masks, reduction="sum") if not grouped else None
    if loss is not None:
        truth = sum(
            functional.cross_entropy(image.repeat(2, 1, 1)[None, :4], mask[None], reduction="sum")
            for image, mask in zip(IMAGES, MASKS, strict=True)
        )
        torch.testing.assert_close(loss, truth)


def test_the_mask_first() -> None:
    masks, images = collate(list(zip(MASKS, IMAGES, strict=True)))
    check(images, IMAGES)
    check(masks, MASKS)


@pytest.mark.parametrize("reverse", [False, True])
def test_dictionaries(reverse: bool) -> None:
    samples: list[dict[str, Any]] = [
        {"pixel_values": image, "labels": mask, "depth": image[:1], "id": f"{n}.png", "weight": n / 2}
        for n, (image, mask) in enumerate(zip(IMAGES, MASKS, strict=True))
    ]
    if reverse:
        samples = [dict(reversed(sample.items())) for sample in samples]
    batch = collate(samples)
    assert list(batch) == list(samples[0])
    check(batch["pixel_values"], IMAGES)
    check(batch["depth"], [image[:1] for image in IMAGES])
    check(batch["labels"], MASKS)
    assert batch["id"] == [f"{n}.png" for n in range(6)]
    assert torch.equal(batch["weight"], torch.arange(6) / 2)
    assert batch["weight"].dtype == torch.float32


def test_nested() -> None:
    pairs = enumerate(zip(IMAGES, MASKS, strict=True))
    samples = [(Sample(image, np.int64(n)), [n, {"mask": mask}]) for n, (image, mask) in pairs]
    first, (numbers, masks) = collate(samples)
    assert isinstance(first, Sample)
    check(first.image, IMAGES)
    assert first.label.tolist() == numbers.tolist() == list(range(6))
    check(masks["mask"], MASKS)


def test_other_numbers_of_axes() -> None:
    signals = [torch.randn(2, n) for n in (10, 10, 10)]
    batch, targets = collate([(signal, torch.arange(10.0)) for signal in signals])
    check(batch, signals)
    assert isinstance(targets, torch.Tensor)
    assert tuple(targets.shape) == (3, 10)  # not a mask: it would be one in some batches only
    volumes, masks = collate([(image[:, None], mask[None]) for image, mask in zip(IMAGES, MASKS, strict=True)])
    check(volumes, [image[:, None] for image in IMAGES])
    check(masks, [mask[None] for mask in MASKS])


@pytest.mark.parametrize("max_pixels", [None, 9_000])
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_whole_step_lies_as_it_was_planned(num_ranks: int, max_pixels: int | None) -> None:
    sizes = np.random.default_rng(0).integers(8, 70, (60, 2))
    options: dict[str, Any] = {"max_pixels": max_pixels, "multiple_of": 4, "launch_pixels": 500}
    plan = plan_epoch(sizes, 20, mixing="mixed", num_ranks=num_ranks, **options)
    data = [(torch.full((1, *size), float(n)), n) for n, size in enumerate(sizes)]
    put_together = functools.partial(collate, grouped=True, **options)
    for rank in range(num_ranks):
        sampler = BatchSampler(plan, rank, whole_steps=True)
        loader = DataLoader(data, batch_sampler=sampler, collate_fn=put_together)  # type: ignore[arg-type]
        for step, (images, labels) in zip(plan.for_rank(rank), loader, strict=True):
            assert [tuple(part.canvas.shape[2:]) for part in images.parts] == [m.canvas for m in step.micro_batches]
            counts = [len(part) for part in images.parts]
            assert len(counts) > 1
            for part, targets, micro_batch in zip(images.parts, labels.split(counts), step.micro_batches, strict=True):
                assert tuple(targets.tolist()) == micro_batch.indices
                assert [int(image[0, 0, 0]) for image in part.unbind()] == targets.tolist()


@pytest.mark.parametrize("mixing", ["similar", "mixed"])
@pytest.mark.parametrize("grouped", [False, True])
def test_static_canvases(mixing: Any, grouped: bool) -> None:
    sizes = np.random.default_rng(0).integers(8, 70, (90, 2))
    chosen = choose_canvases(sizes, 4, launch_pixels=500)
    assert chosen.num_own > 0
    plan = plan_epoch(sizes, 20, mixing=mixing, canvases=chosen, launch_pixels=500)
    data = [(torch.full((1, *size), float(n)), torch.full(tuple(size), n)) for n, size in enumerate(sizes)]
    put_together = functools.partial(collate, grouped=grouped, canvases=chosen, launch_pixels=500)
    loader = DataLoader(data, batch_sampler=BatchSampler(plan, whole_steps=grouped), collate_fn=put_together)  # type: ignore[arg-type]
    expected = [m.canvas for step in plan for m in step.micro_batches]
    found = []
    for images, masks in loader:
        pairs = zip(images.parts, masks.parts, strict=True) if grouped else [(images, masks)]
        found += [(tuple(image.canvas.shape[2:]), tuple(mask.canvas.shape[1:])) for image, mask in pairs]
    assert all(image == mask for image, mask in found)
    if not (grouped and mixing == "similar"):  # a step of similar images is spread anew, as a mixed one
        assert [image for image, _ in found] == expected
    static = sum(image in chosen.canvases for image, _ in found)
    assert 0 < static < len(found)


class Pairs:
    """Images and their numbers, for worker processes."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": IMAGES[index], "labels": index}


@pytest.mark.parametrize("grouped", [False, True])
def test_from_a_worker_process(grouped: bool) -> None:
    function = functools.partial(collate, grouped=grouped, launch_pixels=10)
    (batch,) = DataLoader(Pairs(), batch_size=6, collate_fn=function, num_workers=1)  # type: ignore[arg-type]
    check(batch["pixel_values"], [IMAGES[n] for n in batch["labels"].tolist()])
    moved = batch["pixel_values"].to("cpu", torch.float64)
    assert type(moved) is type(batch["pixel_values"])
    assert moved.dtype == torch.float64
    check(moved, [IMAGES[n].double() for n in batch["labels"].tolist()])


@pytest.mark.parametrize("grouped", [False, True])
def test_pinned(grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU there is no page-locked memory: what is asked for it is seen instead."""
    from torch.utils.data._utils.pin_memory import pin_memory

    pinned = []

    def pin(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
        pinned.append(tensor.shape)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = collate([Pairs()[n] for n in range(6)], grouped=grouped, launch_pixels=10)
    after = pin_memory(batch)
    check(after["pixel_values"], batch["pixel_values"].unbind())
    parts = batch["pixel_values"].parts if grouped else [batch["pixel_values"]]
    assert {part.canvas.shape for part in parts} | {torch.Size([6])} <= set(pinned)


def refusal(samples: Any, kind: type[AnysizeError] = RaggedError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        collate(samples, **options)
    return str(caught.value)


OWN_LENGTH = (
    "\nhint: take what has its own length or kind, such as boxes, out of the samples in a function around "
    "anysize.collate"
)
CONVERT = (
    "\nhint: in the data set: torch.from_numpy(numpy.array(it)).permute(2, 0, 1).float().div(255) for an image "
    "(H, W, C), torch.from_numpy(numpy.array(it)) for a mask (H, W)"
)


def test_images_that_are_no_tensors() -> None:
    assert refusal([(Image.new("RGB", (4, 3)), 0)]) == (
        f"entry [0] of sample 0 is Image; a torch.Tensor is required{CONVERT}"
    )
    assert refusal([{"image": IMAGES[0], "mask": np.zeros((5, 9))}]) == (
        f"entry ['mask'] of sample 0 is ndarray of shape (5, 9); a torch.Tensor is required{CONVERT}"
    )
    assert refusal([IMAGES[0], np.zeros((5, 9, 3))]) == (
        f"sample 1 is ndarray of shape (5, 9, 3); a torch.Tensor is required{CONVERT}"
    )


def test_samples_without_an_image() -> None:
    assert refusal([]) == "collate was given no sample\nhint: the batch sampler hands out an empty list"
    assert refusal([{"a": 1, "b": torch.zeros(3)}]) == (
        "entry ['a'] is int, entry ['b'] is Tensor of shape (3,): a sample has to hold an image, a tensor "
        "(C, *spatial)\nhint: return one from the data set's __getitem__"
    )


def test_images_that_differ_in_kind() -> None:
    for other, kind in ((None, "NoneType"), (torch.zeros(4, 3), "Tensor of shape (4, 3)")):
        for grouped in (False, True):
            assert refusal([{"x": IMAGES[0]}, {"x": other}], grouped=grouped) == (
                f"entry ['x'] of sample 1 is {kind}, entry ['x'] of sample 0 Tensor of shape (3, 5, 9): images of one "
                "number of axes are required\n"
                "hint: convert them in the data set's __getitem__, or leave such samples out"
            )


def test_entries_that_have_no_place() -> None:
    boxes = [(image, torch.zeros(n, 4)) for n, image in enumerate(IMAGES)]
    assert refusal(boxes) == (
        "entry [1] has shape (0, 4) in one sample and (1, 4) in another; one shape, or in each sample the height and "
        f"width of entry [0], is required{OWN_LENGTH}"
    )
    assert refusal([(IMAGES[0], [[1, 2]]), (IMAGES[1], [[1, 2], [3, 4]])]) == (
        "entry [1] of sample 1 is a list of 2, entry [1] of sample 0 a list of 1: samples of one structure are required"
        + OWN_LENGTH
    )
    assert refusal([{"x": IMAGES[0], "y": 1}, {"x": IMAGES[0]}]) == (
        "sample 1 is a dictionary of x, sample 0 a dictionary of x, y: samples of one structure are "
        f"required{OWN_LENGTH}"
    )
    assert refusal([(IMAGES[0], None)]) == (
        f"entry [1] is NoneType; a tensor, a number or a string is required{OWN_LENGTH}"
    )


def test_options_that_do_not_fit() -> None:
    assert refusal([torch.zeros(2, 7)], grouped=True) == (
        "grouped=True and canvases= are for images C x H x W; each sample has 1 spatial axes\nhint: leave them out"
    )
    assert refusal(IMAGES, PlanError, max_pixels=5) == (
        "max_pixels is 5, and all samples go onto one canvas\n"
        "hint: grouped=True spreads them over several; a plan's max_pixels limits what a sampler puts together"
    )
    assert refusal(IMAGES, PlanError, multiple_of=0) == "multiple_of is 0; an integer of at least 1 is needed"
    assert "max_pixels" in refusal(IMAGES, PlanError, grouped=True, max_pixels=50)


def test_collate_and_samplers_refuse_what_is_no_set_of_canvases() -> None:
    with pytest.raises(PlanError, match="a list was given; a Plan, a PlanStream or a planner is needed"):
        BatchSampler([[0, 1]])  # type: ignore[arg-type]
    images = [torch.zeros(1, 8, 8)]
    with pytest.raises(PlanError, match="canvases are of type list; a CanvasSet is needed"):
        collate(images, canvases=[(8, 8)])  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="multiple_of is 32, and that of the canvases 8"):
        collate(images, canvases=CanvasSet(((8, 8),), 8), multiple_of=32)
