"""Summaries: against counts by hand, by torch itself, and those that others have published."""

import copy
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anysize.errors import ImageSizeError
from anysize.models.named import import_zoo, named_model
from anysize.models.probe import SmallestImage
from anysize.models.summary.costs import count_costs
from anysize.models.summary.counts import count_parameters
from anysize.models.summary.field import ReceptiveField
from anysize.models.summary.layers import Layer, list_layers
from anysize.models.summary.published import find_published
from anysize.models.summary.report import NetworkSummary, summarise
from anysize.models.summary.text import field_text, layer_lines, stride_text, total_lines


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return named_model(name, **options).eval()


def summary_of(name: str, size: tuple[int, int] = (64, 64), **options: Any) -> NetworkSummary:
    model = on_meta(name, **options)
    return summarise(
        model,
        name=name,
        num_classes=options.get("num_classes", 10),
        in_channels=options.get("in_channels", 3),
        size=size,
    )


def small_network() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2),  # 6 x 1 x 3 x 3 weights
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, stride=2, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    model[3].weight.requires_grad_(False)
    return model


def test_counts_by_hand() -> None:
    told = summarise(small_network(), name="small", num_classes=5, in_channels=2, size=(8, 12))
    assert told.counts.parameters == (6 * 9 + 6) + 2 * 6 + 6 * 4 * 4 + (4 * 5 + 5) == 193
    assert told.counts.trainable == 193 - 96
    assert told.counts.buffers == 12
    assert told.counts.all_parameters == 205
    assert told.counts.float32_bytes == 4 * 205 + 8  # and the integer that counts batches
    positions = 4 * 6
    assert told.costs.multiply_adds == positions * 6 * 9 + positions * 6 * 4 * 4 + 4 * 5
    assert told.field == ReceptiveField(of="last map", size=(3, 3), stride=(1, 1), whole_image=True)
    assert told.smallest == SmallestImage(side=1)


def test_memory_by_hand() -> None:
    costs = count_costs(small_network().to("meta").eval(), 2, (8, 12))
    image, maps, doubled = 2 * 8 * 12, 6 * 4 * 6, 4 * 8 * 12
    # Kept: the image, what batch normalisation and the ReLU need, and the input of the linear layer; the transposed
    # convolution is frozen and needs none, the pool no more than its shape.
    assert costs.training_bytes == 4 * (image + maps + maps + 4)
    # At most: the maps before and behind the transposed convolution, and the image, which the caller holds.
    assert costs.evaluation_bytes == 4 * (image + maps + doubled)


@pytest.mark.parametrize("name", ["fcn_small", "resnet9"])
def test_memory_kept_for_the_backward_pass_is_what_torch_keeps(name: str) -> None:
    model = named_model(name).train()
    counted = count_costs(copy.deepcopy(model).to("meta").eval(), 3, (64, 96)).training_bytes

    def kept(num_images: int) -> int:
        saved: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            return saved.setdefault(tensor.data_ptr(), tensor)

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.rand(num_images, 3, 64, 96))
        own = {parameter.data_ptr() for parameter in (*model.parameters(), *model.buffers())}
        return sum(tensor.nbytes for place, tensor in saved.items() if place not in own)

    assert counted == kept(4) - kept(3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "vgg16"])
@pytest.mark.filterwarnings("ignore")  # not ours
@pytest.mark.slow
def test_torchvision_publishes_the_same_counts(name: str) -> None:
    models: Any = import_zoo("torchvision").models
    published = models.get_model_weights(name).IMAGENET1K_V1.meta
    names = [f"torchvision:{name}", *([] if name == "vgg16" else [name])]
    for own in names:
        model = on_meta(own, num_classes=1000)
        assert sum(parameter.numel() for parameter in model.parameters()) == published["num_params"]
        billions = count_costs(model, 3, (224, 224)).multiply_adds / 1e9
        assert billions == pytest.approx(published["_ops"], abs=0.00051)


@pytest.mark.parametrize(
    ("name", "options", "keras"),
    [
        ("xception", {}, 22_910_480),
        ("mobilenet_v2", {}, 3_538_984),
        ("resnet50", {"stride_in_1x1": True, "conv_bias": True}, 25_636_712),
    ],
)
def test_keras_publishes_the_same_counts(name: str, options: dict[str, Any], keras: int) -> None:
    assert count_parameters(on_meta(name, num_classes=1000, **options)).all_parameters == keras


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_inception_resnet_v2_has_what_keras_counts_and_its_scales() -> None:
    import_zoo("timm")
    told = count_parameters(on_meta("timm:inception_resnet_v2", num_classes=1000))
    assert told.parameters == 55_843_464
    # Keras leaves the scales of batch normalisation out; there are half as many as statistics.
    assert told.all_parameters - told.buffers // 2 == 55_873_736


