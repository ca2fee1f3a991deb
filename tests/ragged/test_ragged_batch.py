"""What people do with a ragged batch besides passing it to a network."""

import copy
import operator
import pickle
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import anysize
from anysize.errors import RaggedError, UnsupportedOperatorError
from anysize.ragged import Length, Padding, RaggedBatch, registered_functions
from anysize.ragged import registry as ragged_registry

SIZES = {1: ((5,), (9,), (1,)), 2: ((5, 7), (8, 4), (1, 1)), 3: ((2, 5, 7), (3, 2, 2), (1, 1, 9))}


def images(axes: int = 2, **options: Any) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, *size, generator=generator).to(**options) for size in SIZES[axes]]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_from_images_and_back(axes: int) -> None:
    originals = images(axes)
    batch = RaggedBatch.from_images(originals)
    assert batch.sizes == SIZES[axes]
    assert batch.canvas.shape == (3, 3, *(max(lengths) for lengths in zip(*SIZES[axes], strict=True)))
    assert batch.padding is Padding.ZERO
    assert (batch.spatial_axes, batch.dim(), batch.ndim, len(batch)) == (axes, axes + 2, axes + 2, 3)
    assert batch.num_real == sum(image[0].numel() for image in originals) == int(batch.mask.sum())
    assert batch.areas == tuple(image[0].numel() for image in originals)
    assert batch.mask.shape == (3, 1, *batch.canvas.shape[2:])
    for image, original in zip(batch.unbind(), originals, strict=True):
        assert torch.equal(image, original)
    assert not batch.is_uniform
    assert float(batch.canvas.abs().sum()) == pytest.approx(sum(float(image.abs().sum()) for image in originals))


def test_from_images_passes_gradients() -> None:
    leaves = [image.requires_grad_() for image in images()]
    batch = RaggedBatch.from_images(leaves)
    assert batch.requires_grad
    assert not RaggedBatch.from_images(images()).requires_grad
    sum((index + 1) * image.sum() for index, image in enumerate(batch.unbind())).backward()
    for index, leaf in enumerate(leaves):
        assert torch.equal(leaf.grad, torch.full_like(leaf, index + 1))


def test_from_images_on_a_canvas_of_ones_own() -> None:
    batch = RaggedBatch.from_images(images(), canvas=(16, 32))
    assert batch.canvas.shape == (3, 3, 16, 32)
    assert all(torch.equal(a, b) for a, b in zip(batch.unbind(), images(), strict=True))
    uniform = RaggedBatch.from_images([torch.ones(1, 4, 5)] * 2)
    assert uniform.is_uniform
    assert not RaggedBatch.from_images([torch.ones(1, 4, 5)] * 2, canvas=(4, 6)).is_uniform


def test_from_images_copies() -> None:
    original = torch.ones(2, 3, 4)
    RaggedBatch.from_images([original]).relu_().mul_(3.0)
    assert torch.equal(original, torch.ones(2, 3, 4))


def test_unbind_gives_views() -> None:
    batch = RaggedBatch.from_images(images())
    batch.unbind()[1].fill_(7.0)
    assert bool((batch.canvas[1, :, :8, :4] == 7.0).all())
    assert float(batch.canvas[1, :, :, 4:].abs().max()) == 0.0


def test_shape_is_a_length_per_axis() -> None:
    batch = RaggedBatch.from_images(images())
    count, channels, height, width = batch.shape
    assert (count, channels) == (3, 3)
    assert isinstance(height, Length)
    assert (height.values, width.values) == ((5, 8, 1), (7, 4, 1))
    assert batch.size(2).values == batch.size(-2).values == (5, 8, 1)
    assert batch.size(1) == 3
    assert batch.size()[3].values == (7, 4, 1)
    agreeing = RaggedBatch.from_images([torch.ones(1, 4, 5), torch.ones(1, 4, 6)], canvas=(9, 9)).shape
    assert int(agreeing[2]) == 4
    assert torch.zeros(agreeing[2]).shape == (4,)


def test_to() -> None:
    batch = RaggedBatch.from_images(images())
    assert batch.to(torch.float32) is batch
    half = batch.to(torch.bfloat16)
    assert (half.dtype, half.sizes, half.padding) == (torch.bfloat16, batch.sizes, Padding.ZERO)
    assert half.is_floating_point()
    assert half.device == torch.device("cpu")
    last = batch.to(memory_format=torch.channels_last)
    assert last.canvas.is_contiguous(memory_format=torch.channels_last)
    assert batch.canvas.is_contiguous()
    unknown = RaggedBatch(batch.canvas, batch.sizes)
    assert unknown.to(torch.float64).padding is Padding.UNKNOWN


def pickled(batch: RaggedBatch) -> Any:
    return pickle.loads(pickle.dumps(batch))  # noqa: S301 - our own


@pytest.mark.parametrize("padding", list(Padding))
@pytest.mark.parametrize("duplicate", [pickled, copy.deepcopy])
def test_pickle_and_deepcopy(duplicate: Any, padding: Padding) -> None:
    source = RaggedBatch.from_images(images())
    batch = RaggedBatch(source.canvas, source.sizes, padding=padding)
    twin = duplicate(batch)
    assert (twin.sizes, twin.padding) == (batch.sizes, padding)
    assert torch.equal(twin.canvas, batch.canvas)
    twin.canvas.zero_()
    assert float(batch.canvas.abs().max()) > 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
def test_pin_memory() -> None:
    pinned = RaggedBatch.from_images(images()).pin_memory()
    assert pinned.canvas.is_pinned()
    assert pinned.sizes == SIZES[2]


