"""A look at one file, compared with loops over its pixels; and copies among files."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.data.images import ImageReadError
from anysize.data.table import ImageTable
from anysize.doctor.data.copies import find_copies
from anysize.doctor.data.gather import chosen_rows, in_threads, look_at_all
from anysize.doctor.data.look import file_digest, look_at_image, look_at_mask, num_bytes_of, ramp_counts
from anysize.doctor.data.survey import Part

CAP = 10**6


def noise(seed: int, height: int = 30, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_an_image(tmp_path: Path) -> None:
    pixels = noise(1) // 2 + 10
    Image.fromarray(pixels).save(tmp_path / "a.png")
    look = look_at_image(tmp_path / "a.png", max_image_pixels=CAP)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    assert (look.size, look.mode, look.orientation, look.remark) == ((30, 40), "RGB", 1, None)
    assert (look.low, look.high) == (grey.min(), grey.max())
    assert look.rgb.mean() == pytest.approx(pixels.reshape(-1, 3).mean(axis=0))
    assert not look.grey_as_color
    assert len(look.thumbnail) == 1024


def test_grey_in_three_channels(tmp_path: Path) -> None:
    grey = noise(2)[..., :1].repeat(3, axis=2)
    Image.fromarray(grey).save(tmp_path / "rgb.png")
    Image.fromarray(grey[..., 0]).save(tmp_path / "l.png")
    assert look_at_image(tmp_path / "rgb.png", max_image_pixels=CAP).grey_as_color
    assert not look_at_image(tmp_path / "l.png", max_image_pixels=CAP).grey_as_color  # it is stored as grey


def test_an_image_that_is_cut(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageReadError, match="truncated"):
        look_at_image(tmp_path / "a.png", max_image_pixels=CAP)


def naive_ramps(values: np.ndarray) -> tuple[int, int]:
    steps = ramps = 0
    for row in values.tolist():
        signs = []
        for left, right in itertools.pairwise(row):
            real = left != right and 255 not in (left, right)
            signs.append((1 if right > left else -1) if real else 0)
        steps += sum(sign != 0 for sign in signs)
        ramps += sum(a == b != 0 for a, b in itertools.pairwise(signs))
    return steps, ramps


@pytest.mark.parametrize("seed", range(8))
def test_ramps_are_those_of_a_loop(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.choice([0, 1, 2, 5, 255], (int(generator.integers(1, 9)), int(generator.integers(1, 30))))
    assert ramp_counts(values.astype(np.uint8)) == naive_ramps(values)


def test_resizing_smoothly_shows_in_the_ramps() -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[20:60, 30:80], mask[50:80, 60:110] = 6, 3
    picture = Image.fromarray(mask)
    steps, ramps = ramp_counts(np.asarray(picture.resize((180, 135), Image.Resampling.BILINEAR)))
    assert ramps > 0.3 * steps > 0
    steps, ramps = ramp_counts(np.asarray(picture.resize((180, 135), Image.Resampling.NEAREST)))
    assert ramps == 0 < steps


def test_masks(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9], mask[12:] = 2, 255
    stored = Image.fromarray(mask)
    stored.putpalette([0, 0, 0, 9, 9, 9, 128, 0, 0] + [7] * 759)
    stored.save(tmp_path / "p.png")
    look = look_at_mask(tmp_path / "p.png", max_image_pixels=CAP)
    assert (look.size, look.mode, look.format) == ((20, 30), "P", "PNG")
    assert look.values == ((0, 210), (2, 150), (255, 240))
    assert (look.colors, look.num_colors) == ((), 0)
    Image.fromarray(np.stack([mask, mask * 0, mask * 0], axis=2)).save(tmp_path / "rgb.png")
    colored = look_at_mask(tmp_path / "rgb.png", max_image_pixels=CAP)
    assert colored.values == ()
    assert colored.colors == (((255, 0, 0), 240), ((0, 0, 0), 210), ((2, 0, 0), 150))
    assert colored.num_colors == 3


def table(root: Path, paths: list[str], labels: list[int] | None = None) -> ImageTable:
    sizes = []
    for path in paths:
        with Image.open(root / path) as image:
            sizes.append(image.size[::-1])
    return ImageTable(
        root=root,
        paths=tuple(paths),
        labels=None if labels is None else np.array(labels, np.int64),
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        channels=np.full(len(paths), 3, np.int8),
    )


def test_copies(tmp_path: Path) -> None:
    for number in range(4):
        # Noise is not compressed: files of one size would be of one length.
        Image.fromarray(noise(number, 30 + number)).save(tmp_path / f"t{number}.png")
    (tmp_path / "t4.png").write_bytes((tmp_path / "t0.png").read_bytes())  # byte for byte, in the same part
    Image.fromarray(noise(1, 31)).save(tmp_path / "v0.bmp")  # the pixels, in another format
    (tmp_path / "v1.png").write_bytes((tmp_path / "t2.png").read_bytes())
    Image.fromarray(noise(9)).save(tmp_path / "v2.png")
    parts = [
        Part(name="train", table=table(tmp_path, [f"t{number}.png" for number in range(5)], [0, 0, 1, 1, 0])),
        Part(name="val", table=table(tmp_path, ["v0.bmp", "v1.png", "v2.png"], [0, 0, 0])),
    ]
    looked = look_at_all(chosen_rows(parts, 100), max_image_pixels=CAP, progress=lambda *_: None)
    found = find_copies(parts, looked.seen, looked.pairs, lambda *_: None)
    assert {(group.paths, group.same_file, group.same_labels) for group in found} == {
        (("t0.png", "t4.png"), True, True),
        (("t1.png", "v0.bmp"), False, True),
        (("t2.png", "v1.png"), True, False),
    }
    # Without a single decoded image, the bytes tell.
    assert {group.paths for group in find_copies(parts, [], [], lambda *_: None)} == {
        ("t0.png", "t4.png"),
        ("t2.png", "v1.png"),
    }


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    content = b"x" * (1 << 20) + b"y"
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(content, digest_size=16).digest()
    assert num_bytes_of(str(tmp_path / "a")) == len(content)
    assert (file_digest(tmp_path / "b"), num_bytes_of(tmp_path / "b")) == (b"", -1)


def test_a_sample_is_the_same_each_time_and_has_each_part(tmp_path: Path) -> None:
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    parts = [
        Part(name="train", table=table(tmp_path, ["a.png"] * 97)),
        Part(name="val", table=table(tmp_path, ["a.png"])),
    ]
    (_, train), (_, val) = chosen_rows(parts, 10)
    assert [rows for _, rows in chosen_rows(parts, 10)] == [train, val]
    assert (len(train), val) == (10, [0])
    assert train == sorted(set(train))
    assert [rows for _, rows in chosen_rows(parts, 98)] == [list(range(97)), [0]]


def test_threads_keep_the_order() -> None:
    assert list(in_threads(lambda item: item * item, range(500))) == [item * item for item in range(500)]


def packed_png(path: Path, values: np.ndarray, bits: int) -> None:
    """A grey PNG of ``bits`` bits a pixel, written by hand: Pillow has no such mode to write."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    rows = b""
    for row in values:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits), 8))
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_hold_what_was_written(bits: int, tmp_path: Path) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (9, 13))
    packed_png(tmp_path / "a.png", values, bits)
    look = look_at_mask(tmp_path / "a.png", max_image_pixels=CAP)
    assert look.values == tuple((value, int((values == value).sum())) for value in range(2**bits))
    assert (look.num_steps, look.num_ramps) == naive_ramps(values)


def test_the_values_that_ramps_run_through(tmp_path: Path) -> None:
    row = [0, 0, 1, 2, 2, 1, 0, 0, 3, 7, 9]
    Image.fromarray(np.array([row] * 4, np.uint8)).save(tmp_path / "a.png")
    look = look_at_mask(tmp_path / "a.png", max_image_pixels=CAP)
    # Between 0 and 2, 2 and 0, 0 and 7, 3 and 9.
    assert (look.num_ramps, look.ramp_values) == (16, ((1, 8), (3, 4), (7, 4)))


def test_a_mask_that_is_turned_by_exif_is_seen_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.eye(4, 9, dtype=np.uint8)).save(tmp_path / "a.png", exif=exif)
    look = look_at_mask(tmp_path / "a.png", max_image_pixels=CAP)
    assert (look.size, look.orientation) == ((9, 4), 6)
