"""Weights of timm, torchvision and segmentation_models_pytorch: their names, their values, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import anysize
from anysize.models import Network, create_model
from anysize.models.named import import_zoo
from anysize.models.weights.layouts import layouts_of, recognise
from anysize.models.weights.published import PUBLISHED
from oracle import randomise, relative_error

Builder = Callable[[], nn.Module]


def timm(name: str, **options: Any) -> Builder:
    return lambda: import_zoo("timm").create_model(name, pretrained=False, **{"num_classes": 5} | options)


def torchvision(name: str) -> Builder:
    return lambda: import_zoo("torchvision").models.get_model(name, weights=None, num_classes=5)


def smp(decoder: str, encoder: str, **options: Any) -> Builder:
    return lambda: getattr(import_zoo("smp"), decoder)(encoder, encoder_weights=None, classes=5, **options)


# Ours, its options, the layout, and the network whose state dict has that layout.
WHOLE: list[tuple[str, dict[str, Any], str, Builder]] = [
    ("resnet18", {}, "timm", timm("resnet18")),
    ("resnet18", {}, "torchvision", torchvision("resnet18")),
    ("resnet50", {}, "timm", timm("resnet50")),
    ("resnet50", {}, "torchvision", torchvision("resnet50")),
    ("mobilenet_v2", {}, "timm", timm("mobilenetv2_100")),
    ("mobilenet_v2", {}, "torchvision", torchvision("mobilenet_v2")),
    ("xception", {}, "timm", timm("legacy_xception")),
    ("xception41", {}, "timm", timm("xception41")),
    ("xception65", {}, "timm", timm("xception65")),
    ("xception71", {}, "timm", timm("xception71")),
    ("deeplabv3plus", {"encoder": "xception65"}, "smp", smp("DeepLabV3Plus", "tu-xception65")),
    ("deeplabv3plus", {"encoder": "xception41"}, "smp", smp("DeepLabV3Plus", "tu-xception41")),
    ("deeplabv3plus", {"encoder": "resnet50"}, "smp", smp("DeepLabV3Plus", "resnet50")),
    ("deeplabv3plus", {"encoder": "resnet50"}, "smp-tu", smp("DeepLabV3Plus", "tu-resnet50")),
    ("deeplabv3plus", {"encoder": "mobilenet_v2"}, "smp", smp("DeepLabV3Plus", "mobilenet_v2")),
    ("unet", {}, "smp", smp("Unet", "resnet18")),
    ("unet", {"encoder": "resnet50"}, "smp-tu", smp("Unet", "tu-resnet50")),
    ("unet", {"encoder": "mobilenet_v2"}, "smp", smp("Unet", "mobilenet_v2")),
]
# Only the encoder, with or without its classifier.
PARTS: list[tuple[str, dict[str, Any], str, Builder]] = [
    ("deeplabv3plus", {"encoder": "xception65"}, "timm", timm("xception65")),
    ("deeplabv3plus", {"encoder": "xception65"}, "timm", timm("xception65", num_classes=0)),
    ("deeplabv3plus", {"encoder": "resnet50"}, "torchvision", torchvision("resnet50")),
    ("deeplabv3plus", {"encoder": "mobilenet_v2"}, "timm", timm("mobilenetv2_100")),
    ("unet", {"encoder": "resnet18"}, "timm", timm("resnet18", num_classes=0)),
    ("fcn32s", {}, "torchvision", torchvision("vgg16")),
    ("fcn8s", {}, "timm", timm("vgg16")),
    ("unet", {"encoder": "mobilenet_v2"}, "torchvision", torchvision("mobilenet_v2")),
]


UNDILATED = "torchvision leaves the layers that lost their strides undilated: see dilate_strided"


def ids(case: object) -> str | None:
    return case if isinstance(case, str) else None


def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize(("name", "options", "layout", "build"), WHOLE, ids=ids)
def test_every_name_and_shape(name: str, options: dict[str, Any], layout: str, build: Builder) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name, num_classes=5, **options), build()
    table = {table.name: table for table in layouts_of(ours)}[layout]
    packed = {str(table.key(key)): table.pack(key, tensor) for key, tensor in ours.state_dict().items()}
    assert shapes(packed) == shapes(theirs.state_dict())
    found = recognise(ours, theirs.state_dict(), source="a file")
    assert dict(found.modules) == dict(table.modules)
    unpacked = {key: table.unpack(key, packed[str(table.key(key))], like) for key, like in ours.state_dict().items()}
    assert shapes(unpacked) == shapes(ours.state_dict())


@pytest.mark.parametrize(("name", "options", "layout", "build"), PARTS, ids=ids)
def test_every_name_and_shape_of_encoders(name: str, options: dict[str, Any], layout: str, build: Builder) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name, num_classes=3, **options), build()
    found = recognise(ours, theirs.state_dict(), source="a file", layout=layout)
    assert found.name == layout
    given = theirs.state_dict()
    mapped = {key: theirs_key for key in ours.state_dict() if (theirs_key := found.key(key)) is not None}
    part = "encoder." if "encoder" in options else ("conv", "fc")
    assert {key for key in ours.state_dict() if key.startswith(part)} == set(mapped)
    own = {key: tensor for key, tensor in ours.state_dict().items() if key in mapped}
    assert shapes({key: found.unpack(key, given[mapped[key]], tensor) for key, tensor in own.items()}) == shapes(own)
    assert shapes({mapped[key]: found.pack(key, tensor) for key, tensor in own.items()}) == shapes(
        {key: tensor for key, tensor in given.items() if key in mapped.values()}
    )
    rest = {key.rpartition(".")[0] for key in given.keys() - set(mapped.values())}
    assert rest <= found.ignored


def exchange(ours: Network, theirs: nn.Module, layout: str, folder: Path, size: tuple[int, int]) -> list[str]:
    """Move weights in both directions, compare the answers, and return what was warned of."""
    randomise(theirs, seed=1).eval()
    save_file({key: tensor.contiguous() for key, tensor in theirs.state_dict().items()}, folder / "theirs.safetensors")
    report = anysize.load_weights(ours.eval(), folder / "theirs.safetensors")
    assert len(report.loaded) == len(ours.state_dict())
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = theirs(images)
        assert relative_error(wanted[:1], wanted[1:]) > 1e-3, "answers that images do not change prove nothing"
        assert relative_error(ours(images), wanted) < 1e-5
        randomise(ours, seed=3)
        anysize.save_weights(ours, folder / "ours.safetensors", layout=layout)
        theirs.load_state_dict(load_file(folder / "ours.safetensors"), strict=True)
        assert relative_error(theirs(images), ours(images)) < 1e-5
    return list(report.warnings)


@pytest.mark.parametrize(
    ("name", "layout", "build"),
    [
        ("resnet18", "torchvision", torchvision("resnet18")),
        ("resnet50", "timm", timm("resnet50")),
        ("mobilenet_v2", "timm", timm("mobilenetv2_100")),
        ("mobilenet_v2", "torchvision", torchvision("mobilenet_v2")),
        ("xception41", "timm", timm("xception41")),
    ],
    ids=ids,
)
def test_classifiers_answer_alike(name: str, layout: str, build: Builder, tmp_path: Path) -> None:
    assert exchange(create_model(name, num_classes=5), build(), layout, tmp_path, (45, 38)) == []


def test_xception_answers_like_the_one_of_timm(tmp_path: Path) -> None:
    ours = create_model("xception", num_classes=5, keras_padding=False, norm_eps=1e-5)
    assert exchange(ours, timm("legacy_xception")(), "timm", tmp_path, (72, 61)) == []


@pytest.mark.parametrize(
    ("name", "options", "build"),
    [
        (
            "deeplabv3plus",
            {"encoder": "mobilenet_v2", "dilate_strided": True, "atrous_rates": (12, 24, 36)},
            smp("DeepLabV3Plus", "mobilenet_v2"),
        ),
        ("unet", {"encoder": "resnet18"}, smp("Unet", "resnet18")),
        (
            "deeplabv3plus",
            {"encoder": "xception41", "atrous_rates": (12, 24, 36)},
            smp("DeepLabV3Plus", "tu-xception41"),
        ),
    ],
    ids=ids,
)
def test_segmenters_answer_alike(name: str, options: dict[str, Any], build: Builder, tmp_path: Path) -> None:
    size = (608, 32)  # on a shorter map the rates would see nothing beyond their centres
    assert exchange(create_model(name, num_classes=5, **options), build(), "smp", tmp_path, size) == []


@pytest.mark.parametrize(
    ("name", "options", "build", "warnings"),
    [
        (
            "xception",
            {},
            timm("legacy_xception"),
            [
                "timm pads strided layers alike on both sides, this network as Keras: see keras_padding",
                "timm adds 1e-05 to the variance in batch normalisation, this network 0.001: see norm_eps",
            ],
        ),
        (
            "resnet50",
            {"stride_in_1x1": True, "norm_eps": 1.001e-5},
            torchvision("resnet50"),
            [
                "torchvision has the stride in the 3x3 convolution: see stride_in_1x1",
                "torchvision adds 1e-05 to the variance in batch normalisation, this network 1.001e-05: see norm_eps",
            ],
        ),
        (
            "mobilenet_v2",
            {"keras_padding": True},
            timm("mobilenetv2_100"),
            ["timm pads strided layers alike on both sides, this network as Keras: see keras_padding"],
        ),
        (
            "deeplabv3plus",
            {"encoder": "mobilenet_v2"},
            smp("DeepLabV3Plus", "mobilenet_v2"),
            [
                "smp has atrous_rates=(12, 24, 36), this network (6, 12, 18)",
                "smp dilates the layers that lost their strides: see dilate_strided",
            ],
        ),
        (
            "deeplabv3plus",
            {"encoder": "resnet50", "output_stride": 8, "dilate_strided": True},
            smp("DeepLabV3Plus", "resnet50", encoder_output_stride=8),
            [],
        ),
        ("deeplabv3plus", {"encoder": "resnet50"}, torchvision("resnet50"), []),
        # The classifiers' own dilation, wherever strides are dropped.
        ("resnet18", {"output_stride": 8}, torchvision("resnet18"), []),
        ("resnet18", {"dilate_strided": True}, torchvision("resnet18"), []),
        ("resnet18", {"output_stride": 8, "dilate_strided": True}, torchvision("resnet18"), [UNDILATED]),
        ("resnet50", {"output_stride": 16, "dilate_strided": True}, torchvision("resnet50"), [UNDILATED]),
        (
            "resnet50",
            {"output_stride": 8, "dilate_strided": True, "stride_in_1x1": True},
            torchvision("resnet50"),
            ["torchvision has the stride in the 3x3 convolution: see stride_in_1x1"],
        ),
        ("mobilenet_v2", {"output_stride": 16}, torchvision("mobilenet_v2"), []),
        ("mobilenet_v2", {"output_stride": 16, "dilate_strided": True}, torchvision("mobilenet_v2"), [UNDILATED]),
        ("deeplabv3plus", {"encoder": "resnet18", "dilate_strided": True}, torchvision("resnet18"), [UNDILATED]),
        (
            "mobilenet_v2",
            {"output_stride": 8, "dilate_strided": True},
            timm("mobilenetv2_100"),
            ["timm leaves the layers that lost their strides undilated: see dilate_strided"],
        ),
        (
            "xception65",
            {"norm_eps": 1e-5},
            timm("xception65"),
            ["timm adds 0.001 to the variance in batch normalisation, this network 1e-05: see norm_eps"],
        ),
    ],
)
def test_options_that_no_name_tells_of(name: str, options: dict[str, Any], build: Builder, warnings: list[str]) -> None:
    with torch.device("meta"):
        ours, theirs = create_model(name, num_classes=5, **options), build()
    assert list(recognise(ours, theirs.state_dict(), source="a file").warnings) == warnings
    # A file that says that it is ours has nothing of theirs.
    assert recognise(ours, ours.state_dict(), source="a file", marked="anysize").warnings == ()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_what_timm_says_of_them(name: str) -> None:
    library, published = import_zoo("timm"), PUBLISHED[name]
    told = library.get_pretrained_cfg(name)
    assert published.source == f"hf-hub:{told.hf_hub_id}"
    assert (published.licence, told.num_classes) == (told.license, 1000)
    assert published.mean == pytest.approx([255 * value for value in told.mean])
    assert published.std == pytest.approx([255 * value for value in told.std])
    with torch.device("meta"):
        ours, theirs = create_model(published.model, num_classes=1000), library.create_model(name)
    table = recognise(ours, theirs.state_dict(), source=name, layout="timm")
    assert {table.key(key) for key in ours.state_dict()} == theirs.state_dict().keys()
    assert table.warnings == ()


def test_dense_layers_become_convolutions(tmp_path: Path) -> None:
    # VGG-16 a thirty-second as wide: the real one has half a gigabyte of weights.
    ours = create_model("fcn32s", num_classes=5, width=2).eval()
    vgg = import_zoo("torchvision").models.vgg
    narrow = [width if isinstance(width, str) else width // 32 for width in vgg.cfgs["D"]]
    theirs = nn.Module()
    theirs.features = vgg.make_layers(narrow)
    theirs.classifier = nn.Sequential(
        *(nn.Linear(16 * 49, 128), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 7)),
    )
    randomise(theirs, seed=1).eval()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    report = anysize.load_weights(ours, tmp_path / "theirs.safetensors", head="new")
    assert report.layout == "torchvision"
    assert set(report.unused) == {"classifier.6.weight", "classifier.6.bias"}
    assert set(report.left_new) == {"score_fr.weight", "score_fr.bias", "upscore.weight"}
    maps = torch.randn(1, 16, 7, 7)
    with torch.no_grad():
        assert relative_error(ours.fc7(ours.fc6(maps).relu()).flatten(1), theirs.classifier[:4](maps.flatten(1))) < 1e-5
        images = torch.rand(1, 3, 224, 224)
        ours.conv1_1.padding = (1, 1)  # 100 in the paper
        assert relative_error(ours.features(images)[1], theirs.features[:24](images)) < 1e-5
    anysize.save_weights(ours, tmp_path / "ours.safetensors", layout="torchvision")
    wanted = {key: tensor for key, tensor in theirs.state_dict().items() if not key.startswith("classifier.6")}
    saved = load_file(tmp_path / "ours.safetensors")
    assert saved.keys() == wanted.keys()
    assert all(torch.equal(saved[key], tensor) for key, tensor in wanted.items())
