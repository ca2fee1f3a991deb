"""Other people's networks, unmodified: exact in evaluation and training. `make zoo` verifies some two hundred."""

import pytest

from anysize.errors import MissingExtraError
from anysize.models.named import named_model
from anysize.ragged import verify

# Each stands for a kind of block.
QUICK = (
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",  # squeeze and excite, hard activations
    "torchvision:shufflenet_v2_x0_5",  # channel shuffle, chunk
    "timm:convnext_atto",  # channel-last layer norm and linear, layer scale
    "timm:tf_mobilenetv3_small_minimal_100",  # "same" padding computed from x.shape
    "smp:Unet/resnet18",  # skips, nearest upsampling
    "smp:DeepLabV3Plus/mobilenet_v2",  # dilation, image-level pooling, bilinear upsampling
)
SLOW = (
    "timm:ghostnetv2_100",  # interpolation to another map's size
    "torchvision:densenet121",
    "torchvision:deeplabv3_mobilenet_v3_large",
    "timm:xception41",
    "timm:resnest14d",
    "timm:skresnet18",
    "timm:nf_resnet26",
    "smp:MAnet/resnet18",  # attention over space, and a reshape that scrambles it
    "smp:PSPNet/resnet18",  # adaptive pools
)


def check(name: str) -> None:
    try:
        model = named_model(name)
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    report = verify(model)
    assert report.exact, str(report)
    assert report.max_error <= 1e-10


@pytest.mark.parametrize("name", QUICK)
def test_network(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_larger_network(name: str) -> None:
    check(name)