def test_repr() -> None:
    assert repr(RaggedBatch.from_images(images())) == (
        "RaggedBatch(canvas=(3, 3, 8, 7), sizes=[5x7, 8x4, 1x1], dtype=torch.float32)"
    )
    assert repr(RaggedBatch.from_images([torch.ones(1, 2, 3)] * 6)) == (
        "RaggedBatch(canvas=(6, 1, 2, 3), sizes=[2x3, 2x3, 2x3, 2x3, ... 6 images], dtype=torch.float32)"
    )


def test_attributes_that_are_not_there() -> None:
    batch = RaggedBatch.from_images(images())
    for name in ("T", "nonsense", "__array__"):
        assert not hasattr(batch, name)
    with pytest.raises(AttributeError) as caught:
        _ = batch.nonsense
    assert str(caught.value) == "RaggedBatch has no attribute 'nonsense'"


@pytest.mark.parametrize(
    "read",
    [
        lambda x: F.conv2d(x, torch.ones(2, 3, 3, 3), padding=1),
        lambda x: F.batch_norm(x, torch.zeros(3), torch.ones(3)),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: F.max_pool2d(x, 3, 1, 1),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: x.relu(),
        lambda x: x.relu_(),
        lambda x: x.add_(1.0),
        lambda x: x.mul_(x),
        lambda x: x.sigmoid() + x,
        lambda x: F.conv2d(x.detach(), torch.ones(2, 3, 3, 3), padding=1),
    ],
)
def test_memory_of_which_nothing_is_known_is_never_written_to(read: Any) -> None:
    canvas = torch.randn(2, 3, 8, 9)
    before = canvas.clone()
    read(RaggedBatch(canvas, ((5, 9), (8, 2))))
    assert torch.equal(canvas, before)


def test_a_rule_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged_registry, "_RULES", dict(ragged_registry._RULES))
    batch = RaggedBatch.from_images(images())
    with pytest.raises(anysize.ragged.registry.UnsupportedOperatorError):
        torch.i0(batch)

    @anysize.register_rule(torch.i0, torch.Tensor.i0)
    def square(function: Any, input: RaggedBatch) -> RaggedBatch:
        return input.with_canvas(function(input.settled()), Padding.FINITE)

    assert registered_functions()[torch.i0].work is square
    for result in (torch.i0(batch), batch.i0()):
        assert all(torch.equal(a, b.i0()) for a, b in zip(result.unbind(), images(), strict=True))


def test_a_later_rule_takes_the_place_of_an_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged_registry, "_RULES", dict(ragged_registry._RULES))
    batch = RaggedBatch.from_images(images())
    calls = []

    @anysize.register_rule(F.relu)
    def relu(function: Any, input: RaggedBatch, inplace: bool = False) -> RaggedBatch:
        calls.append(function)
        return input

    assert torch.nn.ReLU()(batch) is batch
    assert calls == [F.relu]
    assert batch.relu() is not batch, "the method has a rule of its own"


def test_the_registry_that_is_shown_is_a_copy() -> None:
    registered_functions().clear()  # type: ignore[attr-defined]
    assert F.conv2d in registered_functions()


def test_a_tensor_that_shares_the_canvas_and_is_changed_in_place_is_noticed() -> None:
    images = [torch.randn(2, 5, 7), torch.randn(2, 8, 4)]
    batch = RaggedBatch.from_images(images)
    batch.detach().add_(1.0)  # the padding is no longer zero, though this batch did nothing
    assert batch.padding is Padding.FINITE
    weight = torch.ones(1, 2, 3, 3)
    alone = torch.nn.functional.conv2d(images[0][None] + 1.0, weight, padding=1)[0]
    assert torch.allclose(torch.nn.functional.conv2d(batch, weight, padding=1).unbind()[0], alone, atol=1e-5)


def test_an_in_place_sum_on_a_larger_canvas_forgets_the_old_mask() -> None:
    images = [torch.randn(2, 5, 7), torch.randn(2, 8, 4)]
    batch = RaggedBatch.from_images(images, canvas=(10, 10))
    assert batch.mask.shape[2:] == (10, 10)
    batch.add_(RaggedBatch.from_images(images))
    expected = torch.stack([2 * image.mean((1, 2)) for image in images])
    assert torch.allclose(batch.mean((2, 3)), expected, atol=1e-6)


def test_a_uniform_canvas_of_the_users_own_is_not_written_to() -> None:
    canvas = -torch.ones(1, 2, 4, 4)
    torch.nn.functional.relu_(RaggedBatch(canvas, ((4, 4),)))
    assert float(canvas.min()) == -1.0


def test_a_narrower_dtype_forgets_that_the_padding_is_finite() -> None:
    batch = RaggedBatch(torch.full((1, 1, 4, 4), 1e6), ((2, 2),), padding=Padding.FINITE)
    assert batch.to(torch.float16).padding is Padding.UNKNOWN
    assert batch.to(torch.float32) is batch


@pytest.mark.parametrize("function", [operator.matmul, torch.dist, torch.kron, torch.cross, torch.bmm])
def test_operators_without_a_rule_are_refused(function: Any) -> None:
    batch = RaggedBatch.from_images([torch.randn(2, 5, 7), torch.randn(2, 8, 4)])
    with pytest.raises(UnsupportedOperatorError, match="was given a ragged batch"):
        function(batch, batch)


def test_constructors_refuse_what_would_be_cast_in_silence() -> None:
    with pytest.raises(RaggedError, match="all must agree"):
        RaggedBatch.from_images([torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.float64)])
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        RaggedBatch(torch.zeros(1, 2, 3, 3), [(2.5, 3)])
    assert RaggedBatch.from_images(torch.zeros(2, 3, 4, 4)).sizes == ((4, 4), (4, 4))
