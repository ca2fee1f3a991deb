"""`verify`: exact models pass, and each kind of leak is found where it arises."""

import copy
import dataclasses
import json
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anysize import RaggedBatch, VerifyReport, verify
from anysize.errors import RaggedError, UsageError
from anysize.models import create_model
from anysize.ragged import registry

SIZES = ((9, 14), (16, 7), (11, 11))


class WrongWhere(nn.Module):
    """``wrong`` of a ragged batch, the identity of a tensor."""

    def __init__(self, wrong: Any, *, in_training_only: bool = False) -> None:
        super().__init__()
        self.wrong, self.in_training_only = wrong, in_training_only

    def forward(self, images: Any) -> Any:
        if not isinstance(images, RaggedBatch) or (self.in_training_only and not self.training):
            return images
        return self.wrong(images)


def block(*middle: nn.Module) -> nn.Sequential:
    layers = {"conv": nn.Conv2d(3, 4, 3, padding=1), "bn": nn.BatchNorm2d(4)}
    layers |= {f"middle{number}": module for number, module in enumerate(middle)}
    return nn.Sequential(OrderedDict(layers | {"relu": nn.ReLU(inplace=True), "last": nn.Conv2d(4, 2, 3)}))


def verified(model: nn.Module, **options: Any) -> VerifyReport:
    return verify(model, **{"sizes": SIZES, "dtype": torch.float64, **options})


class CastsInside(nn.Module):
    """Computes a gate in float32 whatever it is given, as some normalisation layers do."""

    def __init__(self, *, leaks: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.leaks = leaks

    def forward(self, images: Any) -> Any:
        maps = self.conv(images)
        gate = maps.float().square().mean((2, 3), keepdim=True).rsqrt().to(maps.dtype)
        if self.leaks and hasattr(maps, "canvas"):
            gate = gate * 1.01
        return maps * gate


def test_a_model_that_computes_in_float32_inside_is_judged_as_such() -> None:
    report = verify(CastsInside(leaks=False))
    assert report.exact, str(report)
    assert report.casts
    assert "note   the model casts float64 to a narrower dtype inside: judged as float32" in str(report)
    assert 1e-12 < report.max_error < 1e-5
    assert not verify(CastsInside(leaks=True)).exact
    assert not verify(nn.Conv2d(3, 4, 3)).casts


def test_an_exact_model() -> None:
    report = verify(create_model("resnet9", num_classes=3, width=4))
    assert report.exact
    assert report.verdict == "exact"
    assert 0 <= report.max_error <= 1e-12
    assert (report.refused, report.failed, report.first_deviation) == ((), (), None)
    assert report.sizes == ((33, 47), (41, 35), (64, 29), (37, 53))
    kinds = {(entry.mode, entry.dtype, entry.kind) for entry in report.entries}
    both = ("values", "input gradients", "parameter gradients")
    assert kinds == {
        *(("evaluation", dtype, kind) for dtype in ("float64", "float32") for kind in ("partners", *both)),
        *(("training", dtype, kind) for dtype in ("float64", "float32") for kind in (*both, "statistics")),
    }
    # float32 errs, and is seen to: what runs is not float64 under another name
    assert all((entry.error > 1e-10) == (entry.dtype == "float32") for entry in report.entries)
    assert json.loads(json.dumps(dataclasses.asdict(report)))["exact"] is True
    assert str(report).splitlines()[0] == "sizes  33x47, 41x35, 64x29, 37x53"
    assert str(report).splitlines()[-1] == "exact"


def test_the_model_is_not_changed_nor_the_random_state() -> None:
    model = nn.Sequential(block(), nn.Dropout(0.5)).eval()
    model[0].conv.weight.requires_grad_(False)
    state, hooks = copy.deepcopy(model.state_dict()), len(model._forward_hooks)
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    assert verified(model).exact
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert all(p.grad is None for p in model.parameters())
    assert len(model._forward_hooks) == hooks
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_dropout_draws_nothing_and_gradient_mode_does_not_matter() -> None:
    with torch.no_grad():
        report = verified(nn.Sequential(block(nn.Dropout2d(0.5)), nn.Dropout(0.5)))
    assert report.exact
    assert max(entry.error for entry in report.entries if entry.kind == "parameter gradients") > 0


def test_stochastic_depth_never_drops() -> None:
    class StochasticDepth(nn.Module):
        p = 0.9

        def forward(self, images: Any) -> Any:
            assert self.p == 0.0
            return images

    model = block(StochasticDepth())
    assert verified(model).exact
    assert model.middle0.p == 0.9


def test_the_random_weights_are_telling() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.full((3, 1, 1), 1e-30))
            self.wrong = WrongWhere(lambda batch: batch * 1.5)

        def forward(self, images: Any) -> Any:
            return images + self.wrong(images) * self.gamma

    assert verified(Scaled(), in_channels=3).max_error > 0.1
    assert verified(Scaled(), in_channels=3, randomise=False).max_error < 1e-20


