"""Networks by name: what they hold, what they take, and what is said of names that do not exist."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anysize.errors import ImageSizeError, UsageError
from anysize.models import create_model, has_batch_statistics, list_models, register_model, smallest_side
from anysize.models import registry as model_registry
from anysize.models.named import named_model
from anysize.models.probe import SmallestImage, smallest_image
from anysize.models.summary.field import ReceptiveField
from anysize.models.summary.report import summarise
from anysize.models.summary.text import total_lines


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_counts() -> None:
    assert num_parameters(create_model("fcn_small", num_classes=3, in_channels=1)) == 10_259
    assert num_parameters(create_model("fcn_small", num_classes=3, in_channels=3)) == 10_259 + 2 * 9 * 32
    for num_classes, width in ((10, 32), (3, 4)):
        channels = [3, width, 2 * width, 2 * width, 2 * width, 4 * width, 8 * width, 8 * width, 8 * width]
        convolutions = sum(9 * a * b for a, b in itertools.pairwise(channels))
        norms = 2 * sum(channels[1:])
        model = create_model("resnet9", num_classes=num_classes, width=width)
        assert num_parameters(model) == convolutions + norms + (8 * width + 1) * num_classes


def test_smallest_side() -> None:
    assert smallest_side(create_model("fcn_small", num_classes=2, in_channels=1), 1) == 4
    assert smallest_side(create_model("resnet9", num_classes=2), 3) == 1
    for kernel in (1, 2, 37, 640):
        assert smallest_side(nn.Conv2d(2, 1, kernel), 2) == kernel
    model = nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2), nn.BatchNorm2d(1), nn.Conv2d(1, 1, 3, stride=2))
    assert smallest_side(model, 1) == 10
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert smallest_side(create_model("mnist_fcn", num_classes=2, in_channels=1), 1) == 28
    for side in (28, 5):  # larger is refused too, so no search would find it
        assert smallest_side(create_model("mnist_dense", num_classes=2, in_channels=1, image_size=side), 1) == side


class Where(nn.Module):
    """Takes the sides that it is asked to; a convolution behind says what it sees."""

    def __init__(self, takes: Callable[[int], bool], demand: str) -> None:
        super().__init__()
        self.takes, self.demand = takes, demand

    def forward(self, x: Tensor) -> Tensor:
        for side in x.shape[2:]:
            assert self.takes(side), self.demand
        return nn.functional.conv2d(x, torch.ones(1, 1, 5, 5, device=x.device), padding=2)


class Multiples(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 32 or x.shape[3] % 32:
            raise RuntimeError("sides must be divisible by 32")
        return nn.functional.avg_pool2d(x, 32)


@pytest.mark.parametrize(
    ("takes", "smallest", "text"),
    [
        (lambda side: side % 2 == 0, SmallestImage(side=2, multiple_of=2), "2x2; sides are multiples of 2"),
        (lambda side: side % 16 == 0, SmallestImage(side=16, multiple_of=16), "16x16; sides are multiples of 16"),
        (lambda side: side % 8 == 0 and side > 8, SmallestImage(side=16, multiple_of=8), None),
        (lambda side: side % 128 == 0, SmallestImage(side=128, multiple_of=128), None),
        (lambda side: side % 200 == 0, SmallestImage(side=200, multiple_of=200), None),  # two of them up to 512
        (lambda side: side % 384 == 0, SmallestImage(side=384, multiple_of=384), None),  # one
        (lambda side: side == 48, SmallestImage(side=48, only=True), "48x48, and no other size"),
        (lambda side: side in (48, 96), SmallestImage(side=48, multiple_of=None), None),
        (
            lambda side: side % 32 == 1,
            SmallestImage(side=1, multiple_of=None),
            "1x1; it does not take every larger size",
        ),
        (lambda side: 7 <= side <= 100, SmallestImage(side=7), "7x7"),
        (lambda side: side >= 700, SmallestImage(side=700), "700x700"),
        (lambda side: side == 700, None, "unknown: it does not take every size"),
    ],
)
def test_the_smallest_image(takes: Callable[[int], bool], smallest: SmallestImage | None, text: str | None) -> None:
    model = Where(takes, "not that one")
    taken = next(side for side in range(1, 1000) if takes(side))
    told = summarise(model, name="w", num_classes=1, in_channels=1, size=(taken, taken))
    assert told.smallest == smallest
    if smallest is not None:
        assert smallest_side(model, 1) == smallest.side
    if text is not None:
        assert f"smallest image   {text}" in total_lines(told)


@pytest.mark.parametrize(
    ("name", "step"),
    [("smp:DeepLabV3Plus/resnet18", 16), ("smp:DeepLabV3/resnet18", 8), ("smp:PSPNet/resnet18", 8)],
)
@pytest.mark.filterwarnings("ignore")  # not ours
@pytest.mark.slow
def test_the_smallest_image_of_networks_of_others(name: str, step: int) -> None:
    assert smallest_image(named_model(name), 3) == SmallestImage(side=step, multiple_of=step)


def test_the_smallest_image_where_torch_says_no_in_other_words() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4))  # ValueError for a single position
    assert summarise(model, name="i", num_classes=1, in_channels=3, size=(9, 9)).smallest == SmallestImage(side=2)
    assert smallest_side(model, 3) == 2


def test_networks_that_do_not_take_every_size() -> None:
    told = summarise(Multiples(), name="m", num_classes=1, in_channels=1, size=(64, 96))
    assert told.smallest == SmallestImage(side=32, multiple_of=32)
    assert told.field == ReceptiveField(of="output", size=(32, 32), stride=(32, 32))
    assert "smallest image   32x32; sides are multiples of 32" in total_lines(told)
    with pytest.raises(UsageError) as caught:
        summarise(Multiples(), name="m", num_classes=1, in_channels=1, size=(65, 96))
    assert str(caught.value) == (
        "m takes no image of 1 channels and 65x96 pixels: sides must be divisible by 32\n"
        "hint: --size 96x96: sides that are multiples of 32"
    )
    with pytest.raises(ImageSizeError) as small:
        summarise(Multiples(), name="m", num_classes=1, in_channels=1, size=(31, 96))
    assert str(small.value) == (
        "--size is 31x96; m needs at least 32x32\nhint: --size 32x32, or larger: sides that are multiples of 32"
    )
    only = Where(lambda side: side == 48, "only 48x48")
    told = summarise(only, name="o", num_classes=1, in_channels=1, size=(48, 48))
    assert told.field == ReceptiveField(of="output", size=(5, 5), stride=(1, 1))
    assert [layer.shape for layer in told.layers] == [("N", 1, 48, 48)]
    for size in ((50, 48), (48, 47)):
        with pytest.raises(UsageError) as caught:
            summarise(only, name="o", num_classes=1, in_channels=1, size=size)
        assert str(caught.value) == (
            f"o takes no image of 1 channels and {size[0]}x{size[1]} pixels: only 48x48\n"
            "hint: --size 48x48, the only square that it takes"
        )
    odd = Where(lambda side: side % 32 == 1, "not that one")
    with pytest.raises(UsageError) as caught:
        summarise(odd, name="o", num_classes=1, in_channels=1, size=(50, 48))
    assert str(caught.value) == (
        "o takes no image of 1 channels and 50x48 pixels: not that one\n"
        "hint: give the size that it is made for: --size HEIGHTxWIDTH"
    )


def test_a_network_that_takes_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        smallest_side(nn.Conv2d(3, 1, 1), 2)
    assert str(caught.value) == "Conv2d accepts no image of 2 channels up to 4096 pixels a side"


def test_final_relu() -> None:
    images = torch.rand(2, 1, 9, 11)
    for final_relu in (True, False):
        torch.manual_seed(0)
        model = create_model("fcn_small", num_classes=4, in_channels=1, final_relu=final_relu)
        nn.init.constant_(model.head[4].bias, -100.0)
        logits = model(images)
        assert logits.shape == (2, 4)
        assert bool((logits == 0).all() if final_relu else (logits < -50).all())
    torch.manual_seed(0)
    default = create_model("fcn_small", num_classes=4, in_channels=1)
    nn.init.constant_(default.head[4].bias, -100.0)
    assert bool((default(images) == 0).all())


def test_batch_statistics() -> None:
    model = create_model("resnet9", num_classes=2, width=2)
    assert has_batch_statistics(model)
    assert not has_batch_statistics(model.eval())
    assert has_batch_statistics(nn.BatchNorm2d(2, track_running_stats=False).eval())
    assert not has_batch_statistics(create_model("fcn_small", num_classes=2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: create_model("resnet_9", num_classes=2),
            f"there is no model named 'resnet_9'; the models are {', '.join(list_models())}\n"
            "hint: did you mean resnet9?",
        ),
        (
            lambda: create_model("vgg", num_classes=2),
            f"there is no model named 'vgg'; the models are {', '.join(list_models())}",
        ),
        (
            lambda: create_model("resnet9", num_classes=0),
            "num_classes is 0 and in_channels 3; both must be at least 1",
        ),
        (
            lambda: create_model("resnet9", num_classes=2, in_channels=-1),
            "num_classes is 2 and in_channels -1; both must be at least 1",
        ),
        (
            lambda: create_model("resnet9", num_classes=2, depth=3, breadth=4),
            "resnet9 has no option breadth, depth; its options are width",
        ),
        (
            lambda: create_model("fcn_small", num_classes=2, width=3),
            "fcn_small has no option width; its options are final_relu",
        ),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value) == message


def test_an_option_that_is_misspelt() -> None:
    with pytest.raises(UsageError) as caught:
        create_model("unet", num_classes=2, encoder_widht=0.5)
    assert caught.value.hint == "did you mean encoder_width?"


def test_a_model_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_registry, "_BUILDERS", dict(model_registry._BUILDERS))

    @register_model
    class TinyNet(nn.Conv2d):
        def __init__(self, num_classes: int, in_channels: int) -> None:
            super().__init__(in_channels, num_classes, 1)

    assert "tiny_net" in list_models()
    model = create_model("tiny_net", num_classes=4, in_channels=2)
    assert isinstance(model, TinyNet)
    assert model.weight.shape == (4, 2, 1, 1)
    with pytest.raises(UsageError, match=r"^tiny_net has no option width; its options are none$"):
        create_model("tiny_net", num_classes=4, width=1)
