"""Receptive fields against gradients: with positive weights, an output's gradient is positive on what it can see."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anysize.models.named import import_zoo, named_model
from anysize.models.summary.field import ReceptiveField, receptive_field
from anysize.models.summary.follow import first_output, follow
from anysize.sizes.reach import Reach

Extent = tuple[int, int]
EMPTY: Extent = (1 << 40, -(1 << 40))


def made_positive(model: nn.Module) -> nn.Module:
    """Weights above 0 that keep values near 1, and normalisation that only multiplies: no path cancels or dies."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    for name, parameter in model.named_parameters():
        fan_in = max(1, parameter[0].numel())
        drawn = (torch.rand(parameter.shape, generator=generator) + 0.5) / fan_in
        parameter.data.copy_(torch.zeros_like(drawn) if name.endswith("bias") else drawn)
    return model.double().eval()


@contextmanager
def local_paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """Maxima become means of the same windows, and what passes a global pool is cut off; yields its inputs."""
    pooled: list[Tensor] = []
    average, adaptive, mean = F.avg_pool2d, F.adaptive_avg_pool2d, Tensor.mean

    def averaged(
        x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *a: Any, **k: Any
    ) -> Tensor:
        assert dilation == 1
        x = x.where(x > torch.finfo(x.dtype).min, 0.0)  # padding for a maximum
        return average(x, kernel_size, stride, padding, k.get("ceil_mode", False))

    def cut_adaptive(x: Tensor, output_size: Any, *args: Any) -> Tensor:
        pooled.append(x)
        return adaptive(x, output_size).detach()

    def cut_mean(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        pooled.append(x)
        return mean(x, *args, **kwargs).detach()

    with monkeypatch.context() as patch:
        patch.setattr(F, "max_pool2d", averaged)
        patch.setattr(F, "adaptive_avg_pool2d", cut_adaptive)
        patch.setattr(F, "adaptive_max_pool2d", cut_adaptive)
        patch.setattr(Tensor, "mean", cut_mean)
        yield pooled


def seen(maps: Tensor, image: Tensor, axis: int, place: int) -> Extent:
    """First and last row of the image (axis 1: column) on which any output in a row (column) has a gradient."""
    outputs = maps.select(2 + axis, place)
    (gradient,) = torch.autograd.grad(outputs.sum(), image, retain_graph=True)
    (places,) = gradient[0].abs().sum(0).sum(1 - axis).nonzero(as_tuple=True)
    return (int(places[0]), int(places[-1])) if len(places) else EMPTY


def extent(reach: Reach, place: int) -> Extent:
    return int(reach.first[place]), int(reach.last[place])


def compare(
    model: nn.Module, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, channels: int = 3, places: int = 4
) -> None:
    """Compare what is followed with gradients, at positions from border to border."""
    made_positive(model)
    image = torch.rand(1, channels, *size, dtype=torch.float64).requires_grad_()
    with local_paths(monkeypatch) as pooled:
        output = first_output(model(image))
    followed = follow(copy.deepcopy(model).float().to("meta"), channels, size)
    assert followed.unknown is None
    reaches = followed.reaches()
    maps = output
    if output.dim() == 2:
        reaches, maps = followed.pooled, pooled[-1]
        assert followed.whole == {0, 1}
    assert (len(reaches[0]), len(reaches[1])) == tuple(maps.shape[2:])
    # Where every row (or every column) is padding, no output sees anything, along the other axis neither.
    blind = any(all(extent(reach, place) == EMPTY for place in range(len(reach))) for reach in reaches.values())
    for axis in (0, 1):
        last = maps.shape[2 + axis] - 1
        for place in {number * last // (places - 1) for number in range(places)}:
            assert seen(maps, image, axis, place) == (EMPTY if blind else extent(reaches[axis], place))


# Narrow where the wiring is the same; xception65 is xception41 with more of the same blocks.
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("fcn_small", (23, 38), {}),
        ("mnist_anysize", (41, 38), {}),
        ("mnist_fcn", (61, 58), {}),
        ("resnet9", (97, 64), {"width": 2}),
        ("resnet18", (75, 98), {"width": 0.125}),
        ("resnet50", (97, 130), {"width": 0.125}),
        ("resnet50", (97, 66), {"width": 0.125, "stride_in_1x1": True, "output_stride": 16}),
        ("mobilenet_v2", (65, 98), {"width": 0.25}),
        ("mobilenet_v2", (64, 97), {"width": 0.25, "keras_padding": True}),
        ("xception41", (65, 98), {"width": 0.125}),
        ("unet", (64, 96), {"encoder": "resnet18", "encoder_width": 0.25}),
        ("deeplabv3plus", (65, 97), {"encoder": "resnet18", "encoder_width": 0.25, "channels": 32}),
        ("fcn32s", (65, 97), {"width": 2}),
        ("fcn8s", (65, 97), {"width": 2}),
        pytest.param("xception", (97, 106), {}, marks=pytest.mark.slow),
        pytest.param("xception65", (97, 106), {}, marks=pytest.mark.slow),
        pytest.param("deeplabv3plus", (129, 97), {}, marks=pytest.mark.slow),
    ],
)
def test_networks_against_gradients(
    name: str, size: tuple[int, int], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = 1 if name.startswith("mnist_") else 3
    model = named_model(name, num_classes=2, in_channels=channels, **options)
    compare(model, size, monkeypatch, channels=channels)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timm:efficientnet_b0", (65, 98)),  # squeeze-and-excitation
        ("timm:inception_v3", (99, 131)),
        ("smp:DeepLabV3Plus/resnet18", (64, 96)),  # corners aligned
        ("torchvision:shufflenet_v2_x0_5", (65, 98)),
        ("torchvision:densenet121", (65, 66)),
    ],
)
@pytest.mark.filterwarnings("ignore")  # not ours
@pytest.mark.slow
def test_networks_of_others_against_gradients(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(named_model(name, num_classes=2), size, monkeypatch, places=3)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("name", "options", "field", "stride"),
    [("fcn_small", {}, 10, 4), ("resnet9", {"width": 2}, 111, 16), ("resnet18", {"width": 0.125}, 435, 32)],
)
def test_the_field_moves_by_the_stride(
    name: str, options: dict[str, Any], field: int, stride: int, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made_positive(named_model(name, num_classes=2, **options))
    size = (640, 64) if axis == 0 else (64, 640)  # long enough for a field that no border cuts
    image = torch.rand(1, 3, *size, dtype=torch.float64).requires_grad_()
    with local_paths(monkeypatch) as pooled:
        model(image)
    (maps,) = pooled
    middle = maps.shape[2 + axis] // 2
    here, next_one = seen(maps, image, axis, middle - 1), seen(maps, image, axis, middle)
    assert here[1] - here[0] + 1 == field
    assert (next_one[0] - here[0], next_one[1] - here[1]) == (stride, stride)
    with torch.device("meta"):
        told = receptive_field(named_model(name, num_classes=2, **options).eval(), 3, (224, 224))
    assert told == ReceptiveField(of="last map", size=(field, field), stride=(stride, stride), whole_image=True)


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        pytest.param("torchvision:alexnet", {}, 195, marks=pytest.mark.slow),
        pytest.param("torchvision:vgg16", {}, 212, marks=pytest.mark.slow),
        ("resnet50", {"stride_in_1x1": True}, 483),
        pytest.param("timm:inception_v3", {}, 1311, marks=pytest.mark.slow),
        pytest.param("timm:inception_v4", {}, 2071, marks=pytest.mark.slow),
        pytest.param("timm:inception_resnet_v2", {}, 3039, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_published_fields(name: str, options: dict[str, Any], field: int) -> None:
    """Araujo, Norris, Sim 2019, table 1; all of stride 16 to 32."""
    if ":" in name:
        import_zoo(name.partition(":")[0])
    with torch.device("meta"):
        model = named_model(name, **options).eval()
    told = receptive_field(model, 3, (299, 299))
    assert told.of == "last map"
    assert told.size == (field, field)
    assert told.stride == (32, 32)


class Gate(nn.Module):
    """Squeeze-and-excitation without weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _tokens(x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    tokens = x.flatten(2).transpose(1, 2)
    return tokens.transpose(1, 2).reshape(batch, channels, height, width)


def _attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
    return mixed.transpose(1, 2).reshape(x.shape)


def _shuffled(x: Tensor) -> Tensor:
    batch, channels, *space = x.shape
    return x.view(batch, 2, channels // 2, *space).transpose(1, 2).flatten(1, 2)


LOCAL = ReceptiveField(of="output", size=(3, 3), stride=(2, 2))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (nn.Identity(), LOCAL),
        (Gate(), replace(LOCAL, whole_image=True)),
        (nn.GroupNorm(2, 4), replace(LOCAL, whole_image=True)),
        (nn.InstanceNorm2d(4), replace(LOCAL, whole_image=True)),
        (nn.Softmax(1), LOCAL),
        (nn.Softmax(2), replace(LOCAL, whole_image=True)),
        (Apply(_tokens), LOCAL),
        (Apply(_attention), replace(LOCAL, whole_image=True)),
        (Apply(_shuffled), LOCAL),
        (nn.PixelShuffle(2), replace(LOCAL, stride=(1, 1))),
        (nn.PixelUnshuffle(2), ReceptiveField(of="output", size=(5, 5), stride=(4, 4))),
        (Apply(lambda x: x.permute(0, 2, 3, 1) @ torch.ones(4, 3, device="meta")), LOCAL),
        (
            Apply(lambda x: x - F.interpolate(F.adaptive_avg_pool2d(x, 3), x.shape[2:])),
            replace(LOCAL, share_of_image=True),
        ),
        (Apply(lambda x: x.amax((2, 3))), replace(LOCAL, of="last map", whole_image=True)),
        (Apply(lambda x: x * 0 + torch.ones_like(x)), LOCAL),
        (Apply(lambda x: torch.ones_like(x)), ReceptiveField(of="nothing")),
        (nn.ReflectionPad2d(1), LOCAL),
        (Apply(lambda x: x.roll(1, 2)), ReceptiveField(of="nothing", unknown="behind roll in 1")),
        (Apply(lambda x: x.cumsum(2)), replace(LOCAL, whole_image=True)),
        (Apply(lambda x: x.flip(2)), ReceptiveField(of="nothing", unknown="behind flip in 1")),
        (Apply(lambda x: torch.cat([x, x], 2)), ReceptiveField(of="nothing", unknown="behind cat in 1")),
        (
            Apply(lambda x: x.view(1, 4, x.shape[2] // 2, 2, -1)),
            ReceptiveField(of="nothing", unknown="behind view in 1"),
        ),
        (Apply(lambda x: x[:, :, 0]), ReceptiveField(of="nothing", unknown="behind select in 1")),
        (Apply(lambda x: x[:, :, 2::2, 4::2]), replace(LOCAL, stride=(4, 4))),
        (Apply(lambda x: x[:, :2]), LOCAL),
        (Apply(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)), LOCAL),
        (Apply(lambda x: x.transpose(2, 3) + x), ReceptiveField(of="nothing", unknown="behind add in 1")),
    ],
)
def test_single_operators(layer: nn.Module, told: ReceptiveField) -> None:
    """Behind a convolution with a field of 3 and a stride of 2."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), layer.to("meta")).eval()
    assert receptive_field(model, 3, (64, 64)) == told


def _into_a_part(x: Tensor) -> Tensor:
    result = torch.zeros_like(x)
    result[:, :2] = x[:, 2:]
    return x + result


def _through_a_view(x: Tensor) -> Tensor:
    result = x.clone()
    result.view(x.shape).add_(F.avg_pool2d(x, 3, 1, 1))
    return result


def _alone(x: Tensor) -> Tensor:
    return x.clone().add_(x).relu_()


@pytest.mark.parametrize(
    ("function", "unknown"),
    [(_into_a_part, "behind copy_ in 1"), (_through_a_view, "behind add_ in 1"), (_alone, None)],
)
def test_what_is_written_behind_another_tensor_s_back(
    function: Callable[[Tensor], Tensor], unknown: str | None
) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), Apply(function))
    assert receptive_field(model, 3, (64, 64)).unknown == unknown