def test_a_rule_that_runs_on_the_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_the_canvas(function: Any, batch: RaggedBatch, *args: Any, **kwargs: Any) -> Any:
        return function(batch.canvas.nan_to_num(0.0), *args, **kwargs)

    monkeypatch.setitem(registry._RULES, functional.adaptive_avg_pool2d, registry.Rule(on_the_canvas))
    report = verified(nn.Sequential(block(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert not report.exact
    assert report.max_error > 1e-3
    assert report.first_deviation is not None
    assert report.first_deviation.module == "1"
    assert report.verdict.startswith("not exact: first deviation in 1 (output, evaluation, float64: ")
    wrong = [line for line in report.lines() if " <- image " in line]
    assert len(wrong) >= 2


def test_poison_that_comes_through_is_infinitely_wrong() -> None:
    report = verified(
        nn.Sequential(WrongWhere(lambda batch: RaggedBatch(batch.canvas.roll(1, 2), batch.sizes)), block())
    )
    assert not report.exact
    assert report.max_error == float("inf")
    assert report.first_deviation is not None
    assert report.first_deviation.module == "0"


def test_an_output_of_another_shape_is_infinitely_wrong() -> None:
    report = verified(block(WrongWhere(lambda batch: RaggedBatch(batch.canvas, [(9, 7)] * len(batch)))))
    assert not report.exact
    assert report.max_error == float("inf")


def test_a_leak_between_modules_is_laid_to_their_parent() -> None:
    class Parent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.ReLU()

        def forward(self, images: Any) -> Any:
            maps = self.first(images)
            return self.second(maps * 1.01 if isinstance(maps, RaggedBatch) else maps)

    report = verified(nn.Sequential(nn.Conv2d(3, 3, 1), Parent()))
    assert report.first_deviation is not None
    assert report.first_deviation.module == "1"


def test_a_leak_in_training_only() -> None:
    model = nn.Sequential(block(), WrongWhere(lambda batch: batch * 1.001, in_training_only=True))
    report = verified(model)
    assert not report.exact
    assert all(entry.exact for entry in report.entries if entry.mode == "evaluation")
    assert str(report.first_deviation).startswith("1 (output, training, float64: 1.0e-03")
    assert verified(model, training=False).exact


def test_statistics_that_leak_alone() -> None:
    class WrongStatistics(nn.BatchNorm2d):
        def forward(self, images: Any) -> Any:
            result = super().forward(images)
            if self.training and isinstance(images, RaggedBatch):
                self.running_var.add_(0.25)
            return result

    report = verified(block(WrongStatistics(4), WrongStatistics(4)))
    assert [entry.kind for entry in report.entries if not entry.exact] == ["statistics"]
    assert report.first_deviation is not None
    assert (report.first_deviation.module, report.first_deviation.what) == ("middle0", "statistics")


def test_gradients_that_leak_alone() -> None:
    class WrongGradient(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, images: Tensor) -> Tensor:
            return images.clone()

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            return gradient * 1.1

    wrong = WrongWhere(lambda batch: RaggedBatch(WrongGradient.apply(batch.canvas), batch.sizes))
    convolutions = [nn.Conv2d(3, 3, 1) for _ in range(3)]
    report = verified(nn.Sequential(*convolutions[:2], wrong, convolutions[2]), training=False)
    assert [entry.kind for entry in report.entries if not entry.exact] == ["input gradients", "parameter gradients"]
    assert report.first_deviation is not None
    assert (report.first_deviation.module, report.first_deviation.what) == ("1", "parameter gradients")


def test_partners_must_not_matter() -> None:
    model = block(WrongWhere(lambda batch: batch * (1.0 if len(batch) == len(SIZES) else 1.01)))
    report = verified(model, training=False)
    assert [entry.kind for entry in report.entries if not entry.exact] == ["partners"]


def test_a_refusal_is_reported_by_name_and_path() -> None:
    class Refused(nn.Module):
        def forward(self, images: Any) -> Any:
            return torch.cumsum(images, 2)

    report = verified(block(Refused()))
    assert not report.exact
    assert not report.entries
    assert report.max_error != report.max_error  # NaN: nothing was compared
    assert [(refusal.mode, refusal.function, refusal.module) for refusal in report.refused] == [
        ("evaluation", "torch.cumsum", "Sequential.middle0"),
        ("training", "torch.cumsum", "Sequential.middle0"),
    ]
    assert report.verdict == "refused: torch.cumsum in Sequential.middle0"
    assert "refused in training, float64: torch.cumsum (called in Sequential.middle0) was given a" in str(report)


def test_one_number_for_all_sizes_is_a_refusal() -> None:
    report = verified(block(WrongWhere(lambda batch: batch * int(batch.shape[2]))), training=False)
    assert [refusal.module for refusal in report.refused] == ["Sequential.middle0"]
    assert report.verdict == "refused: a number for all images in Sequential.middle0"


def test_an_exception_with_the_batch_alone_is_not_exact() -> None:
    def fail(batch: RaggedBatch) -> None:
        raise LookupError("what is this?")

    report = verified(block(WrongWhere(fail)))
    assert not report.exact
    assert not report.refused
    assert report.verdict == "not exact: failed in Sequential.middle0: LookupError: what is this?"


@dataclasses.dataclass
class Maps:
    fine: Any
    coarse: Any
    note: str = "kept"


def test_outputs_of_many_kinds() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.pool = block(), nn.AdaptiveAvgPool2d(1)

        def forward(self, images: Any) -> Any:
            maps = self.body(images)
            pooled = self.pool(maps)
            return {"out": maps, "more": [Maps(maps * 2, pooled), (pooled.flatten(1), None, 3)]}

    report = verified(Many())
    assert report.exact
    outputs = {entry.output for entry in report.entries if entry.kind == "values"}
    assert outputs == {"out", "more.0.fine", "more.0.coarse", "more.1.0"}


def test_images_that_are_too_small_are_not_insisted_on() -> None:
    report = verify(nn.Conv2d(1, 1, 60, stride=16), dtype=torch.float64)
    assert report.exact
    assert report.sizes[0] == (97, 75)
    assert report.sizes_reason.startswith(
        "larger images, because the model alone ends on others in RuntimeError: Calculated padded input size"
    )


def test_multiples_of_32_where_the_model_needs_them() -> None:
    class Multiples(nn.Module):
        def forward(self, images: Any) -> Any:
            if isinstance(images, Tensor) and (images.shape[2] % 32 or images.shape[3] % 32):
                raise ValueError("multiples of 32, please")
            return images * 2

    report = verify(Multiples(), in_channels=1, dtype=torch.float64)
    assert report.exact
    assert report.sizes == ((64, 96), (128, 64), (96, 160))
    assert report.sizes_reason == (
        "multiples of 32, because the model alone ends on others in ValueError: multiples of 32, please"
    )


@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes(axes: int) -> None:
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[axes](2, 3, 3, padding=1)
    report = verify(nn.Sequential(conv, nn.ReLU()), dtype=torch.float64)
    assert report.exact
    assert len(report.sizes[0]) == axes


def test_nothing_that_can_be_compared_is_an_error() -> None:
    class Silent(nn.Module):
        def forward(self, _: Any) -> Any:
            return {"number": 3}

    with pytest.raises(RaggedError) as caught:
        verified(Silent(), in_channels=3)
    assert str(caught.value) == (
        "the model returns no tensor with the images along its first axis, so there is nothing to compare\n"
        "hint: wrap the model in a module that returns tensors (N, ...)"
    )


def test_a_model_that_takes_no_image_alone_is_an_error() -> None:
    with pytest.raises(RaggedError) as caught:
        verified(nn.Conv2d(3, 3, 30))
    assert str(caught.value) == (
        "Conv2d takes none of the sizes alone in float64, up to 11x11; the last attempt ended in RuntimeError: "
        "Calculated padded input size per channel: (9 x 14). Kernel size: (30 x 30). Kernel size can't be greater than "
        "actual input size\n"
        "hint: pass sizes= that the model takes, each image alone"
    )


def test_channels_that_nobody_knows_are_asked_for() -> None:
    with pytest.raises(UsageError) as caught:
        verify(nn.ReLU())
    assert str(caught.value) == (
        "ReLU has no convolution that would tell how many channels its images have\nhint: pass in_channels=3"
    )


def test_answers_that_are_not_finite_prove_nothing() -> None:
    class Infinite(nn.Module):
        def forward(self, images: Any) -> Any:
            return images / 0.0

    report = verified(Infinite(), in_channels=1)
    assert not report.exact
    assert report.failed[0].why == (
        "ArithmeticError: output out of the model alone is not finite, so nothing can be compared"
    )


def test_answers_that_do_not_depend_on_the_images_prove_nothing() -> None:
    class Dead(nn.Module):
        def forward(self, images: Any) -> Any:
            return images * 0.0

    report = verified(Dead(), in_channels=1)
    assert not report.exact
    assert report.verdict == (
        "not exact: failed in Dead: ArithmeticError: the outputs of the model alone do not depend on the images, so "
        "nothing can be compared"
    )
