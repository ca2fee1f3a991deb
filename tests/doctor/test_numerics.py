"""The numerics self-test: what is wrong is reported, what is right is not, and anysize's own way is checked as well."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from anysize.doctor.config import DoctorConfig
from anysize.doctor.numerics import REMEDY, NumericsReport, Row, check_numerics
from anysize.doctor.operators import OPERATORS, Operator
from anysize.doctor.speed import Speed
from anysize.errors import UsageError

ON_CPU = DoctorConfig(device="cpu")
DOUBTFUL = [operator for operator in OPERATORS if operator.detour]
PLAIN = [operator for operator in OPERATORS if not operator.detour]


@pytest.fixture(scope="module")
def report() -> NumericsReport:
    """This machine's."""
    return check_numerics(ON_CPU, speeds=False)


class Broken(torch.autograd.Function):
    """A ReLU with one fault."""

    fault = ""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, input: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        result = (input * weight).relu()
        if Broken.fault == "value" and input.dtype != torch.float64:
            result[0, 0, 0, 32:] = 0
        return result

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        input, weight = ctx.saved_tensors
        passed = gradient * (input * weight > 0)
        of_input, of_weight = passed * weight, (passed * input).sum((0, 2, 3), keepdim=True)
        if input.dtype != torch.float64:
            if Broken.fault == "input gradient":
                of_input[..., -1] *= 1.5
            if Broken.fault == "weight gradient":
                of_weight[0, -1] = float("nan")
        return of_input, of_weight


def broken(fault: str, detour: Callable[..., Tensor] | None = None) -> Operator:
    Broken.fault = fault
    return Operator(
        name="broken relu", family="activation", compute=Broken.apply, detour=detour, weights=((1, 16, 1, 1),),
        num_terms=1,
    )  # fmt: skip


def right(input: Tensor, weight: Tensor) -> Tensor:
    return (input * weight).relu()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("fault", ["value", "input gradient", "weight gradient"])
def test_a_broken_operator_is_caught(fault: str, dtype: str) -> None:
    options = dataclasses.replace(ON_CPU, dtype=dtype)
    report = check_numerics(options, operators=[broken(fault)], widths=[33], speeds=False)
    assert [(row.layout, row.what) for row in report.failures] == [("NCHW", fault), ("channels_last", fault)]
    assert all(row.verdict == "wrong" and row.error > row.bound and not row.remedy for row in report.failures)
    assert math.isinf(report.failures[0].error) == (fault == "weight gradient")
    assert not report.ok
    assert report.conclusion == "2 kernels of this machine are wrong, and anysize does not go round them."
    assert check_numerics(options, operators=[broken("")], widths=[33], speeds=False).ok


