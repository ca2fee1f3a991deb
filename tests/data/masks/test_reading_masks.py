"""Mask files to class indices: every way in which a PNG holds numbers, against the numbers that were written."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data.masks import IGNORED, UNKNOWN, MaskCoding, read_mask
from anysize.data.masks.coding import index_coding
from anysize.data.masks.facts import NO_COLOR, pack_facts, read_facts, unpack_facts
from anysize.data.masks.palette import default_palette
from anysize.data.masks.values import read_values
from anysize.data.pillow import ImageReadError
from anysize.errors import DataError

_RNG = np.random.default_rng(0)
_CAP = 10**8


def _all_values() -> MaskCoding:
    return index_coding({value: value for value in range(256)}, 255)


def _png(path: Path, values: np.ndarray, bits: int) -> Path:
    """A grey PNG of this depth, written bit by bit (PNG specification, section 7.2)."""
    height, width = values.shape
    rows = b""
    for row in values.tolist():
        text = "".join(format(value, f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_levels_of_any_depth_are_read_as_numbers(tmp_path: Path, bits: int) -> None:
    values = _RNG.integers(0, min(2**bits, 256), (7, 11))
    path = _png(tmp_path / "m.png", values, bits)
    mask = read_mask(path, _all_values())
    assert (mask.dtype, mask.flags.c_contiguous, mask.flags.writeable) == (np.uint8, True, True)
    assert mask.tolist() == values.tolist()
    facts = read_facts(path, _CAP)
    expected = {value: int((values == value).sum()) for value in np.unique(values).tolist()}
    assert dict(zip(facts.values.tolist(), facts.counts.tolist(), strict=True)) == expected


def test_a_palette_is_read_as_indices_whatever_its_colors(tmp_path: Path) -> None:
    values = _RNG.integers(0, 5, (6, 9)).astype(np.uint8)
    image = Image.fromarray(values)
    image.putpalette([200, 200, 200, 9, 9, 9, 1, 2, 3, 4, 5, 6, 0, 0, 255])  # only 5 entries
    image.save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as written:
        assert written.mode == "P"
    assert read_mask(tmp_path / "m.png", _all_values()).tolist() == values.tolist()
    facts = read_facts(tmp_path / "m.png", _CAP)
    assert facts.colors[:5].tolist() == [0xC8C8C8, 0x090909, 0x010203, 0x040506, 0x0000FF]
    assert unpack_facts(pack_facts(facts)) == facts


def test_values_are_translated_and_unknown_ones_refused(tmp_path: Path) -> None:
    values = np.array([[0, 128, 255, 128]], np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    coding = index_coding({0: 1, 128: 0, 255: IGNORED}, 2)
    assert read_mask(tmp_path / "m.png", coding).tolist() == [[1, 0, 255, 0]]
    with pytest.raises(DataError) as caught:
        read_mask(tmp_path / "m.png", index_coding({0: 0, 255: 1}, 2))
    assert caught.value.message == f"{tmp_path / 'm.png'} has 2 pixels of values that name no class: 128"
    _png(tmp_path / "deep.png", np.array([[0, 300]]), 16)
    with pytest.raises(DataError, match="values that name no class: 300"):
        read_mask(tmp_path / "deep.png", coding)


def test_colors_are_looked_up(tmp_path: Path) -> None:
    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 254), (1, 1, 1)], np.uint8)
    chosen = _RNG.integers(0, 4, (5, 8))
    Image.fromarray(colors[chosen]).save(tmp_path / "m.png")
    table = (((1, 1, 1), 0), ((0, 0, 254), IGNORED), ((255, 0, 0), 1), ((0, 0, 0), 2))
    coding = MaskCoding(num_classes=3, lookup=(UNKNOWN,) * 256, colors=table)
    assert read_mask(tmp_path / "m.png", coding).tolist() == np.array([2, 1, 255, 0])[chosen].tolist()
    # A palette image whose indices are anything, and greys.
    indexed = Image.fromarray(chosen.astype(np.uint8))
    indexed.putpalette(colors.ravel().tolist())
    indexed.save(tmp_path / "p.png")
    assert read_mask(tmp_path / "p.png", coding).tolist() == np.array([2, 1, 255, 0])[chosen].tolist()
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "l.png")
    assert read_mask(tmp_path / "l.png", coding).tolist() == [[2, 0]]
    short = MaskCoding(num_classes=2, lookup=(UNKNOWN,) * 256, colors=table[2:])
    with pytest.raises(DataError, match=r"colours that name no class: #0000fe, #010101\n"):
        read_mask(tmp_path / "m.png", short)


def test_a_mask_in_color_is_no_mask_of_indices(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "m.png")
    with pytest.raises(DataError, match="is a mask in colour; masks of indices are required"):
        read_mask(tmp_path / "m.png", _all_values())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_masks_as_it_turns_images(tmp_path: Path, orientation: int) -> None:
    from anysize.data.images import read_image

    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "m.png", exif=exif)
    assert read_mask(tmp_path / "m.png", _all_values()).tolist() == read_image(tmp_path / "m.png", 1)[..., 0].tolist()
    Image.fromarray(np.stack([values] * 3, axis=-1)).save(tmp_path / "rgb.png", exif=exif)
    assert read_values(tmp_path / "rgb.png").values.tolist() == read_image(tmp_path / "rgb.png", 3).tolist()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("F", "its pixels are of mode F (floating point); a label mask is a palette or grey PNG"),
        ("RGBA", "6 of its 6 pixels are transparent, and a label mask has no transparency"),
        ("LA", "6 of its 6 pixels are transparent"),
        ("CMYK", "its pixels are of mode CMYK (printing inks)"),
    ],
)
def test_what_is_no_mask(tmp_path: Path, mode: str, reason: str) -> None:
    path = tmp_path / ("m.tif" if mode in ("F", "CMYK") else "m.png")
    Image.new(mode, (3, 2)).save(path)
    with pytest.raises(ImageReadError) as caught:
        read_mask(path, _all_values())
    assert caught.value.reason.startswith(reason)


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path) -> None:
    grey = np.array([[3, 1, 2]], np.uint8)
    Image.merge("LA", [Image.fromarray(grey), Image.new("L", (3, 1), 255)]).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", _all_values()).tolist() == grey.tolist()


def test_pixels_between_their_neighbours_against_a_loop(tmp_path: Path) -> None:
    values = _RNG.integers(0, 5, (9, 13)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    height, width = values.shape
    expected = dict.fromkeys(range(5), 0)
    for y in range(height):
        for x in range(width):
            inside = False
            for reach in (1, 2):
                for dy, dx in ((reach, 0), (0, reach)):
                    if y - dy >= 0 and y + dy < height and x - dx >= 0 and x + dx < width:
                        ends = sorted((int(values[y - dy, x - dx]), int(values[y + dy, x + dx])))
                        inside |= ends[0] < values[y, x] < ends[1]
            expected[int(values[y, x])] += inside
    facts = read_facts(tmp_path / "m.png", _CAP)
    assert dict(zip(facts.values.tolist(), facts.between.tolist(), strict=True)) == expected
    assert sum(expected.values()) > 10
    assert set(facts.colors.tolist()) == {NO_COLOR}


def test_the_default_palette_has_different_colors() -> None:
    palette = default_palette(255)
    assert len(set(palette)) == 255
    expected = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 64, 128))  # VOC's own table, in part
    assert tuple(palette[label] for label in (0, 1, 2, 3, 20)) == expected