class Branches(nn.Module):
    """A network drawn by lot: layers in a row, some of them two branches that meet again."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Beside(nn.Module):
    """Two branches, resampled to the size of the first and added or laid side by side."""

    def __init__(self, first: nn.Module, second: nn.Module, mode: str, joined: str) -> None:
        super().__init__()
        self.first, self.second, self.mode, self.joined = first, second, mode, joined

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.first(x), self.second(x)
        corners = {"align_corners": False} if "linear" in self.mode or "cubic" in self.mode else {}
        two = F.interpolate(two, size=one.shape[2:], mode=self.mode, **corners)
        return one + two if self.joined == "add" else torch.cat([one, two], 1).sum(1, keepdim=True)


class Padded(nn.Module):
    def __init__(self, amounts: tuple[int, int, int, int], mode: str) -> None:
        super().__init__()
        self.amounts, self.mode = amounts, mode

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.amounts, mode=self.mode)


def windows(draw: st.DrawFn) -> nn.Module:
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, min(kernel) // 2))
    kind = draw(st.sampled_from(["conv", "average", "max", "transposed"]))
    if kind == "conv":
        return nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False)
    if kind == "transposed":
        return nn.ConvTranspose2d(1, 1, kernel, stride, padding, draw(st.integers(0, stride - 1)), dilation=1)
    pool = nn.AvgPool2d if kind == "average" else nn.MaxPool2d
    return pool(kernel, stride, padding, ceil_mode=draw(st.booleans()))


@st.composite
def layers(draw: st.DrawFn, depth: int = 1) -> nn.Module:
    kind = draw(st.sampled_from(["window", "window", "resize", "pad", "beside"][: 4 + depth]))
    if kind == "beside":
        first, second = draw(layers(depth=0)), draw(layers(depth=0))
        mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear"]))
        return Beside(first, second, mode, draw(st.sampled_from(["add", "cat"])))
    if kind == "resize":
        mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear"]))
        corners = draw(st.booleans()) if mode == "bilinear" else None
        return nn.Upsample(scale_factor=draw(st.sampled_from([0.5, 1.5, 2, 4])), mode=mode, align_corners=corners)
    if kind == "pad":
        amounts = draw(st.tuples(*[st.integers(-1, 2)] * 4))
        mode = draw(st.sampled_from(["constant", "reflect", "replicate"]))
        return Padded(amounts if mode == "constant" else tuple(map(abs, amounts)), mode)
    return windows(draw)


@settings(max_examples=40, deadline=None)
@given(drawn=st.lists(layers(), min_size=1, max_size=5), height=st.integers(9, 24), width=st.integers(9, 24))
def test_random_networks_against_gradients(drawn: list[nn.Module], height: int, width: int) -> None:
    model = Branches(drawn)
    try:
        num_outputs = copy.deepcopy(model).to("meta")(torch.empty(1, 1, height, width, device="meta")).numel()
    except RuntimeError:  # too small an image
        num_outputs = 0
    assume(0 < num_outputs <= 20_000)
    with pytest.MonkeyPatch.context() as patch:
        compare(model, (height, width), patch, channels=1, places=3)
