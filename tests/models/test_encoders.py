"""What every encoder keeps, whoever writes the next one."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from anysize.errors import UsageError
from anysize.models import create_model
from anysize.models.encoder import Encoder, build_encoder, list_encoders
from oracle import random_images, randomise, relative_error


def encoder(name: str, **options: Any) -> Encoder:
    model = randomise(build_encoder(name, in_channels=2, width=0.125, **options).double()).eval()
    assert isinstance(model, Encoder)
    return model


def test_the_encoders_of_this_library() -> None:
    wanted = {"mobilenet_v2", "resnet18", "resnet50", "xception41", "xception65", "xception71"}
    assert wanted <= set(list_encoders())
    assert list_encoders() == sorted(list_encoders())


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("name", list_encoders())
def test_pyramid(name: str, output_stride: int) -> None:
    model = encoder(name, output_stride=output_stride)
    for size in ((65, 78), (1, 1), (16, 33)):
        with torch.no_grad():
            maps = model.pyramid(torch.randn(1, 2, *size, dtype=torch.float64))
        strides = [min(stride, output_stride) for stride in (2, 4, 8, 16, 32)]
        sizes = [tuple(-(-length // stride) for length in size) for stride in strides]
        assert [tuple(map_.shape) for map_ in maps] == [
            (1, channels, *wanted) for channels, wanted in zip(model.feature_channels, sizes, strict=True)
        ]


@pytest.mark.parametrize("name", list_encoders())
def test_dilation_fills_in_what_the_strides_leave_out(name: str) -> None:
    """At every position that the strided network has, the dilated one says the same (Chen et al. 2017, section 3.1)."""
    strided = encoder(name)
    for size, output_stride in (((65, 78), 8), ((47, 33), 16)):
        (image,) = random_images((size,), 2)
        dilated = encoder(name, output_stride=output_stride)
        dilated.load_state_dict(strided.state_dict())
        step = 32 // output_stride
        with torch.no_grad():
            truth, fine = (model.pyramid(image[None])[-1] for model in (strided, dilated))
        assert fine.shape != truth.shape
        assert relative_error(fine[..., ::step, ::step], truth) <= 1e-12


@pytest.mark.parametrize("name", list_encoders())
def test_without_its_head_it_pools_the_last_map(name: str) -> None:
    model = encoder(name)
    images = torch.randn(2, 2, 40, 33, dtype=torch.float64)
    assert model.head_names == ()
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    torch.testing.assert_close(model(images), model.pyramid(images)[-1].mean((2, 3)), rtol=1e-10, atol=1e-10)


def test_errors() -> None:
    known = ", ".join(list_encoders())
    for name in ("resnet51", "fcn_small", ""):
        with pytest.raises(UsageError, match=f"^{re.escape(f'encoder is {name!r}; the encoders are {known}')}$"):
            build_encoder(name, in_channels=3)
    with pytest.raises(UsageError, match=r"^output_stride is 4; it must be 8, 16 or 32$"):
        create_model("resnet18", num_classes=2, output_stride=4)
