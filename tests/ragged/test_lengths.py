"""A length is one integer per image; what would need a single number is refused where the images differ."""

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anysize.errors import MixedSizesError
from anysize.ragged import Length

HINT = "\nhint: batch images of one size together, or compute from the batch without converting to int"
MIXED, EQUAL = Length((6, 9)), Length((6, 6))


@given(
    values=st.lists(st.integers(1, 10_000), min_size=1, max_size=5),
    number=st.integers(1, 50),
    function=st.sampled_from(
        [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod]
    ),
)
def test_arithmetic_is_per_image(values: list[int], number: int, function: Any) -> None:
    length = Length(tuple(values))
    assert function(length, number).values == tuple(function(value, number) for value in values)
    both = function(length, length + number)
    assert both.values == tuple(function(value, value + number) for value in values)
    if function in (operator.add, operator.sub, operator.mul):
        assert function(number, length).values == tuple(function(number, value) for value in values)
    assert (-(-length // number)).values == tuple(-(-value // number) for value in values)


def test_same_padding_as_models_compute_it() -> None:
    assert ((3 - MIXED % 3) % 3).values == (0, 0)
    assert ((-(-MIXED // 2) - 1) * 2 + 3 - MIXED).values == (1, 2)
    assert max(Length((1, 1)), 0).values == (1, 1)


@pytest.mark.parametrize("function", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
def test_comparisons_answer_where_the_images_agree(function: Any) -> None:
    for number in (5, 6, 7):
        assert function(EQUAL, number) is function(6, number)
        assert function(number, EQUAL) is function(number, 6)
        assert function(EQUAL, Length((number, number))) is function(6, number)
    assert function(MIXED, 20) is function(6, 20)
    assert function(MIXED, MIXED + 1) is function(6, 7)
    symbol = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[function.__name__]
    edge = 9 if function in (operator.le, operator.gt, operator.ge, operator.lt) else 6
    edge = 8 if function in (operator.le, operator.gt) else edge
    with pytest.raises(MixedSizesError) as caught:
        function(MIXED, edge)
    answers = ", ".join(str(function(value, edge)) for value in (6, 9))
    assert str(caught.value) == (
        f"the answer to '{symbol}' was asked of a length that differs between the images of the batch: {answers}{HINT}"
    )


def test_conversions() -> None:
    assert (int(EQUAL), float(EQUAL), bool(EQUAL), operator.index(EQUAL)) == (6, 6.0, True, 6)
    assert list(range(EQUAL)) == list(range(6))
    assert not Length((0, 0))
    for convert, purpose in (
        (int, "a single number"),
        (float, "a single number"),
        (bool, "a truth value"),
        (operator.index, "an index"),
        (range, "an index"),
    ):
        with pytest.raises(MixedSizesError) as caught:
            convert(MIXED)
        assert str(caught.value) == (
            f"{purpose} was asked of a length that differs between the images of the batch: 6, 9{HINT}"
        )


def test_many_images_are_not_all_listed() -> None:
    with pytest.raises(MixedSizesError) as caught:
        int(Length(tuple(range(1, 11))))
    assert str(caught.value) == (
        "a single number was asked of a length that differs between the images of the batch: "
        f"1, 2, 3, 4, 5, 6, 7, 8, ... (10 images){HINT}"
    )
    assert repr(MIXED) == "Length(6, 9)"


def test_what_a_length_is_not() -> None:
    with pytest.raises(TypeError):
        hash(EQUAL)
    with pytest.raises(TypeError):
        EQUAL + "1"  # type: ignore[operator]
    with pytest.raises(TypeError):
        operator.index(EQUAL / 2)
    with pytest.raises(ValueError, match="shorter"):
        EQUAL + Length((1,))
    assert (EQUAL == "6") is False
    assert EQUAL != "6"
