"""Sums, means, extremes, norms and variances over channels, over space and over some of it; softmax and its kin."""

from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F

from anysize.ragged import RaggedBatch
from oracle import AWKWARD_SIZES

REDUCTIONS: dict[str, Any] = {
    "mean": lambda x, dim, keep: torch.mean(x, dim, keep),
    "mean_method": lambda x, dim, keep: x.mean(dim=dim, keepdim=keep),
    "sum": lambda x, dim, keep: torch.sum(x, dim, keepdim=keep),
    "sum_method": lambda x, dim, keep: x.sum(dim, keep),
    "amax": lambda x, dim, keep: torch.amax(x, dim, keep),
    "amin": lambda x, dim, keep: x.amin(dim=dim, keepdim=keep),
    "var": lambda x, dim, keep: torch.var(x, dim, keepdim=keep, unbiased=False),
    "var_unbiased": lambda x, dim, keep: x.var(dim, keepdim=keep),
    "var_correction": lambda x, dim, keep: x.var(dim=dim, correction=0, keepdim=keep),
    "std": lambda x, dim, keep: x.std(dim, False, keep),
    "var_mean": lambda x, dim, keep: torch.var_mean(x, dim, keepdim=keep)[0],
    "mean_of_std_mean": lambda x, dim, keep: torch.std_mean(x, dim, keepdim=keep)[1],
    "norm": lambda x, dim, keep: x.norm(p=2, dim=dim, keepdim=keep),
    "norm_torch": lambda x, dim, keep: torch.norm(x, 2, dim, keep),
    "norm_1": lambda x, dim, keep: torch.linalg.vector_norm(x, 1, dim, keep),
    "norm_3": lambda x, dim, keep: torch.linalg.vector_norm(x, 3, dim, keep),
    "norm_infinity": lambda x, dim, keep: x.norm(torch.inf, dim, keep),
    "logsumexp": lambda x, dim, keep: torch.logsumexp(x, dim, keep),
}
DIMS = (1, -3, (2, 3), [-1, -2], 2, -1, (1, 2, 3), (1, 3))
WEIGHTS = {c: torch.randn(2, c, 3, 3, dtype=torch.float64) for c in (1, 3)}


def before_convolution(function: Any) -> Any:
    """What is said of the padding must be true: a padded convolution reads it."""

    def call(x: Any) -> Any:
        maps = function(x)
        if maps.dim() == 4:
            return F.conv2d(maps, WEIGHTS[maps.shape[1]], padding=1)
        return maps

    return call


@pytest.mark.parametrize("dim", DIMS, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, dim: Any) -> None:
    for keep in (True, False):

        def function(x: Any, keep: bool = keep) -> Any:
            return REDUCTIONS[name](x, dim, keep)

        check_alone(function, AWKWARD_SIZES[0])
        check_alone(function, AWKWARD_SIZES[2], padding="nan")
        for padding in PADDINGS:
            if keep:
                check_alone(before_convolution(function), AWKWARD_SIZES[3], padding=padding)
            else:
                check_alone(function, AWKWARD_SIZES[3], padding=padding)
        check_alone(function, AWKWARD_SIZES[4], padding="finite", channels_last=True)
    check_padding_gradient(lambda x: REDUCTIONS[name](x, dim, True), ((9, 14), (13, 7)))
    check_padding_gradient(lambda x: before_convolution(lambda x: REDUCTIONS[name](x, dim, True))(x), ((9, 14), (3, 7)))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_over_one_and_three_axes(name: str) -> None:
    for dims, sizes in ((((2,), 1), LENGTHS), (((2, 3, 4), (2, 4), 3, (1, 3)), VOLUMES)):
        for dim in dims:
            for keep in (True, False):

                def function(x: Any, dim: Any = dim, keep: bool = keep) -> Any:
                    return REDUCTIONS[name](x, dim, keep)

                check_alone(function, sizes, padding="nan" if keep else "finite")


@settings(max_examples=15, deadline=None)
@given(sizes=drawn_sizes(1))
def test_reductions_of_any_size(sizes: list[tuple[int, int]]) -> None:
    def function(x: Any) -> Any:
        across = x.mean(3, keepdim=True) * x.amax(2, keepdim=True)
        return F.conv2d(across + x.sum(1, keepdim=True) + x.amin((2, 3), keepdim=True), WEIGHTS[3], padding=1)

    check_alone(function, sizes, padding="nan")


def test_dtypes() -> None:
    images = [torch.randint(0, 200, (3, 5, 7)), torch.randint(0, 200, (3, 8, 2))]
    for images_of in (images, [image > 90 for image in images]):
        batch = RaggedBatch.from_images(images_of)
        for call in (
            lambda x: x.sum((-1, -2)), lambda x: x.mean((-2, -1), dtype=torch.float64), lambda x: x.amax((-1, -2)),
            lambda x: x.sum(-3).sum(-1) if x.dim() == 3 else x.sum(1).sum(-1), lambda x: x.any(-3), lambda x: x.all(-3),
            lambda x: x.any(-1, keepdim=True).all(-2, keepdim=True), lambda x: x.amin((-1, -2), keepdim=True),
        ):  # fmt: skip
            result = call(batch)
            maps = result.unbind() if isinstance(result, RaggedBatch) else list(result)
            for got, image in zip(maps, images_of, strict=True):
                assert torch.equal(got, call(image))
    half = RaggedBatch.from_images([torch.full((1, 300, 300), 3.0, dtype=torch.float16)] * 2, canvas=(301, 300))
    assert half.mean((2, 3)).tolist() == half.mean((1, 2, 3)).unsqueeze(1).tolist() == [[3.0], [3.0]]
    assert half.var((2, 3)).tolist() == [[0.0], [0.0]]