class Parts(nn.Module):
    """A container that never runs itself, before another layer in the forward pass and behind it by name."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.ReLU()
        self.blocks = nn.ModuleList([nn.Identity(), nn.Conv2d(1, 2, 3, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.blocks[1](x))
        return x.mean((2, 3)) if x.shape[2] > 100 else x


def test_containers_that_never_run_come_where_their_layers_do() -> None:
    layers = list_layers(Parts().to("meta").eval(), 1, (8, 8))
    assert [(layer.name, layer.shape) for layer in layers] == [
        ("", ("?",)),
        ("blocks", None),
        ("blocks.1", ("N", 2, "?", "?")),
        ("last", ("N", 2, "?", "?")),
    ]
    assert layer_lines(layers)[1] == "(network)  Parts       ?"


class Shared(nn.Module):
    """A layer that runs twice, one that never runs, and one that is known by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Conv2d(1, 2, 1)
        self.last = nn.Linear(4, 4)
        self.same = self.last
        self.relu = nn.ReLU()
        self.first = nn.Conv2d(1, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.relu(self.first(x)))
        return self.last(x.mean((2, 3)))


def test_layers_in_the_order_in_which_they_run() -> None:
    layers = list_layers(Shared().to("meta").eval(), 1, (8, 8))
    assert [(layer.name, layer.calls, layer.shape, layer.parameters) for layer in layers] == [
        ("", 1, ("N", 4), 36 + 20 + 4),
        ("first", 1, ("N", 4, "?", "?"), 36),
        ("relu", 2, ("N", 4, "?", "?"), 0),
        ("last", 1, ("N", 4), 20),
        ("unused", 0, None, 4),
    ]


def test_the_table_of_layers() -> None:
    layers = summary_of("fcn_small", num_classes=3, in_channels=1).layers
    assert layer_lines(layers) == [
        "layer       kind               output          parameters",
        "(network)   FcnSmall           N x 3",
        "  features  Sequential         N x 32 x ? x ?",
        "    0       Conv2d             N x 32 x ? x ?         320",
        "    1       ReLU               N x 32 x ? x ?           0",
        "    2       MaxPool2d          N x 32 x ? x ?           0",
        "    3       Conv2d             N x 32 x ? x ?       9,248",
        "    4       MaxPool2d          N x 32 x ? x ?           0",
        "  head      Sequential         N x 3 x ? x ?",
        "    0       Conv2d             N x 16 x ? x ?         528",
        "    1       ReLU               N x 16 x ? x ?           0",
        "    2       Conv2d             N x 8 x ? x ?          136",
        "    3       ReLU               N x 8 x ? x ?            0",
        "    4       Conv2d             N x 3 x ? x ?           27",
        "    5       ReLU               N x 3 x ? x ?            0",
        "  pool      AdaptiveAvgPool2d  N x 3 x 1 x 1            0",
    ]
    assert layer_lines(layers, depth=1, width=50) == [
        "layer       kind          output          parameters",
        "(network)   FcnSmall      N x 3",
        "  features  Sequential    N x 32 x ? x ?       9,568",
        "  head      Sequential    N x 3 x ? x ?          691",
        "  pool      Adapti…ool2d  N x 3 x 1 x 1            0",
        "(folded at depth 1 of 2; --depth 2 shows all)",
    ]


@pytest.fixture(scope="module")
def layers_of_resnet50() -> list[Layer]:
    return list_layers(on_meta("resnet50", num_classes=1000), 3, (64, 64))


