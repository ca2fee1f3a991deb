"""DeepLab v3+ against segmentation_models_pytorch's, with the same encoder and the same random weights."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peer_truth import check_same_values, library
from torch import Tensor
from torch.nn import functional

import anysize
from anysize.errors import CheckpointError, UsageError
from anysize.models import create_model
from anysize.models.encoder import list_encoders
from anysize.models.zoo.deeplabv3plus import ATROUS_RATES
from anysize.ragged.verification.alone import run_alone

SMP_ENCODERS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "mobilenet_v2": "mobilenet_v2",
    "xception41": "tu-xception41",
    "xception65": "tu-xception65",
}
QUICK = (("mobilenet_v2", 8),)
OTHERS = [pair for pair in ((e, s) for e in SMP_ENCODERS for s in (8, 16)) if pair not in QUICK]
CASES = [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS)]


def pair(encoder: str, output_stride: int) -> tuple[Any, Any]:
    theirs = library("smp").DeepLabV3Plus(
        SMP_ENCODERS[encoder],
        encoder_weights=None,
        encoder_output_stride=output_stride,
        decoder_atrous_rates=ATROUS_RATES[output_stride],
        in_channels=2,
        classes=5,
    )
    # smp dilates the strided layers of the encoders it made itself, timm does not.
    options = {} if encoder.startswith("xception") else {"dilate_strided": True}
    ours = create_model(
        "deeplabv3plus", num_classes=5, in_channels=2, encoder=encoder, output_stride=output_stride, **options
    )
    return ours, theirs


def our_name(theirs: str) -> str:
    """smp calls timm's networks with their stages flattened into one level: ``encoder.model.blocks_3.stack``."""
    return re.sub(r"^encoder\.model\.(stem|blocks)_", r"encoder.\1.", theirs)


@pytest.mark.parametrize(("encoder", "output_stride"), CASES)
def test_values_of_smp(encoder: str, output_stride: int) -> None:
    ours, theirs = pair(encoder, output_stride)
    # In the long image the map is longer than the rates, which see beyond their centres there alone.
    check_same_values(ours, theirs, ((64, 80), (304, 32)), renamed=our_name, in_channels=2)


