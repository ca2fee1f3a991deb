"""Grouped, dilated convolutions: right gradients in reduced dtypes, whichever kernels the machine has."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anysize import kernels
from anysize.kernels import convolve, convolve_transposed, weight_gradient_is_wrong

CHANNELS_LAST = torch.channels_last
FORWARD = (functional.conv1d, functional.conv2d, functional.conv3d)
TRANSPOSED = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)


def draw(axes: int = 2, channels: int = 8, groups: int = 8, width: int = 57) -> list[Tensor]:
    """Canvas, weight and bias, in float32 but with values that bfloat16 has."""
    generator = torch.Generator().manual_seed(width)
    spatial = (4, 9, width)[-axes:]
    shapes = ((2, channels, *spatial), (channels, channels // groups, *(3,) * axes), (channels,))
    return [torch.randn(shape, generator=generator).bfloat16().float() for shape in shapes]


def differentiate(run: Callable[..., Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """The result and all gradients, for a gradient of the result that is the same in all dtypes."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    result = run(*leaves)
    gradient = torch.linspace(-1, 1, result.numel()).view(result.shape).bfloat16().to(result.dtype)
    return [result.detach(), *torch.autograd.grad(result, leaves, gradient)]


def assert_close(found: list[Tensor], truth: list[Tensor]) -> None:
    for one, other in zip(found, truth, strict=True):
        assert (one.double() - other).abs().max() < 0.02 * other.abs().max()


