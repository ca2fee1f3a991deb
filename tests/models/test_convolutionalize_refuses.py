"""What has no convolutional form is refused by name, with a fix: no silent other answer, no error of torch's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_convolutionalize import lenet, with_head
from torch import Tensor, nn
from torch.nn import functional as F

from anysize.errors import UsageError
from anysize.models import create_model
from anysize.models.convolutional import convolutionalize
from oracle import randomise

KNOWN = (
    "\nhint: convolutionalize knows convolutions, local pools, activations, dropout, flattening and nn.Linear; put "
    "what is before and behind this layer into an nn.Sequential, or write the network as a convolutional one"
)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1)) if x.sum() > 0 else self.fc(-x.flatten(1))


class Gated(nn.Module):
    """Squeeze and excitation: every pixel is scaled by what the whole image holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 5 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc((x * F.adaptive_avg_pool2d(x, 1).sigmoid()).flatten(1))


class PooledBySize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc(F.avg_pool2d(x, x.shape[2:]).flatten(1))


class Auxiliary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 5 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training:
            x = x.tanh()
        return self.fc(x.flatten(1))


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 5 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).permute(0, 2, 3, 1).flatten(1))


class Stacked(nn.Module):
    """One map below another: on a larger image other rows would stand there."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 10 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc(torch.cat([x, x.relu()], dim=2).flatten(1))


class TrainingArgument(nn.Module):
    """The same layers in both modes, with other numbers in training."""

    def __init__(self, layer: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 5 * 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer(self.conv(x), self.training).flatten(1))


class TwoGrids(nn.Module):
    """Two maps with as many numbers, but not as many places, joined once they are flat."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], features: int = 16) -> None:
        super().__init__()
        self.join = join
        self.stem = nn.Conv2d(1, 4, 3)
        self.top = nn.Conv2d(4, 16, 2)
        self.fc = nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc(self.join(x.flatten(1), self.top(x).flatten(1)))


def cut_pool(pool: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), pool, nn.Flatten(), nn.Linear(4 * 7 * 7, 3))


