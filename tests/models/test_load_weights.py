"""Weights into networks: all that was asked for, or nothing and an error that says what to do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import anysize
from anysize.errors import AnysizeError, CheckpointError, UsageError
from anysize.models import create_model, list_models
from anysize.models.named import import_zoo
from anysize.models.weights import layouts as layout_tables
from anysize.models.weights import loading
from anysize.models.weights.layouts import OURS, Layout, layouts_of, own_modules
from anysize.models.weights.stem import adapt_stem
from oracle import randomise, relative_error

# Small ones of the same kind: what is moved is names.
SMALL: dict[str, dict[str, Any]] = {
    "deeplabv3plus": {"encoder_width": 0.125, "channels": 16},
    "fcn16s": {"width": 2},
    "fcn32s": {"width": 2},
    "fcn8s": {"width": 2},
    "mobilenet_v2": {"width": 0.25},
    "resnet9": {"width": 4},
    "resnet18": {"width": 0.125},
    "resnet50": {"width": 0.125},
    "unet": {"encoder_width": 0.125},
    "xception41": {"width": 0.125},
    "xception65": {"width": 0.125},
    "xception71": {"width": 0.125},
}


def small(name: str = "resnet18", num_classes: int = 5, in_channels: int = 3, seed: int = 0) -> Any:
    model = create_model(name, num_classes=num_classes, in_channels=in_channels, **SMALL.get(name, {}))
    return randomise(model, seed=seed).eval()


def write(tensors: dict[str, Tensor] | nn.Module, path: Path) -> Path:
    if isinstance(tensors, nn.Module):
        tensors = tensors.state_dict()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def same(first: nn.Module | dict[str, Tensor], second: nn.Module | dict[str, Tensor]) -> bool:
    one, other = (x.state_dict() if isinstance(x, nn.Module) else x for x in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def failure(model: nn.Module, source: Any, kind: type[AnysizeError] = CheckpointError, **options: Any) -> str:
    """Return the error, and check that nothing was loaded."""
    before = copied(model)
    with pytest.raises(kind) as caught:
        anysize.load_weights(model, source, **options)
    assert same(before, model), "an error leaves the network as it was"
    return str(caught.value)


@pytest.mark.parametrize("name", list_models())
def test_every_network_through_every_layout(name: str, tmp_path: Path) -> None:
    original = small(name, in_channels=2)
    other = small(name, in_channels=2, seed=1)
    wanted, layouts = copied(original), layouts_of(original)
    assert layouts[0].name == OURS
    for layout in layouts:
        path = tmp_path / f"{layout.name}.safetensors"
        anysize.save_weights(original, path, layout=layout.name)
        assert set(load_file(path)) == {layout.key(key) for key in wanted} - {None}
        is_part = len(layout.modules) < len(layouts[0].modules)
        randomise(other, seed=1)
        before = copied(other)
        report = anysize.load_weights(other, path, head="new" if is_part else "load")
        assert len(report.loaded) + len(report.left_new) == len(before)
        assert report.unused == ()
        assert not report.adapted
        for key, tensor in other.state_dict().items():
            assert torch.equal(tensor, before[key] if key in report.left_new else wanted[key]), key
        assert bool(report.left_new) == is_part
        assert is_part or same(other, original)


@pytest.mark.slow
def test_files_of_keras(tmp_path: Path) -> None:
    original, other = small("mnist_fcn"), small("mnist_fcn", seed=1)
    for suffix in (".h5", ".weights.h5", ".keras"):
        anysize.save_weights(original, tmp_path / f"a{suffix}")
        randomise(other, seed=1)
        report = anysize.load_weights(other, tmp_path / f"a{suffix}")
        assert report.layout == "keras"
        assert same(other, original)
    path = tmp_path / "a.h5"
    (head,) = other.head_names
    assert failure(small("mnist_fcn", num_classes=7), path).splitlines()[1:] == [
        f"  {head}.weight has 5 classes, the network has 7",
        f'hint: head="new" loads all others, and leaves {head} as in the network',
    ]
    message = "layout is 'timm'; it must be None or 'keras'"
    assert failure(other, path, UsageError, layout="timm") == message


def test_the_report(tmp_path: Path) -> None:
    path = write(small(num_classes=7), tmp_path / "seven.safetensors")
    model = small(in_channels=4, seed=1)
    before = copied(model)
    report = anysize.load_weights(model, str(path), head="new", stem="adapt")
    assert report.source == str(path)
    assert report.path == path
    assert report.layout == "torchvision"
    assert report.left_new == report.unused == ("fc.weight", "fc.bias")
    assert report.adapted == {"conv1.weight": "3 channels -> 4 channels, the further ones zero"}
    assert report.lines() == [
        f"119 of 122 tensors loaded from {path} (names of torchvision)",
        "conv1.weight adapted: 3 channels -> 4 channels, the further ones zero",
        "left as they were: fc (2 tensors)",
        "not used: fc (2 tensors)",
    ]
    after = model.state_dict()
    assert {key for key in after if torch.equal(after[key], before[key])} >= {"fc.weight", "fc.bias"}
    theirs = load_file(path)
    assert set(report.loaded) == theirs.keys() - {"fc.weight", "fc.bias", "conv1.weight"}
    assert all(torch.equal(after[key], theirs[key]) for key in report.loaded)


def test_counters_and_dtypes(tmp_path: Path) -> None:
    tensors = {key: t.half() for key, t in copied(small()).items() if not key.endswith("num_batches_tracked")}
    model = small(seed=1).double()
    model.bn1.num_batches_tracked.fill_(9)
    report = anysize.load_weights(model, write(tensors, tmp_path / "half.safetensors"))
    assert report.notes == (
        "20 num_batches_tracked are not in the file: they begin at 0",
        "converted from float16 to float64",
    )
    assert report.lines()[1:] == list(report.notes)
    assert all(torch.equal(model.state_dict()[key], tensor.double()) for key, tensor in tensors.items())
    assert int(model.bn1.num_batches_tracked) == 0


def test_other_classes_and_channels(tmp_path: Path) -> None:
    path = write(small(num_classes=7), tmp_path / "a.safetensors")
    wrong = f"the weights in {path} do not fit the network:\n  "
    head = 'head="new" loads all others, and leaves fc as in the network'
    classes = "fc.weight has 7 classes, the network has 5"
    assert failure(small(), path) == f"{wrong}{classes}\nhint: {head}"
    assert failure(small(in_channels=4), path, head="new") == (
        f"{wrong}conv1.weight takes 3 channels, the network has 4\n"
        'hint: stem="adapt" keeps what it answers to its 3 channels'
    )
    assert failure(small(in_channels=1), path) == (
        f"{wrong}{classes}\n  conv1.weight takes 3 channels, the network has 1\n"
        f'hint: {head}; stem="adapt" adds its channels up'
    )
    for stem in ("load", "adapt"):  # which two to keep is nobody's choice but the user's
        assert failure(small(in_channels=2), path, head="new", stem=stem) == (
            f"{wrong}conv1.weight takes 3 channels, the network has 2\n"
            'hint: stem="repeat" takes its 3 channels in turn, scaled'
        )
    tensors = load_file(path)
    del tensors["fc.weight"], tensors["fc.bias"]
    headless = write(tensors, tmp_path / "headless.safetensors")
    assert failure(small(), headless) == (
        f"the weights in {headless} do not fit the network:\n  missing: fc.weight\n  missing: fc.bias\nhint: {head}"
    )
    assert anysize.load_weights(small(), headless, head="new").unused == ()


def test_encoders(tmp_path: Path) -> None:
    timm = import_zoo("timm")
    theirs = randomise(timm.create_model("resnet18"), seed=3)
    path = write(theirs, tmp_path / "timm.safetensors")
    model = create_model("unet", num_classes=4, encoder="resnet18")
    assert failure(model, path) == (
        f"the weights in {path} do not fit the network:\n"
        "  they are of a part only, as torchvision names it: there is nothing for decoder, segmentation_head\n"
        'hint: head="new" loads all others, and leaves decoder, segmentation_head as in the network'
    )
    report = anysize.load_weights(model, path, head="new")
    assert report.lines() == [
        f"120 of 182 tensors loaded from {path} (names of torchvision)",
        "left as they were: decoder, segmentation_head (62 tensors)",
        "not used: fc (2 tensors)",
    ]
    images = torch.rand(1, 3, 64, 64)
    model.eval()
    theirs.eval()
    with torch.no_grad():
        assert relative_error(model.encoder.pyramid(images)[-1], theirs.forward_features(images)) < 1e-5


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 4), (3, 7), (3, 6), (1, 4), (4, 1), (2, 5)])
def test_adapted_stems_answer_alike(before: int, after: int, tmp_path: Path) -> None:
    original, model = (small("resnet18", in_channels=channels).double() for channels in (before, after))
    anysize.save_weights(original, tmp_path / "a.safetensors")
    report = anysize.load_weights(model, tmp_path / "a.safetensors", stem="adapt")
    assert list(report.adapted) == ["conv1.weight"]
    images = torch.rand(2, min(before, after), 40, 33, dtype=torch.float64)
    few, many = (original, model) if before < after else (model, original)
    if after == 1 or before == 1:  # copies of a grey image
        pairs = [(images, images.expand(-1, max(before, after), -1, -1))]
    else:  # whatever the further channels hold
        further = torch.rand(2, after - before, 40, 33, dtype=torch.float64)
        pairs = [(images, torch.cat([images, further], 1))]
    with torch.no_grad():
        for one, other in pairs:
            assert relative_error(few(one), many(other)) < 1e-12


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_repeated_stems_are_those_of_timm(channels: int) -> None:
    adapt_input_conv = import_zoo("timm").models.adapt_input_conv
    weight = torch.randn(8, 3, 5, 5)
    adapted, _ = adapt_stem(weight, channels, "repeat") or (None, "")
    assert adapted is not None
    torch.testing.assert_close(adapted, adapt_input_conv(channels, weight), rtol=1e-6, atol=1e-6)


def test_a_wrong_file_says_what_it_is(tmp_path: Path) -> None:
    timm = import_zoo("timm")
    with torch.device("meta"):
        theirs = timm.create_model("mobilenetv2_100").state_dict()
    path = write({key: torch.zeros(t.shape, dtype=t.dtype) for key, t in theirs.items()}, tmp_path / "a.safetensors")
    lines = failure(create_model("resnet18", num_classes=1000), path).splitlines()
    assert lines[0] == f"the weights in {path} do not fit the network:"
    assert lines[-1] == "hint: they are the weights of mobilenet_v2, in the names of timm"
    kinds = [line.split()[0] for line in lines[1:-2]]
    counts = {kind: kinds.count(kind) for kind in ("missing:", "unexpected:")}
    assert len(kinds) == 20
    assert counts == {"missing:": 8, "unexpected:": 8}  # and all four of another shape
    assert lines[-2].startswith("  ... and ")


def test_files_that_are_almost_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "list_models", lambda: ["fcn_small", "resnet9"])  # to build all takes seconds
    tensors = copied(small("resnet9"))
    stranger, shorter = tmp_path / "stranger.safetensors", tmp_path / "shorter.safetensors"
    write(tensors | {"features.0.0.bias": torch.zeros(4)}, stranger)
    none = "hint: they are those of no network of this library with its default options"
    assert failure(small("resnet9"), stranger, layout=OURS).splitlines()[1:-1] == ["  unexpected: features.0.0.bias"]
    del tensors["features.1.1.bias"]
    tensors["features.1.1.weight"] = torch.zeros(3)
    tensors["features.1.1.running_var"] = torch.zeros(8, dtype=torch.int64)
    write(tensors, shorter)
    assert failure(small("resnet9"), shorter) == (
        f"the weights in {shorter} do not fit the network:\n"
        "  missing: features.1.1.bias\n"
        "  features.1.1.weight has shape (3,), the network's is (8,)\n"
        f"  features.1.1.running_var holds int64, the network's holds float32\n{none}"
    )
    default = write(create_model("resnet9", num_classes=5), tmp_path / "default.safetensors")
    hint = "they are the weights of resnet9 with its default options"
    assert failure(small("resnet9"), default).endswith(f"\nhint: {hint}")


def test_names_that_can_be_read_in_two_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    def tables(network: nn.Module) -> list[Layout]:
        return [
            Layout(name=OURS, modules={name: name for name in own_modules(network)}),
            Layout(name="mirrored", modules={"0": "1", "1": "0"}),
        ]

    monkeypatch.setattr(layout_tables, "layouts_of", tables)
    path = write(model, tmp_path / "a.safetensors")
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert failure(other, path) == (
        f"the names in {path} fit the layouts anysize and mirrored, which place its tensors differently\n"
        "hint: say which: layout='anysize'"
    )
    assert anysize.load_weights(other, path, layout="mirrored").layout == "mirrored"
    assert torch.equal(other[0].weight, model[1].weight)
    anysize.load_weights(other, path, layout=OURS)
    assert same(other, model)


def test_networks_of_ones_own(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    anysize.save_weights(model, tmp_path / "a.safetensors")
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert anysize.load_weights(other, tmp_path / "a.safetensors").layout == OURS
    assert same(model, other)


def test_arguments(tmp_path: Path) -> None:
    path = write(small(), tmp_path / "a.safetensors")
    model = small()
    assert failure(model, path, UsageError, head="newish") == "head is 'newish'; it must be 'load' or 'new'"
    assert failure(model, path, UsageError, stem="zero") == "stem is 'zero'; it must be 'load' or 'adapt' or 'repeat'"
    assert failure(model, path, UsageError, layout="smp") == (
        "Resnet18 has no layout 'smp'; its layouts are anysize, torchvision, timm"
    )
    with torch.device("meta"):
        empty = create_model("resnet9", num_classes=5)
    with pytest.raises(UsageError) as caught:
        anysize.load_weights(empty, path)
    assert str(caught.value) == (
        "the network is on the meta device and holds no numbers\nhint: model.to_empty(device='cpu')"
    )
    with pytest.raises(UsageError) as caught:
        anysize.save_weights(model, tmp_path / "a.onnx")
    assert str(caught.value) == (
        f"{tmp_path / 'a.onnx'} is no file of weights: its name ends in '.onnx'\n"
        "hint: one of .safetensors, .h5, .hdf5, .keras"
    )
    with pytest.raises(UsageError) as caught:
        anysize.save_weights(model, tmp_path / "b.safetensors", layout="keras")
    assert str(caught.value) == (
        "Resnet18 has no layout 'keras'; its layouts are anysize, torchvision, timm\n"
        "hint: a file for Keras ends in .h5 or .keras"
    )
    with pytest.raises(UsageError) as caught:
        anysize.save_weights(model, tmp_path / "b.h5", layout="timm")
    assert str(caught.value) == f"{tmp_path / 'b.h5'} is a file of Keras; it cannot be in the layout 'timm'"
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_networks_made_with_weights(tmp_path: Path) -> None:
    path = write(small("resnet9", num_classes=7), tmp_path / "seven.safetensors")
    options: dict[str, Any] = {"weights": path, "width": 4}
    assert same(create_model("resnet9", num_classes=7, **options), small("resnet9", num_classes=7))
    with pytest.raises(CheckpointError) as caught:
        create_model("resnet9", num_classes=2, **options)
    assert str(caught.value) == (
        f"the weights in {path} do not fit the network:\n"
        "  classifier.weight has 7 classes, the network has 2\n"
        'hint: head="new" loads all others, and leaves classifier as in the network'
    )
    torch.manual_seed(0)
    random = create_model("resnet9", num_classes=2, in_channels=5, width=4)
    torch.manual_seed(0)
    model = create_model("resnet9", num_classes=2, in_channels=5, head="new", stem="adapt", **options)
    assert torch.equal(model.classifier.weight, random.classifier.weight)
    assert torch.equal(model.features[0][0].weight[:, :3], load_file(path)["features.0.0.weight"])
    with pytest.raises(UsageError) as caught:
        create_model("resnet9", num_classes=2, head="new")
    assert str(caught.value) == "head is 'new' and stem 'load', but there are no weights\nhint: weights=SOURCE"


def test_what_is_worth_a_warning(tmp_path: Path) -> None:
    timm = import_zoo("timm")
    path = write(timm.create_model("mobilenetv2_100", num_classes=5), tmp_path / "a.safetensors")
    text = "timm pads strided layers alike on both sides, this network as Keras: see keras_padding"
    with pytest.warns(UserWarning, match=f"^{text}$"):
        create_model("mobilenet_v2", num_classes=5, weights=path, keras_padding=True)
    model = create_model("mobilenet_v2", num_classes=5, keras_padding=True)
    report = anysize.load_weights(model, path)
    assert report.warnings == (text,)
    assert report.lines()[-1] == f"warning: {text}"


def test_tied_weights_are_written_under_each_name(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        model[2].bias = nn.Parameter(model[1].bias.detach().flip(0))
        model[2].weight = nn.Parameter(model[0].weight.detach()[:, :])  # another parameter, the same numbers
        return model

    original, other = tied(), tied()
    anysize.save_weights(original, tmp_path / "a.safetensors")
    saved = load_file(tmp_path / "a.safetensors")
    assert same(saved, original)
    anysize.load_weights(other, tmp_path / "a.safetensors")
    assert same(other, original)
    assert other[0].weight is other[1].weight
    apart = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    anysize.load_weights(apart, tmp_path / "a.safetensors")
    assert same(apart, original)
    assert original[0].weight is original[1].weight, "saving unties nothing"
