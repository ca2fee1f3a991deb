"""Each image resized by its own scale: by sizes, by factors, by every method."""

from typing import Any

import pytest
import torch
from alone import LENGTHS, PADDINGS, VOLUMES, check_alone, check_padding_gradient, drawn_sizes
from compiled import check_compiled
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anysize.ragged import RaggedBatch, RaggedGroup
from oracle import AWKWARD_SIZES, check_exact, random_images, randomise

SMALL = ((9, 14), (13, 7), (8, 8), (5, 5))
EVEN = ((8, 14), (12, 6), (8, 8), (4, 20))

METHODS: list[dict[str, Any]] = [
    {"mode": "nearest"},
    {"mode": "nearest-exact"},
    {"mode": "bilinear"},
    {"mode": "bilinear", "align_corners": True},
    {"mode": "bilinear", "antialias": True},
    {"mode": "bicubic"},
    {"mode": "bicubic", "align_corners": True},
    {"mode": "bicubic", "antialias": True},
    {"mode": "area"},
]
TARGETS: list[dict[str, Any]] = [
    {"size": 9},
    {"size": (5, 30)},
    {"scale_factor": 2},
    {"scale_factor": (3.0, 1.0)},
    {"scale_factor": (0.5, 1.7)},
    {"scale_factor": 1.1},
    {"scale_factor": 1.3, "recompute_scale_factor": True},
    {"scale_factor": 2.0, "recompute_scale_factor": True},
]


def named(options: Any) -> str:
    return "-".join(f"{key}{value}".replace(" ", "") for key, value in options.items())


def behind() -> nn.Module:
    """What comes behind a rule, to see whether what it says of the padding is true."""
    return randomise(nn.Conv2d(3, 4, 3, padding=1).double(), seed=5)