class TwicePooled(nn.Module):
    """Its windows fit the first time, and not the second."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.pool(x))


class FunctionalPool(nn.Module):
    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)


CUT = (
    " cannot be made convolutional: in ceil_mode, its last windows hang over the end of its map of {}, and are cut "
    "there; within a larger image they would not be\nhint: pass a size at which its map is {}, where they fit; or "
    "build the network without ceil_mode"
)
TWO_GRIDS = (
    " cannot be made convolutional: it joins what was flattened from maps of 4x2x2 and 16x1x1 (channels x height x "
    "width), which do not slide together" + KNOWN
)


def broken() -> nn.Module:
    model = lenet()
    nn.init.constant_(model[0].weight, torch.nan)
    return model


ERRORS: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "no_dense_layer": (
        lambda: create_model("fcn_small", num_classes=2),
        None,
        "FcnSmall has no dense layer (nn.Linear): it is convolutional already\nhint: use it as it is",
    ),
    "not_convolutional": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2)),
        None,
        "the network has no nn.Conv2d: nothing of it slides over an image\n"
        "hint: convolutionalize takes classifiers with convolutions before their dense layers",
    ),
    "branch": (
        Branching,
        None,
        "Branching cannot be traced by torch.fx, which finds its layers: symbolically traced variables cannot be used "
        "as inputs to control flow\n"
        "hint: take Python branches on sizes and values out of forward, or pass nn.Sequential(features, nn.Flatten(), "
        "classifier)",
    ),
    "squeeze_and_excitation": (
        Gated,
        None,
        "the network has a global pool, so it takes every size, and none is its native one\n"
        "hint: pass the size that it was trained at: convolutionalize(model, size=(224, 224))",
    ),
    "squeeze_and_excitation_at_a_size": (
        Gated,
        7,
        "mul cannot be made convolutional: it joins maps of different sizes, as squeeze-and-excitation does: all of "
        "the image" + KNOWN,
    ),
    "group_norm": (
        lambda: with_head(nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 9, 2)),
        None,
        "2 (GroupNorm) cannot be made convolutional: it is not known to give each answer from the pixels nearby, on an "
        "image of any size" + KNOWN,
    ),
    "batch_norm_over_places": (
        lambda: with_head(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 2)),
        None,
        "3 (BatchNorm1d) cannot be made convolutional: it has no convolutional form behind the flattening" + KNOWN,
    ),
    "another_order": (
        Transposed,
        None,
        "permute cannot be made convolutional: it is not known to give each answer from the pixels nearby, on an image "
        "of any size" + KNOWN,
    ),
    "joined_along_space": (
        Stacked,
        None,
        "cat cannot be made convolutional: it is not known to give each answer from the pixels nearby, on an image of "
        "any size" + KNOWN,
    ),
    "pooled_by_size": (
        PooledBySize,
        7,
        "getattr cannot be made convolutional: a size decides what is computed, and it would be another on a larger "
        "image" + KNOWN,
    ),
    "cut_pool": (
        lambda: cut_pool(nn.MaxPool2d(2, ceil_mode=True)),
        15,
        "1 (MaxPool2d)" + CUT.format("13x13", "14x14"),
    ),
    "cut_pool_found": (
        lambda: cut_pool(nn.AvgPool2d(2, ceil_mode=True)),
        None,
        "1 (AvgPool2d)" + CUT.format("13x13", "14x14"),
    ),
    "cut_pool_one_axis": (
        lambda: cut_pool(nn.LPPool2d(2, 3, 2, ceil_mode=True)),
        (17, 16),
        "1 (LPPool2d)" + CUT.format("15x14", "15x15"),
    ),
    "cut_functional_pool": (
        lambda: cut_pool(FunctionalPool(lambda x: F.max_pool2d(x, 2, 2, 0, 1, True))),
        15,
        "max_pool2d in 1" + CUT.format("13x13", "14x14"),
    ),
    "cut_functional_average": (
        lambda: cut_pool(FunctionalPool(lambda x: F.avg_pool2d(x, 2, 2, 0, True))),
        (15, 16),
        "avg_pool2d in 1" + CUT.format("13x14", "14x14"),
    ),
    "smaller_than_a_window": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d((2, 4), ceil_mode=True), nn.Flatten(), nn.Linear(8, 3)),
        (6, 5),
        "1 (MaxPool2d)" + CUT.format("4x3", "4x4"),
    ),
    "cut_pool_used_again": (
        lambda: cut_pool(TwicePooled()),
        28,
        "1.pool (MaxPool2d)" + CUT.format("13x13", "14x14"),
    ),
    "scaled_in_training": (
        lambda: TrainingArgument(lambda x, training: x * (0.5 if training else 1.0)),
        None,
        "the forward pass of TrainingArgument has other layers in training than in evaluation, or other numbers in "
        "them, from mul on\n"
        "hint: build it without what only training needs, such as auxiliary heads (aux_logits=False)",
    ),
    "dropout_in_evaluation": (
        lambda: TrainingArgument(lambda x, training: F.dropout(x, 0.5, not training)),
        None,
        "the forward pass of TrainingArgument has other layers in training than in evaluation, or other numbers in "
        "them, from dropout on\n"
        "hint: build it without what only training needs, such as auxiliary heads (aux_logits=False)",
    ),
    "dropout_in_place": (
        lambda: TrainingArgument(lambda x, training: [x, F.dropout(x, 0.5, training, True)][0]),
        None,
        "the forward pass of TrainingArgument has other layers in training than in evaluation, or other numbers in "
        "them, from dropout on\n"
        "hint: build it without what only training needs, such as auxiliary heads (aux_logits=False)",
    ),
    "feature_alpha_dropout": (
        lambda: TrainingArgument(lambda x, training: F.feature_alpha_dropout(x, 0.5, training)),
        None,
        "the forward pass of TrainingArgument has other layers in training than in evaluation, or other numbers in "
        "them, from feature_alpha_dropout on\n"
        "hint: build it without what only training needs, such as auxiliary heads (aux_logits=False)",
    ),
    "two_grids_added": (
        lambda: TwoGrids(lambda a, b: a + b),
        None,
        "add" + TWO_GRIDS,
    ),
    "two_grids_side_by_side": (
        lambda: TwoGrids(lambda a, b: torch.cat([a, b], 1), 32),
        None,
        "cat" + TWO_GRIDS,
    ),
    "batch_norm_of_the_batch": (
        lambda: with_head(nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(36, 2)),
        None,
        "2 (BatchNorm2d) cannot be made convolutional: it normalises with the statistics of the whole batch\n"
        "hint: build it with running statistics (track_running_stats=True)",
    ),
    "flat_batch_norm_of_the_batch": (
        lambda: with_head(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4, track_running_stats=False)),
        None,
        "4 (BatchNorm1d) cannot be made convolutional: it normalises with the statistics of the whole batch\n"
        "hint: build it with running statistics (track_running_stats=True)",
    ),
    "auxiliary": (
        Auxiliary,
        None,
        "the forward pass of Auxiliary has other layers in training than in evaluation, or other numbers in them, "
        "from flatten on\n"
        "hint: build it without what only training needs, such as auxiliary heads (aux_logits=False)",
    ),
    "uneven_grid": (
        lambda: with_head(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2)),
        (12, 10),
        "2 (AdaptiveAvgPool2d) cannot be made convolutional: at this size it makes a grid of 3x3 from a map of 8x6, "
        "which no regular window does\n"
        "hint: pass a size at which its map is 3x3 or a multiple of it",
    ),
    "another_size": (
        lenet,
        (31, 36),
        "the network does not take images of 31x36 (height x width): a and b must have same reduction dim, but "
        "got [2, 384] X [400, 12].\n"
        "hint: pass the size that it was trained at, or leave it out to have it found",
    ),
    "no_size": (
        lambda: with_head(nn.Flatten(), nn.Linear(37, 2)),
        None,
        "no square image of up to 512 pixels a side fits the network's dense layer\n"
        "hint: pass its native size: convolutionalize(model, size=(height, width))",
    ),
    "no_classifier": (
        lambda: with_head(nn.Flatten(), nn.Linear(36, 4), nn.Unflatten(1, (4, 1))),
        None,
        "4 (Unflatten) cannot be made convolutional: it works on what was flattened, and changes its shape" + KNOWN,
    ),
    "maps": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(8, 8)),
        None,
        "1 (Linear) cannot be made convolutional: it is not known to give each answer from the pixels nearby, on an "
        "image of any size" + KNOWN,
    ),
    "not_finite": (
        broken,
        None,
        "the convolutional form does not give the network's answers at the native size 32x32: they are up to nan large "
        "and differ by nan, of shape (2, 7, 1, 1)\n"
        "hint: check that the network gives finite answers, the same each time, in evaluation mode",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    build, size, message = ERRORS[name]
    model = build()
    with pytest.raises(UsageError) as caught:
        convolutionalize(model, size=size)
    assert str(caught.value) == message


def test_it_checks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong order of the flattened weights is found before anyone uses them."""
    from anysize.models import dense_head

    def scrambled(linear: nn.Linear, grid: tuple[int, int, int], _: object) -> nn.Conv2d:
        convolution = nn.Conv2d(grid[0], linear.out_features, grid[1:], bias=linear.bias is not None)
        weight = linear.weight.detach().reshape(-1, *grid[1:], grid[0]).permute(0, 3, 1, 2)
        convolution.weight = nn.Parameter(weight.contiguous())
        convolution.bias = linear.bias
        return convolution

    monkeypatch.setattr(dense_head, "_convolution", scrambled)
    with pytest.raises(UsageError, match=r"^the convolutional form does not give the network's answers at the native"):
        convolutionalize(randomise(lenet()))


def test_what_does_not_run_is_no_error_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from anysize.models import dense_head

    monkeypatch.setattr(dense_head, "_convolution", lambda linear, *_: nn.Conv2d(1, linear.out_features, 1))
    with pytest.raises(UsageError) as caught:
        convolutionalize(with_head(nn.Flatten(), nn.Linear(36, 2)), size=7)
    received, hint = str(caught.value).split("\nhint: ")
    assert received == (
        "the convolutional form does not run at the native size 7x7: Given groups=1, weight of size [2, 1, 1, 1], "
        "expected input[2, 4, 3, 3] to have 1 channels, but got 4 channels instead"
    )
    assert hint == "write the network as a convolutional one"