@pytest.mark.parametrize("encoder", SMP_ENCODERS)
def test_names_and_shapes_of_smp(encoder: str) -> None:
    with torch.device("meta"):
        ours, theirs = pair(encoder, 16)
    shapes = {our_name(key): value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("encoder", ["resnet18", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_sizes_that_smp_refuses(encoder: str) -> None:
    """Its layers, put together by hand, with maps that are resized to each other."""
    ours, theirs = pair(encoder, 16)

    def by_hand(images: Tensor) -> Tensor:
        maps = theirs.encoder(images)
        fine = theirs.decoder.block1(maps[2])
        coarse = theirs.decoder.aspp(maps[-1])
        coarse = functional.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)
        fused = theirs.decoder.block2(torch.cat([coarse, fine], 1))
        logits = theirs.segmentation_head[0](fused)
        return functional.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=True)

    images = torch.zeros(1, 2, 65, 78)
    with pytest.raises(RuntimeError, match="Wrong input shape height=65, width=78"):
        theirs(images)
    assert ours.eval()(images).shape == (1, 5, 65, 78)
    check_same_values(ours, theirs, ((65, 78), (33, 17), (7, 100), (1, 1)), run_theirs=by_hand, in_channels=2)


def test_rates_follow_the_output_stride() -> None:
    for output_stride, rates in ATROUS_RATES.items():
        with torch.device("meta"):
            model = create_model("deeplabv3plus", num_classes=2, encoder="resnet18", output_stride=output_stride)
        convs = model.decoder.aspp[0].convs
        assert tuple(convs[i][0][0].dilation[0] for i in (1, 2, 3)) == rates
        assert all(convs[i][0][0].padding == convs[i][0][0].dilation for i in (1, 2, 3))
    with torch.device("meta"):
        model = create_model("deeplabv3plus", num_classes=2, encoder="resnet18", atrous_rates=(2, 5))
        assert model.eval()(torch.empty(1, 3, 20, 30)).shape == (1, 2, 20, 30)
    assert len(model.decoder.aspp[0].convs) == 4


def test_errors() -> None:
    message = re.escape(f"encoder is 'xception'; the encoders are {', '.join(list_encoders())}")
    with pytest.raises(UsageError, match=f"^{message}$"):
        create_model("deeplabv3plus", num_classes=2, encoder="xception")
    with pytest.raises(UsageError, match=r"^output_stride is 2; it must be 8, 16 or 32$"):
        create_model("deeplabv3plus", num_classes=2, output_stride=2)
    with pytest.raises(UsageError, match=r"^atrous_rates is \(6, 0\); it must be one or more dilations of at least 1$"):
        create_model("deeplabv3plus", num_classes=2, encoder="resnet18", atrous_rates=(6, 0))


def small(**options: Any) -> Any:
    torch.manual_seed(0)
    return create_model("deeplabv3plus", num_classes=3, encoder="resnet18", channels=8, **options)


def test_an_auxiliary_head_beside_the_main_one() -> None:
    model, plain = small(aux_head=True, dropout=0.0), small(dropout=0.0)
    names = [name for name in model.state_dict() if not name.startswith("auxiliary_head.")]
    assert names == list(plain.state_dict())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in plain.state_dict().items())
    images = torch.randn(2, 3, 37, 50)
    found = model.train()(images)
    assert list(found) == ["out", "aux"]
    assert torch.equal(found["out"], plain.train()(images))
    # By hand: the maps before the last, 3x3, normalisation, ReLU, 1x1, and out to the image's size.
    head = model.auxiliary_head
    maps = model.encoder.pyramid(images)[3]
    assert maps.shape == (2, 256, 3, 4)
    normal = functional.batch_norm(functional.conv2d(maps, head[0].weight, padding=1), None, None, training=True)
    logits = functional.conv2d(functional.relu(normal), head[4].weight, head[4].bias)
    expected = functional.interpolate(logits, (37, 50), mode="bilinear", align_corners=True)
    assert torch.allclose(found["aux"], expected, atol=1e-5)
    answer = model.eval()(images)
    assert isinstance(answer, Tensor)
    assert answer.shape == (2, 3, 37, 50)


def test_the_auxiliary_head_on_mixed_sizes_is_that_of_each_image() -> None:
    options = {"encoder": "mobilenet_v2", "encoder_width": 0.25, "channels": 8, "dropout": 0.0}
    model = create_model("deeplabv3plus", num_classes=3, aux_head=True, **options).double().train()
    images = [torch.randn(3, *size, dtype=torch.float64) for size in ((33, 20), (17, 41), (40, 40))]
    found = copy.deepcopy(model)(anysize.RaggedBatch.from_images(images))
    expected = run_alone(model, images)
    for name in ("out", "aux"):
        for mine, its in zip(found[name].unbind(), expected, strict=True):
            assert torch.allclose(mine, its[name][0], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_verify_knows_the_auxiliary_head() -> None:
    model = small(aux_head=True)
    report = anysize.verify(model, sizes=((33, 20), (17, 41), (40, 40)))
    assert report.exact, report
    assert {entry.output for entry in report.entries if entry.mode == "training"} == {"", "out", "aux"}
    batch = anysize.RaggedBatch.from_images([torch.randn(3, 20, 30), torch.randn(3, 33, 17)])
    found = model.train()(batch)
    assert found["out"].sizes == found["aux"].sizes == batch.sizes


def test_weights_without_an_auxiliary_head(tmp_path: Path) -> None:
    anysize.save_weights(small(), tmp_path / "plain.safetensors")
    model = small(aux_head=True)
    with pytest.raises(CheckpointError, match=r"missing: auxiliary_head\.0\.weight"):
        anysize.load_weights(model, tmp_path / "plain.safetensors")
    report = anysize.load_weights(model, tmp_path / "plain.safetensors", head="new")
    assert report.lines()[1] == "left as they were: segmentation_head, auxiliary_head (10 tensors)"