def test_places_of_extremes_among_channels() -> None:
    """What a segmenter predicts."""
    images = [torch.randn(5, 3, 4), torch.randn(5, 6, 2)]
    batch = RaggedBatch.from_images(images)
    values, indices = batch.max(1)
    found = torch.min(batch, dim=1, keepdim=True)
    for number, image in enumerate(images):
        assert torch.equal(batch.argmax(1).unbind()[number], image.argmax(0))
        assert torch.equal(torch.argmin(batch, dim=1, keepdim=True).unbind()[number], image.argmin(0, keepdim=True))
        assert torch.equal(values.unbind()[number], image.max(0).values)
        assert torch.equal(indices.unbind()[number], image.max(0).indices)
        assert torch.equal(found.values.unbind()[number], image.min(0, keepdim=True).values)
        assert torch.equal(batch.prod(1).unbind()[number], image.prod(0))


def test_a_large_mean_costs_the_variance_no_digits() -> None:
    images = [1e8 + torch.randn(2, *size, dtype=torch.float64) for size in AWKWARD_SIZES[0]]
    batch = RaggedBatch.from_images(images)
    for got, image in zip(batch.var((2, 3)), images, strict=True):
        torch.testing.assert_close(got, (image - 1e8).var((1, 2)), rtol=1e-12, atol=0)
    for got, image in zip(F.group_norm(batch, 1).unbind(), images, strict=True):
        torch.testing.assert_close(got, F.group_norm(image[None] - 1e8, 1)[0], rtol=1e-7, atol=1e-7)


SOFTMAXES: dict[str, Any] = {
    "channels": lambda x: F.softmax(x, 1),
    "module": nn.Softmax2d(),
    "method": lambda x: x.softmax(dim=-3),
    "log": lambda x: F.log_softmax(x, dim=1),
    "rows": lambda x: x.softmax(-1),
    "columns": lambda x: torch.softmax(x, 2),
    "log_columns": lambda x: x.log_softmax(2),
    "softmin": lambda x: F.softmin(x, 1),
    "softmin_rows": lambda x: F.softmin(x, 3),
    "lowest": lambda x: x.masked_fill(x > 0.5, torch.finfo(x.dtype).min).softmax(-1),
    "cosine": lambda x: F.cosine_similarity(x, x * x + 1),
}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmax(name: str) -> None:
    function = SOFTMAXES[name]
    for padding in PADDINGS:
        check_alone(function, AWKWARD_SIZES[0], padding=padding)
        if name != "cosine":
            behind = before_convolution(function)
            check_alone(behind, AWKWARD_SIZES[3], padding=padding)
            check_padding_gradient(behind, ((9, 14), (13, 7)))
    check_alone(function, AWKWARD_SIZES[4], padding="nan", channels_last=True)
    check_padding_gradient(function, ((9, 14), (13, 7)))


def test_softmax_in_another_dtype() -> None:
    batch = RaggedBatch.from_images([torch.randn(2, 3, 4), torch.randn(2, 2, 5)])
    for result in (
        F.softmax(batch, 1, dtype=torch.float64),
        batch.softmax(-1, torch.float64),
        torch.softmax(batch, 1, torch.float64),
    ):
        assert result.dtype is torch.float64
        assert result.unbind()[0].dtype is torch.float64


TOKENS: dict[str, Any] = {
    "mean": lambda t: t.mean(1),
    "mean_kept": lambda t: t * t.mean(1, keepdim=True),
    "channels": lambda t: t * t.mean(-1, keepdim=True),
    "sum": lambda t: t.sum(1),
    "amax": lambda t: t.amax(1),
    "norm": lambda t: t / t.norm(dim=1, keepdim=True),
    "normalize": lambda t: F.normalize(t, dim=-1),
    "softmax": lambda t: t.softmax(1) * t,
    "softmax_channels": lambda t: t.softmax(-1) * t,
    "std": lambda t: t.std(1),
    "layer_norm": lambda t: F.layer_norm(t, (3,), torch.arange(3).to(t.dtype)),
    "rms_norm": lambda t: F.rms_norm(t, (3,)) + torch.layer_norm(t, [3]),
}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name: str) -> None:
    """Space merged into one axis, as transformers have it: (N, H * W, C)."""
    check_alone(lambda x: TOKENS[name](x.flatten(2).transpose(1, 2)), AWKWARD_SIZES[0], padding="nan")
    check_alone(lambda x: TOKENS[name](x.flatten(2).transpose(1, 2)), AWKWARD_SIZES[2], padding="finite")
    check_padding_gradient(lambda x: TOKENS[name](x.flatten(2).transpose(1, 2)), ((9, 14), (13, 7)))