@pytest.mark.parametrize("target", TARGETS, ids=named)
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_sizes_and_factors(method: dict[str, Any], target: dict[str, Any]) -> None:
    conv = behind()
    for padding in ("nan", "finite"):
        check_alone(lambda x: F.interpolate(x, **target, **method), AWKWARD_SIZES[0], padding=padding)
        check_alone(lambda x: conv(F.interpolate(x, **target, **method)), SMALL, padding=padding, channels_last=True)
    check_alone(lambda x: F.interpolate(x, **target, **method), AWKWARD_SIZES[2])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_each_to_the_size_of_another(method: dict[str, Any], padding: str) -> None:
    conv = behind()
    check_alone(
        lambda x: conv(F.interpolate(F.max_pool2d(x, 2), size=x.shape[-2:], **method) + x), SMALL, padding=padding
    )
    check_alone(lambda x: F.interpolate(x, size=[n // 2 + 1 for n in x.shape[2:]], **method), SMALL, padding=padding)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_one_pixel_and_a_few_to_the_size_of_another(method: dict[str, Any], padding: str) -> None:
    for pixels in (1, 3, (1, 4)):
        check_alone(
            lambda x, pixels=pixels: x * F.interpolate(F.adaptive_avg_pool2d(x, pixels), size=x.shape[2:], **method),
            AWKWARD_SIZES[3], padding=padding, channels_last=padding == "nan",
        )  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=named)
def test_resampling_sends_no_gradient_into_the_padding(method: dict[str, Any]) -> None:
    for target in ({"scale_factor": 2}, {"scale_factor": 0.7}, {"size": (6, 9)}):
        check_padding_gradient(lambda x, target=target: F.interpolate(x, **target, **method), SMALL)
    check_padding_gradient(lambda x: F.interpolate(x.mean((2, 3), keepdim=True), x.shape[2:], **method), SMALL)


@settings(max_examples=40, deadline=None)
@given(
    sizes=drawn_sizes(1, 12), factor=st.sampled_from([2, 3, 7, 1.5, 2.5, 1.1, 1.9]),
    method=st.sampled_from(METHODS[:4]), recompute=st.booleans(),
)  # fmt: skip
def test_any_size(sizes: Any, factor: float, method: dict[str, Any], recompute: bool) -> None:
    check_alone(
        lambda x: F.interpolate(x, scale_factor=factor, recompute_scale_factor=recompute, **method),
        sizes, padding="nan",
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(sizes=drawn_sizes(1, 12), target=st.tuples(st.integers(1, 25), st.integers(1, 25)), index=st.integers(0, 8))
def test_any_size_to_any_other(sizes: Any, target: tuple[int, int], index: int) -> None:
    check_alone(lambda x: F.interpolate(x, target, **METHODS[index]), sizes, padding="nan")


def test_one_and_three_axes() -> None:
    for mode in ("nearest", "linear", "area", "nearest-exact"):
        check_alone(lambda x, mode=mode: F.interpolate(x, scale_factor=2, mode=mode), LENGTHS, padding="nan")
        check_alone(lambda x, mode=mode: F.interpolate(F.max_pool1d(x, 3), x.shape[2:], mode=mode), LENGTHS)
    for mode in ("nearest", "trilinear", "area", "nearest-exact"):
        check_alone(lambda x, mode=mode: F.interpolate(x, scale_factor=(2, 1, 1.5), mode=mode), VOLUMES, padding="nan")
        check_alone(lambda x, mode=mode: F.interpolate(F.max_pool3d(x, 2), x.shape[2:], mode=mode), VOLUMES)


def test_images_of_one_pixel_on_a_larger_canvas() -> None:
    images = random_images(((1, 1), (1, 1)), 3)
    resized = F.interpolate(RaggedBatch.from_images(images, canvas=(3, 4)), size=(2, 5))
    for value, image in zip(resized.unbind(), images, strict=True):
        assert torch.equal(value, image.expand(3, 2, 5))


def test_modules() -> None:
    for layer in (
        nn.Upsample(scale_factor=2), nn.Upsample((7, 9), mode="bicubic"), nn.UpsamplingBilinear2d(scale_factor=4),
        nn.UpsamplingNearest2d(scale_factor=2), nn.UpsamplingNearest2d(11),
        nn.Upsample(scale_factor=2.5, mode="bilinear", recompute_scale_factor=True),
    ):  # fmt: skip
        check_alone(layer, AWKWARD_SIZES[0], padding="nan")


@pytest.mark.filterwarnings("ignore:.*nn.functional.upsample:UserWarning")
def test_the_old_names() -> None:
    for function in (
        lambda x: F.upsample(x, scale_factor=2, mode="bilinear", align_corners=True),
        lambda x: F.upsample_nearest(x, scale_factor=2),
        lambda x: F.upsample_bilinear(x, size=(7, 5)),
    ):
        check_alone(function, AWKWARD_SIZES[0], padding="nan")


def test_groups() -> None:
    images = random_images(SMALL, 3)
    group = RaggedGroup([RaggedBatch.from_images(images[:2]), RaggedBatch.from_images(images[2:])])
    for call in (
        lambda x: F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:], mode="bilinear"),
        lambda x: F.interpolate(F.adaptive_avg_pool2d(x, 1), size=x.shape[2:]),
        lambda x: F.interpolate(x, scale_factor=2),
    ):
        for value, image in zip(call(group).unbind(), images, strict=True):
            assert torch.allclose(value, call(image[None])[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffles(factor: int, padding: str) -> None:
    conv = behind()
    check_alone(nn.PixelShuffle(factor), SMALL, channels=2 * factor**2, padding=padding)
    check_alone(
        lambda x: conv(F.pixel_shuffle(x, factor)), SMALL, channels=3 * factor**2, padding=padding, channels_last=True
    )
    multiples = tuple((height * factor, width * factor) for height, width in SMALL)
    check_alone(nn.PixelUnshuffle(factor), multiples, padding=padding)
    check_alone(nn.PixelUnshuffle(factor), multiples, padding=padding, channels_last=True)
    check_padding_gradient(nn.PixelShuffle(factor), SMALL, channels=factor**2)
    check_padding_gradient(nn.PixelUnshuffle(factor), multiples)


def test_unshuffled_images_are_convolved_as_if_alone() -> None:
    conv = randomise(nn.Conv2d(12, 4, 3, padding=1).double())
    for padding in PADDINGS:
        check_alone(lambda x: conv(F.pixel_unshuffle(x, 2)), EVEN, padding=padding)


class Pyramid(nn.Module):
    """Pyramid pooling (Zhao et al. 2017) and an image-level branch as in ASPP (Chen et al. 2017)."""

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(True))
        self.grids = (1, 2, 3, 6)
        self.convs = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.ReLU()) for _ in self.grids)
        self.dilated = nn.Conv2d(4, 4, 3, padding=3, dilation=3)
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        maps = self.stem(x)
        total = self.dilated(maps)
        for grid, conv in zip(self.grids, self.convs, strict=True):
            pooled = conv(F.adaptive_avg_pool2d(maps, grid))
            options = {"mode": "bilinear", "align_corners": self.align_corners}
            total = total + F.interpolate(pooled, size=maps.shape[2:], **options)
        return F.interpolate(self.head(total), size=x.shape[-2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", ["nan", "finite"])
def test_a_pyramid(align_corners: bool, padding: str) -> None:
    model = randomise(Pyramid(align_corners)).double().eval()
    for sizes in AWKWARD_SIZES:
        check_alone(model, sizes, padding=padding, tolerance=1e-11)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_decoder_in_training(mode: str) -> None:
    """Batch norm behind an upsampling counts each image's pixels, and no others."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Upsample(scale_factor=2, mode=mode),
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.PixelShuffle(2), nn.BatchNorm2d(1),
        nn.UpsamplingBilinear2d(scale_factor=2), nn.BatchNorm2d(1), nn.AdaptiveAvgPool2d(4), nn.BatchNorm2d(1),
    )  # fmt: skip
    for sizes in AWKWARD_SIZES:
        check_exact(randomise(model), sizes, channels=3, training=True, poison=torch.nan)


@pytest.mark.parametrize("align_corners", [True, False])
def test_compiled_sizes_of_others(align_corners: bool) -> None:
    options = {"mode": "bilinear", "align_corners": align_corners}

    def resize(x: Any) -> Any:
        half = F.interpolate(x, size=[n // 2 + 1 for n in x.shape[2:]], **options)
        spread = F.interpolate(F.adaptive_avg_pool2d(x, 1), size=x.shape[2:], **options)
        if align_corners:
            half = F.adaptive_avg_pool2d(half, 3)
        return F.interpolate(half, size=x.shape[2:], **options) + spread

    check_compiled(resize)


@pytest.mark.parametrize(
    ("method", "factor"), [*((m, 2) for m in METHODS[:4]), *((m, 1.1) for m in METHODS[:3])], ids=str
)
def test_compiled_factors(method: dict[str, Any], factor: float) -> None:
    check_compiled(lambda x: F.interpolate(x, scale_factor=factor, **method))


def test_compiled_nearest_sizes() -> None:
    check_compiled(lambda x: x * F.interpolate(F.max_pool2d(x, 3), size=x.shape[2:]) + F.interpolate(
        F.interpolate(x, size=(9, 5), mode="nearest-exact"), size=x.shape[2:], mode="nearest-exact"
    ))  # fmt: skip


def test_compiled_pixel_shuffles() -> None:
    check_compiled(lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 4), channels=16, sizes=(((8, 4),), ((16, 20),)))