def test_the_worst_of_all_weights_counts() -> None:
    def compute(input: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return right(input, first) * (second if second.dtype == torch.float64 else second * 2 - second.detach())

    operator = dataclasses.replace(broken(""), compute=compute, weights=((1, 16, 1, 1), (1, 16, 1, 1)))
    options = dataclasses.replace(ON_CPU, dtype="float32")
    report = check_numerics(options, operators=[operator], widths=[33], speeds=False)
    assert {(row.what, round(row.error, 3)) for row in report.failures} == {("weight gradient", 1.0)}
    assert len(report.rows) == 6


def test_a_fault_that_only_wide_images_show() -> None:
    options = dataclasses.replace(ON_CPU, dtype="float32")
    report = check_numerics(options, operators=[broken("value")], widths=[20, 33], speeds=False)
    assert {row.width for row in report.failures} == {33}


def test_a_wrong_kernel_that_anysize_goes_round_is_said_and_forgiven() -> None:
    options = dataclasses.replace(ON_CPU, dtype="float32")
    report = check_numerics(options, operators=[broken("weight gradient", right)], widths=[33, 57], speeds=False)
    assert len(report.failures) == 4
    assert {(row.operator, row.verdict, row.remedy) for row in report.failures} == {
        ("broken relu", "gone round", REMEDY)
    }
    assert report.ok
    assert report.conclusion == "2 kernels of this machine are wrong; anysize goes round them."
    own = [row for row in report.rows if row.operator == "anysize: broken relu"]
    assert {row.verdict for row in own} == {"right"}
    assert len(own) == 12


def test_a_detour_that_is_wrong_is_not_forgiven() -> None:
    options = dataclasses.replace(ON_CPU, dtype="float32")
    report = check_numerics(options, operators=[broken("weight gradient", Broken.apply)], widths=[33], speeds=False)
    assert {(row.operator, row.verdict) for row in report.failures} == {
        ("broken relu", "wrong"),
        ("anysize: broken relu", "wrong"),
    }
    assert not report.ok


def test_what_torch_does_not_have_is_listed_and_no_error() -> None:
    def compute(input: Tensor) -> Tensor:
        if input.dtype == torch.float16:
            raise RuntimeError("\"shuffle\" not implemented for 'Half'\nlong story")
        return input * 2

    operator = Operator(name="shuffle", family="activation", compute=compute)
    report = check_numerics(ON_CPU, operators=[operator], widths=[20], speeds=False)
    missing = [row for row in report.rows if row.verdict == "not available"]
    assert [(row.dtype, row.layout, row.remedy) for row in missing] == [
        ("float16", "NCHW", "\"shuffle\" not implemented for 'Half'"),
        ("float16", "channels_last", "\"shuffle\" not implemented for 'Half'"),
    ]
    assert report.ok
    assert report.conclusion == "All kernels are right."

    def fail(input: Tensor) -> Tensor:
        if input.dtype == torch.bfloat16:
            raise RuntimeError("out of memory")
        return input * 2

    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        check_numerics(ON_CPU, operators=[dataclasses.replace(operator, compute=fail)], widths=[20], speeds=False)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_known_fault_is_reported_where_the_machine_has_it(report: NumericsReport, transposed: bool) -> None:
    name = "depthwise dilated transposed convolution" if transposed else "depthwise dilated convolution"
    function = functional.conv_transpose2d if transposed else functional.conv2d
    settings = (1, 2, 0, 16, 2) if transposed else (1, 2, 2, 16)
    generator = torch.Generator().manual_seed(7)
    gradients = []
    for dtype in (torch.bfloat16, torch.float64):
        generator.manual_seed(7)
        canvas = torch.randn(2, 16, 12, 57, generator=generator).bfloat16().to(dtype)
        weight = torch.randn(16, 1, 3, 3, generator=generator).bfloat16().to(dtype).requires_grad_()
        layout = torch.channels_last if dtype == torch.bfloat16 else torch.contiguous_format
        result = function(canvas.to(memory_format=layout), weight, None, *settings)
        gradients += torch.autograd.grad(result.double().sin().sum(), weight)
    found, truth = gradients
    right = bool((found.double() - truth).abs().max() < 0.1 * truth.abs().max())
    failures = {row.width for row in report.failures if row.operator == name and row.what == "weight gradient"}
    assert (57 in failures) == (not right)
    assert 20 not in failures


def test_anysize_computes_right_on_this_machine(report: NumericsReport) -> None:
    assert [row for row in report.rows if row.verdict == "wrong"] == []
    own = [row for row in report.rows if row.operator.startswith("anysize: ")]
    assert {row.verdict for row in own} == {"right"}
    assert {row.operator.removeprefix("anysize: ") for row in own} == {operator.name for operator in DOUBTFUL}


def test_right_kernels_have_a_margin_and_garbage_has_none(report: NumericsReport) -> None:
    compared = [row for row in report.rows if row.verdict == "right"]
    assert max(row.error / row.bound for row in compared) < 0.6
    assert max(row.bound for row in compared) < 0.3  # garbage has an error of about 1
    assert all(row.bound < 0.01 for row in compared if row.dtype == "float32")
    # Not by having nothing to find: rounding is seen in nearly all that is computed in a reduced dtype.
    reduced = [row for row in compared if row.dtype != "float32"]
    assert sum(row.error > 0 for row in reduced) > 0.9 * len(reduced)


def test_every_combination_is_there(report: NumericsReport) -> None:
    found = {(row.operator, row.dtype, row.layout, row.width, row.what) for row in report.rows}
    assert len(found) == len(report.rows)
    missing = {(row.operator, row.dtype) for row in report.rows if row.verdict == "not available"}
    for operator in OPERATORS:
        for dtype in {"float32", "bfloat16", "float16"} - {d for name, d in missing if name == operator.name}:
            for layout in ("NCHW", "channels_last")[: 1 if operator.axes == 1 else 2]:
                for width in (20, 33, 57):
                    whats = {"value", "input gradient"} | ({"weight gradient"} if operator.weights else set())
                    assert {(operator.name, dtype, layout, width, what) for what in whats} <= found
    assert len({operator.name for operator in OPERATORS}) == len(OPERATORS)


def test_a_maximum_is_at_one_place_only() -> None:
    from anysize.doctor.numerics import _draw

    (operator,) = (operator for operator in OPERATORS if operator.name == "max pool")
    input = _draw(operator, 33)[0]
    assert torch.equal(input, input.bfloat16().float())
    windows = functional.unfold(input[:, :1], 3)  # (N, 9, places)
    assert all(len(set(window.tolist())) == 9 for window in windows[0].T)


def test_random_numbers_and_autocast_of_the_caller_are_left_alone() -> None:
    before = torch.get_rng_state()
    options = dataclasses.replace(ON_CPU, dtype="float32")
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        report = check_numerics(options, operators=PLAIN[:1], widths=[20], speeds=False)
    assert report.ok
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError) as caught:
        check_numerics(DoctorConfig(device="nonsense"))
    assert caught.value.message.startswith("--device nonsense cannot be used: ")
    assert caught.value.hint == "use --device all or cpu"


def test_reduced_dtypes_are_timed() -> None:
    report = check_numerics(dataclasses.replace(ON_CPU, dtype="bfloat16"), operators=PLAIN[:1], widths=[20])
    (speed,) = report.speeds
    assert (speed.dtype, speed.device) == ("bfloat16", "cpu")
    assert speed.times_float32 > 0
    for times, slow in ((4.9, False), (5.1, True)):
        assert Speed(dtype="float16", device="cpu", times_float32=times).is_slow is slow


def test_nothing_compared_is_not_fine() -> None:
    assert not NumericsReport(()).ok


def test_conclusions_count_kernels_not_widths() -> None:
    row = Row(
        operator="a", family="f", dtype="float32", layout="NCHW", device="cpu", what="value", width=33, error=1.0,
        bound=0.1, verdict="gone round",
    )  # fmt: skip
    wider = dataclasses.replace(row, width=57)
    assert NumericsReport((row, wider)).conclusion == "1 kernel of this machine is wrong; anysize goes round it."
    other = dataclasses.replace(row, operator="b", verdict="wrong")
    assert NumericsReport((row, other)).conclusion == (
        "1 kernel of this machine is wrong; anysize goes round it. "
        "1 kernel of this machine is wrong, and anysize does not go round it."
    )
