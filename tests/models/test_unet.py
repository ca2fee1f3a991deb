"""U-Net against segmentation_models_pytorch's, with the same encoder and the same random weights."""

import re

import pytest
from peer_truth import check_same_values, library

from anysize.errors import UsageError
from anysize.models import create_model

SMP_ENCODERS = {"resnet18": "resnet18", "mobilenet_v2": "mobilenet_v2"}
SLOW = {"resnet50": "resnet50", "xception41": "tu-xception41"}


def our_name(theirs: str) -> str:
    return re.sub(r"^encoder\.model\.(stem|blocks)_", r"encoder.\1.", theirs)


@pytest.mark.parametrize(
    "encoder", [*SMP_ENCODERS, *(pytest.param(encoder, marks=pytest.mark.slow) for encoder in SLOW)]
)
def test_values_of_smp(encoder: str) -> None:
    name = (SMP_ENCODERS | SLOW)[encoder]
    theirs = library("smp").Unet(name, encoder_weights=None, in_channels=2, classes=5)
    ours = create_model("unet", num_classes=5, in_channels=2, encoder=encoder)
    check_same_values(ours, theirs, ((65, 78), (7, 36), (1, 1)), renamed=our_name, in_channels=2)


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"^channels is \(8, 4\); it must be 5 numbers of at least 1$"):
        create_model("unet", num_classes=2, channels=(8, 4))