def run_2d(canvas: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return convolve(functional.conv2d, canvas, weight, bias, 1, (2, 2), (2, 2), 8)


@pytest.mark.parametrize("width", [28, 33, 57])
@pytest.mark.parametrize("canvas_layout", [torch.contiguous_format, CHANNELS_LAST])
@pytest.mark.parametrize("weight_layout", [torch.contiguous_format, CHANNELS_LAST])
def test_gradients_are_right_in_every_layout(
    width: int, canvas_layout: torch.memory_format, weight_layout: torch.memory_format
) -> None:
    canvas, weight, bias = draw(width=width)
    truth = differentiate(run_2d, [canvas.double(), weight.double(), bias.double()])
    canvas = canvas.to(torch.bfloat16, memory_format=canvas_layout)
    weight = weight.to(torch.bfloat16, memory_format=weight_layout)
    found = differentiate(run_2d, [canvas, weight, bias.bfloat16()])
    assert {tensor.dtype for tensor in found} == {torch.bfloat16}
    assert_close(found, truth)


def test_a_view_of_a_wider_canvas_is_no_way_into_the_wrong_kernel() -> None:
    canvas, weight, bias = (tensor.bfloat16() for tensor in draw(width=70))
    view = canvas.to(memory_format=CHANNELS_LAST)[..., 1:-1, 3:60]
    truth = differentiate(run_2d, [view.double().contiguous(), weight.double(), bias.double()])
    assert_close(differentiate(run_2d, [view, weight, bias]), truth)


@pytest.mark.parametrize("groups", [8, 4])
def test_gradients_are_right_under_autocast(groups: int) -> None:
    def run(canvas: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve(functional.conv2d, canvas, weight, bias, 1, 2, 2, groups)

    tensors = draw(groups=groups)
    truth = differentiate(run, [tensor.double() for tensor in tensors])
    with torch.autocast("cpu", torch.bfloat16):
        laid = [tensor.to(memory_format=CHANNELS_LAST) if tensor.ndim == 4 else tensor for tensor in tensors]
        found = differentiate(run, laid)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, *(torch.float32,) * 3]
    assert_close(found, truth)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_other_path_is_right_for_every_function(
    axes: int, transposed: bool, dtype: torch.dtype, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "weight_gradient_is_wrong", Mock(return_value=True))
    function = (TRANSPOSED if transposed else FORWARD)[axes - 1]
    seen = []

    def spy(*arguments: object) -> Tensor:
        seen.extend(argument.dtype for argument in arguments if isinstance(argument, Tensor))
        result: Tensor = function(*arguments)
        return result

    def run(canvas: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if transposed:
            return convolve_transposed(spy, canvas, weight, bias, 1, 2, 0, 4, [2] * axes)
        return convolve(spy, canvas, weight, bias, 1, 2, [2] * axes, 4)

    tensors = draw(axes, groups=4)
    truth = differentiate(run, [tensor.double() for tensor in tensors])
    assert set(seen) == {torch.float64}
    seen.clear()
    with torch.autocast("cpu", dtype) if autocast else contextlib.nullcontext():
        found = differentiate(run, tensors if autocast else [tensor.to(dtype) for tensor in tensors])
    assert set(seen) == {torch.float32}
    assert found[0].dtype == dtype
    assert_close(found, truth)


def test_the_memory_layout_of_the_result_is_that_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    canvas, weight, bias = (tensor.bfloat16() for tensor in draw())
    for affected in (False, True):
        monkeypatch.setattr(kernels, "weight_gradient_is_wrong", Mock(return_value=affected))
        for layout in (torch.contiguous_format, CHANNELS_LAST):
            found = run_2d(canvas.to(memory_format=layout), weight.requires_grad_(), bias)
            assert found.is_contiguous(memory_format=layout)


ORDINARY = {
    "not grouped": {"groups": 1},
    "not dilated": {"dilation": 1},
    "not dilated, spelled out": {"dilation": (1, 1)},
    "not dilated, in a list": {"dilation": [1, 1]},
    "float32": {"dtype": torch.float32},
    "float64": {"dtype": torch.float64},
    "no gradient for the weight": {"weight_grad": False},
    "under no_grad": {"grad": False},
    "autocast of float64": {"dtype": torch.float64, "autocast": True},
    "two dtypes": {"weight_dtype": torch.float32},
}


@pytest.mark.parametrize("changes", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_calls_go_straight_through(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> bool:
        raise AssertionError("an ordinary call was probed")

    monkeypatch.setattr(kernels, "weight_gradient_is_wrong", refuse)
    settings: dict[str, object] = {"groups": 8, "dilation": 2, "dtype": torch.bfloat16, "weight_grad": True}
    settings |= {"grad": True, "autocast": False} | changes
    canvas, weight, bias = (tensor.to(settings["dtype"]) for tensor in draw(groups=settings["groups"]))
    weight = weight.to(settings.get("weight_dtype", weight.dtype)).requires_grad_(settings["weight_grad"])
    given: list[tuple[object, ...]] = []

    def spy(*arguments: object) -> Tensor:
        given.append(arguments)
        return canvas

    with torch.set_grad_enabled(settings["grad"]), torch.autocast("cpu", torch.bfloat16, settings["autocast"]):
        convolve(spy, canvas, weight, bias, 1, 2, settings["dilation"], settings["groups"])
        convolve_transposed(spy, canvas, weight, bias, 1, 2, 0, settings["groups"], settings["dilation"])
    groups, dilation = settings["groups"], settings["dilation"]
    for arguments, rest in zip(given, [(1, 2, dilation, groups), (1, 2, 0, groups, dilation)], strict=True):
        assert all(one is other for one, other in zip(arguments[:3], (canvas, weight, bias), strict=True))
        assert arguments[3:] == rest


def test_the_probe_touches_no_random_state_and_runs_anywhere() -> None:
    weight_gradient_is_wrong.cache_clear()
    kinds = [(2, torch.bfloat16, True), (2, torch.bfloat16, False), (1, torch.bfloat16, True)]
    before = torch.get_rng_state()
    found = [weight_gradient_is_wrong(*kind[:2], depthwise=kind[2], transposed=False) for kind in kinds]
    assert torch.equal(torch.get_rng_state(), before)
    for context in (
        torch.no_grad(),
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16),
        torch.device("meta"),
    ):
        weight_gradient_is_wrong.cache_clear()
        with context:
            assert [weight_gradient_is_wrong(*k[:2], depthwise=k[2], transposed=False) for k in kinds] == found


def test_the_probe_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weight_gradient_is_wrong.cache_clear()
    calls = []
    monkeypatch.setattr(kernels, "_probe_error", lambda *arguments: calls.append(arguments) or 0.0)
    tensors = [tensor.bfloat16() for tensor in draw()]
    for _ in range(3):
        differentiate(run_2d, tensors)
    weight_gradient_is_wrong.cache_clear()
    assert calls == [(2, torch.bfloat16, True, False, 33), (2, torch.bfloat16, True, False, 64)]


def test_with_mkldnn_switched_off_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "weight_gradient_is_wrong", None)
    tensors = [tensor.bfloat16() for tensor in draw()]
    truth = differentiate(run_2d, [tensor.double() for tensor in tensors])
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        result = run_2d(leaves[0].to(memory_format=CHANNELS_LAST), *leaves[1:])
    finally:
        torch._C._set_mkldnn_enabled(enabled)
    gradient = torch.linspace(-1, 1, result.numel()).view(result.shape).bfloat16()
    assert_close([result.detach(), *torch.autograd.grad(result, leaves, gradient)], truth)


def test_a_compiled_graph_holds_the_other_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "weight_gradient_is_wrong", None)
    compiled = torch.compile(run_2d, backend="aot_eager", fullgraph=True)
    tensors = [tensor.bfloat16() for tensor in draw()]
    truth = differentiate(run_2d, [tensor.double() for tensor in tensors])
    laid = [tensor.to(memory_format=CHANNELS_LAST) if tensor.ndim == 4 else tensor for tensor in tensors]
    assert_close(differentiate(compiled, laid), truth)


STRIDED = """
import sys
import torch
from torch import nn
from torch.nn import functional
from anysize.models.layers import StridedConv2d
from anysize.ragged import RaggedBatch

ragged, channels, dtype = sys.argv[1] == "ragged", int(sys.argv[2]), getattr(torch, sys.argv[3])
torch.manual_seed(0)
torch.set_num_threads(1)
kind = nn.Conv2d if ragged else StridedConv2d
for _ in range(6):  # memory that was overwritten shows when it is given back, or used
    layer = kind(channels, 16, 1, stride=2, bias=False).to(memory_format=torch.channels_last, dtype=dtype)
    images = torch.randn(4, channels, 80, 100, dtype=dtype).contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(4, 16, 40, 50, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = layer.weight.detach().double().requires_grad_()
    truth = functional.conv2d(images.double(), weight, stride=2)
    truth.backward(gradient.double())
    given = images.requires_grad_()
    found = layer(RaggedBatch.from_images(given)).canvas if ragged else layer(given)
    assert torch.allclose(found.double(), truth, rtol=0, atol=0.05 if dtype == torch.bfloat16 else 1e-5)
    found.backward(gradient)
    error = (layer.weight.grad.double() - weight.grad).norm() / weight.grad.norm()
    assert error < (0.01 if dtype == torch.bfloat16 else 1e-5), error
    assert len([torch.randn(50 + 37 * size) for size in range(60)]) == 60
print("right")
"""


@pytest.mark.parametrize("kind", ["plain", "ragged"])
@pytest.mark.parametrize(("channels", "dtype"), [(3, "float32"), (8, "float32"), (12, "bfloat16"), (16, "float32")])
def test_a_narrow_strided_1x1_convolution_writes_only_its_own_memory(kind: str, channels: int, dtype: str) -> None:
    # In a process of its own, which dies of it where torch's own kernel runs.
    done = subprocess.run([sys.executable, "-c", STRIDED, kind, str(channels), dtype], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "right"), done.stderr


@pytest.mark.parametrize("stride", [2, (2, 2), [2, 3], (1, 3), 1])
@pytest.mark.parametrize("padding", [0, "valid", (0, 0), [0, 0], 1, (0, 1), "same"])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_left_out_pixels_change_nothing(stride: Any, padding: Any, kernel: tuple[int, int], groups: int) -> None:
    if padding == "same" and stride != 1:
        pytest.skip("torch refuses it")
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 9, 10), (6, 4 // groups, *kernel), (6,))
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    settings = (stride, padding, 1, groups)
    found = differentiate(lambda *given: convolve(functional.conv2d, *given, *settings), tensors)
    for one, other in zip(
        found, differentiate(lambda *given: functional.conv2d(*given, *settings), tensors), strict=True
    ):
        torch.testing.assert_close(one, other)
