import math

import pytest

from anysize.reporting.text import compact_count, percent, pixels_range_text, pixels_text, shorten_middle


@pytest.mark.parametrize(
    ("text", "max_chars", "expected"),
    [
        ("cat", 3, "cat"),
        ("cat", 10, "cat"),
        ("", 1, ""),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 4, "a…ef"),
        ("abcdef", 2, "…f"),
        ("abcdef", 1, "…"),
    ],
)
def test_shorten_middle(text: str, max_chars: int, expected: str) -> None:
    assert shorten_middle(text, max_chars) == expected


def test_shortened_texts_are_never_longer_than_asked() -> None:
    text = "train/n02099601/IMG_0031 (copy).jpeg"
    lengths = [len(shorten_middle(text, n)) for n in range(1, 60)]
    assert lengths == [min(n, len(text)) for n in range(1, 60)]


def test_shorten_middle_refuses_no_room() -> None:
    with pytest.raises(ValueError, match=r"^max_chars is 0; at least 1 is needed$"):
        shorten_middle("cat", 0)


@pytest.mark.parametrize(
    ("share", "decimals", "expected"),
    [
        (0.0, None, "0 %"),
        (1e-9, None, "<0.1 %"),
        (0.0994, None, "9.9 %"),
        (0.0996, None, "10 %"),
        (0.62, None, "62 %"),
        (0.994, None, "99 %"),
        (0.995, None, ">99 %"),
        (1.0, None, "100 %"),
        (0.8734, 1, "87.3 %"),
        (0.99951, 1, ">99.9 %"),
        (0.004, 0, "<1 %"),
        (math.nan, None, "–"),
    ],
)
def test_percent(share: float, decimals: int | None, expected: str) -> None:
    assert percent(share, decimals=decimals) == expected


def test_counts_and_areas_are_short() -> None:
    assert [compact_count(n) for n in (0, 999, 1000, 9_949, 9_951, 999_499, 999_500)] == [
        "0",
        "999",
        "1.0k",
        "9.9k",
        "10k",
        "999k",
        "1.0M",
    ]
    assert max(len(compact_count(10**n - 1)) for n in range(1, 12)) == 4
    assert [pixels_text(n) for n in (999, 1_000, 50_176, 4e9)] == ["999 px", "1.0 kpx", "50 kpx", "4.0 Gpx"]
    assert pixels_range_text(262_144, 1_048_576) == "262 kpx–1.0 Mpx"
    assert pixels_range_text(100, 900) == "100–900 px"