@pytest.mark.parametrize("depth", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("width", [None, 120, 80])
def test_however_it_is_folded_the_parameters_add_up(
    depth: int | None, width: int | None, layers_of_resnet50: list[Layer]
) -> None:
    lines = layer_lines(layers_of_resnet50, depth=depth, width=width)
    counts = [found[1] for line in lines if (found := re.search(r"  ([\d,]+)$", line))]
    assert sum(int(count.replace(",", "")) for count in counts) == 25_557_032
    assert width is None or max(map(len, lines)) <= width
    if depth is None:
        assert len(lines) <= 50


def test_the_facts_beside_the_table() -> None:
    assert total_lines(summary_of("resnet9", (224, 224), num_classes=1000)) == [
        "parameters       1,900,552 (trainable 1,900,552, frozen 0)",
        "buffers          2,240; parameters and buffers 1,902,792",
        "file             7.61 MB in float32",
        "receptive field  the whole image (last map: 111x111)",
        "stride           16 (last map)",
        "smallest image   1x1",
        "",
        "one image of 224x224, float32",
        "multiply-adds    647 M, of convolutions and matrix products",
        "training         11.4 MB of activations kept for the backward pass",
        "evaluation       3.81 MB of activations at once, at most",
    ]


@pytest.mark.parametrize(
    ("field", "told", "stride"),
    [
        (ReceptiveField(of="output", size=(563, 563), stride=(1, 1)), "563x563", "1"),
        (ReceptiveField(of="output", size=(9, 12), stride=(4, 0.5)), "9x12", "4x1/2"),
        (
            ReceptiveField(of="output", size=(9, 9), stride=(1, 1), whole_image=True),
            "the whole image (9x9 without what is pooled over it)",
            "1",
        ),
        (
            ReceptiveField(of="last map", size=(9, 9), stride=(2, 2), share_of_image=True),
            "a grid over the whole image (last map: 9x9)",
            "2 (last map)",
        ),
        (ReceptiveField(of="nothing", unknown="behind roll in layers.0"), "unknown behind roll in layers.0", "-"),
        (
            ReceptiveField(of="nothing", unknown="larger than 4,096 pixels", whole_image=True),
            "the whole image (locally unknown: larger than 4,096 pixels)",
            "-",
        ),
        (ReceptiveField(of="nothing"), "nothing", "-"),
    ],
)
def test_fields_in_words(field: ReceptiveField, told: str, stride: str) -> None:
    assert field_text(field) == told
    assert stride_text(field) == stride


def test_an_image_too_small() -> None:
    with pytest.raises(ImageSizeError) as caught:
        summary_of("fcn_small", (3, 300))
    assert str(caught.value) == "--size is 3x300; fcn_small needs at least 4x4\nhint: --size 4x4, or larger"


def test_a_network_of_one_size_says_so_itself() -> None:
    told = summary_of("mnist_dense", (28, 28), in_channels=1)
    assert told.smallest == SmallestImage(side=28, only=True)
    assert told.field == ReceptiveField(of="last map", size=(3, 3), stride=(1, 1), whole_image=True)
    with pytest.raises(ImageSizeError, match=r"^mnist_dense was given images of 27x28 "):
        summary_of("mnist_dense", (27, 28), in_channels=1)


def test_the_model_stays_as_it_is() -> None:
    model = named_model("resnet9").double().train()
    before = copy.deepcopy(model.state_dict())
    summarise(model, name="resnet9", num_classes=10, in_channels=3, size=(32, 32))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_published_accuracies_have_a_source() -> None:
    xception = find_published("xception")
    assert xception is not None
    assert (xception.top1, xception.resolution, xception.source) == (79.0, 299, "keras.io/api/applications")
    assert find_published("fcn_small") is None


def test_a_tag_has_only_its_own_accuracy() -> None:
    found = find_published("timm:xception65")
    assert found is not None
    assert found.source == "timm results-imagenet.csv, xception65.tf_in1k"
    assert find_published("timm:xception65.tf_in1k") == found
    for name in ("timm:xception65.ra3_in1k", "timm:inception_resnet_v2.tf_ens_adv_in1k", "timm:xception65.in1k"):
        assert find_published(name) is None
    for path in ("resnet50.safetensors", "runs/resnet50", "./resnet50"):
        assert find_published(path) is None


@pytest.fixture(scope="module")
def networks_table() -> ModuleType:
    path = Path(__file__).parents[2] / "docs" / "networks_table.py"
    spec = importlib.util.spec_from_file_location("networks_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_small_networks_of_the_table_are_fresh(networks_table: ModuleType) -> None:
    names = ["fcn_small", "mnist_anysize", "mnist_dense", "mnist_fcn", "resnet9"]
    assert networks_table.stale(names) == [], "run `make docs`"


@pytest.mark.filterwarnings("ignore")  # of other libraries
@pytest.mark.slow
def test_the_table_of_networks_is_fresh(networks_table: ModuleType) -> None:
    assert networks_table.stale([]) == [], "run `make docs`"


def test_what_is_stale_in_the_table_is_found(
    networks_table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(networks_table, "TABLE", tmp_path / "networks.md")
    names = ["mnist_dense", "fcn_small"]
    text = networks_table.page(list(networks_table.described(names, speed=False)))
    networks_table.TABLE.write_text(text, encoding="utf-8")
    networks_table.main(["--check", *names])
    changed = text.replace("| 28 only |", "| 29 |").replace("| - | - |", "| 1,234 | - |")  # images/s is no matter
    networks_table.TABLE.write_text(changed, encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        networks_table.main(["--check", *names, "resnet9"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "mnist_dense: smallest is 29, and should be 28 only",
        "resnet9 has no row",
    ]
