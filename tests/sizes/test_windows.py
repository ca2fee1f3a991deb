"""Output lengths against what torch's own operators give."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anysize.sizes import Window, format_size


@settings(max_examples=300, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(1, 6),
    padding=st.integers(0, 5),
    dilation=st.integers(1, 4),
    length=st.integers(1, 40),
)
def test_convolution(kernel: int, stride: int, padding: int, dilation: int, length: int) -> None:
    window = Window(kernel=kernel, stride=stride, padding_before=padding, padding_after=padding, dilation=dilation)
    weight = torch.zeros(1, 1, kernel)
    if length < window.smallest_input:
        assert window.output(length) < 1
        with pytest.raises(RuntimeError):
            F.conv1d(torch.zeros(1, 1, length), weight, None, stride, padding, dilation)
    else:
        result = F.conv1d(torch.zeros(1, 1, length), weight, None, stride, padding, dilation)
        assert window.output(length) == result.shape[2]


@settings(max_examples=400, deadline=None)
@given(data=st.data(), ceil_mode=st.booleans())
def test_pool(data: st.DataObject, ceil_mode: bool) -> None:
    kernel, stride, dilation, length = (data.draw(st.integers(1, top)) for top in (7, 6, 4, 40))
    padding = data.draw(st.integers(0, kernel // 2))
    window = Window(
        kernel=kernel, stride=stride, padding_before=padding, padding_after=padding, dilation=dilation,
        ceil_mode=ceil_mode,
    )  # fmt: skip
    if length < window.smallest_input:
        assert window.output(length) < 1
        with pytest.raises(RuntimeError):
            F.max_pool1d(torch.zeros(1, 1, length), kernel, stride, padding, dilation, ceil_mode)
    else:
        result = F.max_pool1d(torch.zeros(1, 1, length), kernel, stride, padding, dilation, ceil_mode)
        assert window.output(length) == result.shape[2]


@given(kernel=st.integers(1, 6), dilation=st.integers(1, 3), length=st.integers(1, 20))
def test_same_padding_keeps_the_length(kernel: int, dilation: int, length: int) -> None:
    total = dilation * (kernel - 1)
    window = Window(kernel=kernel, dilation=dilation, padding_before=total // 2, padding_after=total - total // 2)
    assert window.output(length) == length
    assert window.smallest_input == 1


@settings(max_examples=300)
@given(
    kernel=st.integers(1, 9),
    stride=st.integers(1, 9),
    before=st.integers(0, 6),
    after=st.integers(0, 6),
    dilation=st.integers(1, 4),
    ceil_mode=st.booleans(),
)
def test_smallest_input_is_exact(
    kernel: int, stride: int, before: int, after: int, dilation: int, ceil_mode: bool
) -> None:
    window = Window(
        kernel=kernel, stride=stride, padding_before=before, padding_after=after, dilation=dilation,
        ceil_mode=ceil_mode,
    )  # fmt: skip
    smallest = window.smallest_input
    assert smallest >= 1
    assert all(window.output(length) >= 1 for length in range(smallest, smallest + 30))
    assert all(window.output(length) < 1 for length in range(1, smallest))


@given(kernel=st.integers(1, 6), stride=st.integers(1, 6), ceil_mode=st.booleans())
def test_longer_inputs_never_give_fewer_outputs(kernel: int, stride: int, ceil_mode: bool) -> None:
    assume(kernel > 1 or stride > 1)
    window = Window(kernel=kernel, stride=stride, ceil_mode=ceil_mode)
    outputs = [window.output(length) for length in range(1, 60)]
    assert outputs == sorted(outputs)


def test_extent_and_format() -> None:
    assert Window(kernel=3, dilation=4).extent == 9
    assert Window(kernel=1, dilation=4).extent == 1
    assert format_size((480, 640)) == "480x640"
    assert format_size((7,)) == "7"
    with pytest.raises(TypeError):
        Window(3)  # type: ignore[misc]
