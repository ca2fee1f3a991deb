"""FCN-32s, FCN-16s and FCN-8s against the paper, VGG-16 and bilinear interpolation."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from anysize.errors import UsageError
from anysize.models import Network, create_model, load_weights, smallest_side
from anysize.models.convolutional import convolutionalize
from anysize.models.named import import_zoo
from anysize.models.zoo.fcn_vgg import bilinear_filter, vgg16_names
from anysize.ragged import verify
from oracle import randomise

NAMES = ("fcn32s", "fcn16s", "fcn8s")
# VGG-16 by hand: 13 convolutions of 3x3, fc6 over 7x7x512, fc7.
CHANNELS = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
CONVOLUTIONS = sum(9 * a * b + b for a, b in itertools.pairwise(CHANNELS))
DENSE = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096


def build(name: str, **options: object) -> Network:
    return create_model(name, num_classes=3, in_channels=2, width=2, **options).double().eval()


def test_parameters() -> None:
    trunk = CONVOLUTIONS + DENSE
    assert trunk == 138_357_544 - 1000 * 4097  # Simonyan and Zisserman's 138 million, without their last layer
    score_fr = 21 * 4097
    assert trunk + score_fr == 134_346_581  # table 1: 134 million
    upsampling = {"fcn32s": [64], "fcn16s": [4, 32], "fcn8s": [4, 4, 16]}
    skips = {"fcn32s": 0, "fcn16s": 21 * 513, "fcn8s": 21 * 513 + 21 * 257}
    for name in NAMES:
        with torch.device("meta"):
            model = create_model(name, num_classes=21)
            freed = create_model(name, num_classes=21, fixed_upsampling=False)
        ups = [21 * 21 * kernel**2 for kernel in upsampling[name]]
        assert sum(p.numel() for p in model.parameters()) == trunk + score_fr + skips[name] + sum(ups)
        frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
        assert frozen == [f"{model.head_names[-1]}.weight"]
        assert model.get_parameter(frozen[0]).numel() == ups[-1]
        assert all(p.requires_grad for p in freed.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_output_has_the_size_of_the_image(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=3, width=1)
        assert smallest_side(model, 3) == 1
        sides = (1, 2, 25, 26, 27, 31, 32, 33, 58, 59, 224, 500)
        for height, width in zip(sides, reversed(sides), strict=True):
            pool3, pool4, dense = model.features(torch.empty(1, 3, height, width))
            # Caffe rounds up; 6 are lost to the 7x7 window.
            assert pool3.shape[2:] == tuple(math.ceil((side + 198) / 8) for side in (height, width))
            assert pool4.shape[2:] == tuple(math.ceil((side + 198) / 16) for side in (height, width))
            assert dense.shape[2:] == tuple(math.ceil((side + 198) / 32) - 6 for side in (height, width))
            assert model(torch.empty(1, 3, height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("name", NAMES)
def test_exact(name: str) -> None:
    report = verify(build(name), sizes=[(3, 7), (27, 26), (33, 20)], dtype=torch.float64)
    assert report.exact, str(report)
    assert {entry.mode for entry in report.entries} == {"evaluation", "training"}


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 16, 32, 64])
def test_bilinear_filter(kernel: int) -> None:
    """Against the formula of the reference (surgery.upsample_filt), written for each element."""
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 == 1 else factor - 0.5
    for i in range(kernel):
        for j in range(kernel):
            expected = (1 - abs(i - centre) / factor) * (1 - abs(j - centre) / factor)
            assert float(bilinear_filter(kernel)[i, j]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_upsampling_starts_bilinear(name: str) -> None:
    model = build(name)
    ups = {n: m for n, m in model.named_modules() if isinstance(m, nn.ConvTranspose2d)}
    assert len(ups) == NAMES.index(name) + 1
    maps = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    for up in ups.values():
        stride = up.stride[0]
        edge = stride // 2
        expected = F.interpolate(maps, scale_factor=stride, mode="bilinear", align_corners=False)
        found = up(maps)[:, :, edge:-edge, edge:-edge]
        assert found.shape == expected.shape
        # At the border a transposed convolution fades to zero, where interpolation repeats the last value.
        inside = (..., slice(edge, -edge), slice(edge, -edge))
        torch.testing.assert_close(found[inside], expected[inside], rtol=1e-6, atol=1e-7)
        assert not torch.allclose(found, expected)


def narrow_vgg16(width: int) -> nn.Module:
    """torchvision's VGG-16, with few channels."""
    vgg = import_zoo("torchvision").models.vgg
    with torch.device("meta"):
        model = vgg.VGG(nn.Identity(), init_weights=False)
    wide = vgg.cfgs["D"]
    model.features = vgg.make_layers([entry if entry == "M" else entry // 64 * width for entry in wide])
    model.features[0] = nn.Conv2d(2, width, 3, padding=1)
    model.classifier = nn.Sequential(
        nn.Linear(8 * width * 49, 64 * width), nn.ReLU(), nn.Dropout(),
        nn.Linear(64 * width, 64 * width), nn.ReLU(), nn.Dropout(), nn.Linear(64 * width, 1),
    )  # fmt: skip
    return randomise(model.double()).eval()


def test_the_trunk_is_vgg16(tmp_path: Path) -> None:
    """The same weights give fc7 of torchvision's VGG-16, made convolutional, on an image in a frame of zeros."""
    classifier = narrow_vgg16(2)
    model = build("fcn32s")
    save_file(classifier.state_dict(), tmp_path / "vgg16.safetensors")
    report = load_weights(model, tmp_path / "vgg16.safetensors", head="new")
    assert report.left_new == ("score_fr.weight", "score_fr.bias", "upscore.weight")
    assert {name.rpartition(".")[0] for name in report.unused} == {"classifier.6"}
    truth = convolutionalize(classifier)
    truth.set_submodule("classifier.6", nn.Identity())
    image = torch.randn(2, 2, 26 + 32, 26 + 64, dtype=torch.float64)  # sizes at which no pool rounds
    _, _, dense = model.features(image)
    assert dense.shape == (2, 128, 2, 3)
    assert float(dense.detach().abs().max()) > 0.01
    torch.testing.assert_close(dense, truth(F.pad(image, (99, 99, 99, 99))), rtol=1e-10, atol=1e-12)


def test_names_of_vgg16() -> None:
    with torch.device("meta"):
        tv = import_zoo("torchvision").models.vgg16(weights=None).state_dict()
        timm = import_zoo("timm").create_model("vgg16", pretrained=False).state_dict()
        ours = create_model("fcn32s", num_classes=21).state_dict()
    for library, theirs in (("torchvision", tv), ("timm", timm)):
        names = vgg16_names(library)
        assert set(names) == {key for key in ours if key.startswith(("conv", "fc"))}
        assert set(theirs) - set(names.values()) == {
            f"{'classifier.6' if library == 'torchvision' else 'head.fc'}.{kind}" for kind in ("weight", "bias")
        }
    with pytest.raises(UsageError) as caught:
        vgg16_names("keras")
    assert str(caught.value) == "library is 'keras'; VGG-16 can be had from torchvision, timm"


@pytest.mark.parametrize("name", NAMES)
def test_a_shift_by_the_stride_shifts_the_answer(name: str) -> None:
    """Without biases nothing gives nothing: an image in a frame of zeros is one on a plane without end."""
    torch.manual_seed(0)
    model = build(name)
    for head in model.head_names:
        if head.startswith("score"):
            nn.init.normal_(model.get_parameter(f"{head}.weight"))
    assert all(not p.any() for n, p in model.named_parameters() if n.endswith("bias"))
    content = torch.randn(2, 50, 40, dtype=torch.float64)
    here, there = torch.zeros(2, 1, 2, 154, 145, dtype=torch.float64)
    here[:, :, 15:65, 13:53] = content
    there[:, :, 47:97, 45:85] = content
    with torch.no_grad():
        before, after = model(here)[:, :, 32:-64, 32:-64], model(there)
    # Within the outermost score the maps fade to zero, wherever the image lies.
    scale = float(before.abs().max())
    torch.testing.assert_close(after[:, :, 64:-32, 64:-32], before, rtol=0, atol=1e-12 * scale)
    assert float((after[:, :, 63:-33, 64:-32] - before).abs().max()) > 1e-3 * scale


def test_without_padding_it_is_every_window_alone() -> None:
    """Section 3.1: the scores of an image are those of its 404x404 windows, 32 pixels apart (the receptive field)."""
    model = randomise(create_model("fcn32s", num_classes=3, in_channels=1, width=1).double()).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
    image = torch.randn(1, 1, 404 + 32, 404 + 64, dtype=torch.float64)
    with torch.no_grad():
        scores = model.score_fr(model.features(image)[2])
        assert scores.shape == (1, 3, 2, 3)
        for y in range(2):
            for x in range(3):
                window = image[:, :, 32 * y : 32 * y + 404, 32 * x : 32 * x + 404]
                alone = model.score_fr(model.features(window)[2])
                torch.testing.assert_close(alone[:, :, 0, 0], scores[:, :, y, x], rtol=1e-10, atol=1e-12)


class Ramp(nn.Module):
    """Scores that grow evenly: row + 2 column, by class."""

    def forward(self, maps: Tensor) -> Tensor:
        rows = torch.arange(maps.shape[2], dtype=maps.dtype)[:, None]
        columns = torch.arange(maps.shape[3], dtype=maps.dtype)[None, :]
        return (rows + 2 * columns).expand(maps.shape[0], 3, -1, -1)


@pytest.mark.parametrize(
    ("name", "score", "stride", "start"),
    [
        *((name, "score_fr", 32, 12.5) for name in NAMES),
        *((name, "score_pool4", 16, -91.5) for name in NAMES[1:]),
        ("fcn8s", "score_pool3", 8, -95.5),
    ],
)
def test_answers_lie_over_what_they_answer_for(name: str, score: str, stride: int, start: float) -> None:
    """Score n is that of the window around pixel stride * n + start, however it is upsampled: the crops are right.

    A pixel of pool3 is the middle of 8 pixels, 99 beyond the border: 3.5 - 99. fc6 sees 7 of 32 pixels:
    15.5 - 99 + 3 * 32.
    """
    model = build(name)  # all other scores are zero
    setattr(model, score, Ramp())
    with torch.no_grad():
        answers = model(torch.zeros(1, 2, 120, 150, dtype=torch.float64))
    rows, columns = ((torch.arange(n, dtype=torch.float64) - start) / stride for n in (120, 150))
    expected = rows[:, None] + 2 * columns[None, :]
    inside = (slice(32, -32), slice(32, -32))  # the maps fade to zero at their border
    for image in answers[0]:
        torch.testing.assert_close(image[inside], expected[inside], rtol=1e-6, atol=1e-6)


def test_net_surgery() -> None:
    """A finer network starts with the predictions of the coarser one (section 4.2): its new scores are zero."""
    torch.manual_seed(0)
    coarse, middle, fine = (build(name) for name in NAMES)
    nn.init.normal_(coarse.score_fr.weight)
    assert middle.load_state_dict(coarse.state_dict(), strict=False).unexpected_keys == ["upscore.weight"]
    assert fine.load_state_dict(middle.state_dict(), strict=False).unexpected_keys == ["upscore16.weight"]
    image = torch.randn(1, 2, 150, 130, dtype=torch.float64)
    with torch.no_grad():
        scores = coarse.score_fr(coarse.features(image)[2])
        answers = [model(image) for model in (coarse, middle, fine)]

        # By hand: no skip takes part; upsampled once, twice and three times.
        def upsampled(maps: Tensor, *strides: int) -> Tensor:
            for stride in strides:
                size = [stride * (n + 1) for n in maps.shape[2:]]
                weight = bilinear_filter(2 * stride).double().expand(3, 1, -1, -1)
                maps = F.conv_transpose2d(maps, weight, stride=stride, groups=3)
                assert list(maps.shape[2:]) == size
            return maps

        for answer, strides, offset in zip(answers, ((32,), (2, 16), (2, 2, 8)), (19, 27, 31), strict=True):
            expected = upsampled(scores, *strides)[:, :, offset : offset + 150, offset : offset + 130]
            torch.testing.assert_close(answer, expected, rtol=1e-6, atol=1e-6)
    # Upsampling twice is not upsampling once, but near it.
    for finer in answers[1:]:
        assert 0 < float((finer - answers[0]).norm() / answers[0].norm()) < 0.1
    # The skips take part as soon as they are not zero.
    nn.init.normal_(fine.score_pool3.weight)
    nn.init.normal_(middle.score_pool4.weight)
    with torch.no_grad():
        assert not torch.allclose(fine(image), answers[2])
        assert not torch.allclose(middle(image), answers[1])


def test_skips_at_once() -> None:
    """The reference's voc-fcn8s-atonce: pool4 by 0.01 and pool3 by 0.0001 before they are scored."""
    plain = randomise(build("fcn8s"))
    at_once = build("fcn8s", at_once=True)
    state = plain.state_dict()
    at_once.load_state_dict(state)
    plain.load_state_dict(
        state | {"score_pool4.weight": state["score_pool4.weight"] * 0.01}
        | {"score_pool3.weight": state["score_pool3.weight"] * 0.0001}
    )  # fmt: skip
    image = torch.randn(1, 2, 33, 47, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(at_once(image), plain(image), rtol=1e-10, atol=1e-12)
