"""What comes out of `read_header` and `read_image`, pixel by pixel where the truth is known."""

import csv
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from anysize.data.images import ImageHeader, ImageReadError, read_header, read_image, read_with_remark

_TURNED = {"5", "6", "7", "8"}


def _manifest(real_data: Path) -> list[dict[str, str]]:
    with (real_data / "hard_inputs" / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_hard_inputs_load_at_the_manifests_size_or_are_refused(real_data: Path) -> None:
    rows = _manifest(real_data)
    assert len(rows) == 44
    for row in rows:
        path = real_data / "hard_inputs" / "files" / row["file"]
        if row["pillow13_status"] != "ok":
            for channels in (1, 3):
                with pytest.raises(ImageReadError) as caught:
                    read_image(path, channels)
                assert caught.value.reason
                assert "<" not in caught.value.reason, "no addresses of Python objects"
            continue
        width, height = map(int, row["size_wxh"].split("x"))
        if row["exif_orientation"] in _TURNED:
            height, width = width, height
        header = read_header(path)
        assert (header.height, header.width) == (height, width), row["file"]
        assert header.frames == int(row["frames"])
        assert header.channels == (1 if row["mode"] in ("1", "L", "I", "I;16", "F") else 3)
        assert header.format == row["format"]
        for channels in (1, 3):
            image = read_image(path, channels)
            assert image.shape == (height, width, channels)
            assert image.dtype == np.uint8
            assert image.flags["C_CONTIGUOUS"]
            assert image.flags["WRITEABLE"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_every_orientation_is_as_pillow_has_it(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    path = tmp_path / f"x.{kind}"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(read_image(path, 3), expected)
    header = read_header(path)
    assert (header.height, header.width) == expected.shape[:2] == ((9, 5) if orientation >= 5 else (5, 9))


def test_an_orientation_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    body = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk + data[-12:])  # 12: the IEND chunk
    assert read_header(path) == ImageHeader(9, 5, 3, 1, "PNG")
    assert np.array_equal(read_image(path, 3), np.rot90(pixels, -1))


@pytest.mark.parametrize("block", [b"MM\x00*\x00\x00\xff\xff", b"no TIFF header at all", b""])
def test_a_broken_exif_block_is_ignored(tmp_path: Path, block: bytes) -> None:
    for name in ("x.jpg", "x.png", "x.webp"):
        Image.new("RGB", (4, 3)).save(tmp_path / name, exif=b"Exif\x00\x00" + block)
        assert read_header(tmp_path / name).height == 3
        assert read_image(tmp_path / name, 3).shape == (3, 4, 3)


def test_16_bit_is_divided_by_257_and_never_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 385, 386], [30000, 32768, 65000, 65406, 65407, 65535]], np.uint16)
    expected = [[0, 0, 1, 1, 1, 2], [117, 128, 253, 254, 255, 255]]
    for name in ("x.png", "x.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert read_image(tmp_path / name, 1)[..., 0].tolist() == expected
        assert (read_image(tmp_path / name, 3) == np.array(expected)[..., None]).all()
    (tmp_path / "x.pgm").write_bytes(b"P5 6 2 65535\n" + values.astype(">u2").tobytes())
    assert read_image(tmp_path / "x.pgm", 1)[..., 0].tolist() == expected


def test_a_dark_16_bit_image_comes_with_a_remark(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 700, np.uint16)).save(tmp_path / "x.png")
    assert read_with_remark(tmp_path / "x.png", 1)[1] == (
        "16-bit values only up to 700: at 8 bit 3 grey levels are left"
    )


def test_a_transparent_16_bit_value_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 30000, 65535]], np.uint16)).save(tmp_path / "x.png", transparency=30000)
    assert read_image(tmp_path / "x.png", 1)[0, :, 0].tolist() == [0, 255, 255]


def test_1_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[True, False, True], [False, False, True]])
    for name in ("x.png", "x.tif", "x.bmp", "x.pbm"):
        Image.fromarray(bits).save(tmp_path / name)
        assert (read_image(tmp_path / name, 1)[..., 0] == bits * 255).all()
        assert read_header(tmp_path / name).channels == 1


@pytest.mark.parametrize(
    ("values", "expected", "remark"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255], None),
        ([0.0, 99.6, 255.0], [0, 100, 255], None),
        (
            [-1.0, 0.0, 3.0],
            [0, 64, 255],
            "values from -1 to 3 are stretched to 0..255 for this image alone: brightness cannot be "
            "compared with other images; store 8 or 16 bit with one scale for all",
        ),
    ],
)
def test_float_images(tmp_path: Path, values: list[float], expected: list[int], remark: str | None) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "x.tif")
    pixels, found = read_with_remark(tmp_path / "x.tif", 1)
    assert pixels[0, :, 0].tolist() == expected
    assert found == remark


def test_float_images_with_nan_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ImageReadError, match=r"^cannot be decoded: it holds NaN or infinite values$"):
        read_image(tmp_path / "x.tif", 1)


def test_32_bit_integers(tmp_path: Path) -> None:
    for values, expected in (([0, 7, 255], [0, 7, 255]), ([2570, 5140, 65535], [10, 20, 255])):
        Image.fromarray(np.array([values], np.int32)).save(tmp_path / "x.tif")
        assert read_image(tmp_path / "x.tif", 1)[0, :, 0].tolist() == expected


def test_palettes(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2, 1]], np.uint8)
    for colors, channels in (
        ((10, 20, 30, 200, 0, 0, 0, 0, 90), 3),
        ((7, 7, 7, 99, 99, 99, 250, 250, 250), 1),
    ):
        image = Image.fromarray(indices, mode=None).convert("L")
        image = Image.frombytes("P", (4, 1), indices.tobytes())
        image.putpalette(colors)
        expected = np.array(colors, np.uint8).reshape(3, 3)[indices]
        for name in ("x.png", "x.tif", "x.bmp"):
            image.save(tmp_path / name)
            assert np.array_equal(read_image(tmp_path / name, 3), expected), name
            if name != "x.bmp":  # Pillow pads a BMP palette with greys of its own
                assert read_header(tmp_path / name).channels == channels, name


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "rgba.png", 3).tolist() == [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]
    la = Image.merge("LA", [Image.fromarray(rgba[..., 1]), Image.fromarray(rgba[..., 3])])
    la.save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png", 1)[0, :, 0].tolist() == [100, 255, 224]
    assert read_header(tmp_path / "la.png").channels == 1
    Image.fromarray(np.array([[3, 9]], np.uint8)).save(tmp_path / "l.png", transparency=9)
    assert read_image(tmp_path / "l.png", 1)[0, :, 0].tolist() == [3, 255]
    Image.fromarray(rgba[..., :3]).save(tmp_path / "rgb.png", transparency=(200, 100, 0))
    assert read_image(tmp_path / "rgb.png", 3).min() == 255


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.frombytes("P", (2, 1), b"\x00\x01")
    image.putpalette((10, 20, 30, 200, 0, 0))
    for name in ("x.png", "x.gif"):
        image.save(tmp_path / name, transparency=1)
        assert read_image(tmp_path / name, 3).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_an_image_that_is_transparent_everywhere_is_white_with_a_remark(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (9, 9, 9, 0)).save(tmp_path / "x.png")
    pixels, remark = read_with_remark(tmp_path / "x.png", 3)
    assert (pixels == 255).all()
    assert remark == "the image is transparent everywhere: read as all white"


def test_cmyk_and_lab(tmp_path: Path) -> None:
    Image.new("CMYK", (1, 1), (0, 255, 255, 0)).save(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif", 3).tolist() == [[[255, 0, 0]]]
    assert read_image(tmp_path / "x.tif", 1).tolist() == [[[76]]]  # 0.299 x 255
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(30, 226, (16, 16, 3), dtype=np.uint8))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(rgb, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    difference = read_image(tmp_path / "lab.tif", 3).astype(int) - np.asarray(rgb)
    assert np.abs(difference).mean() < 1.5  # LAB itself was rounded to 8 bit
    assert np.abs(difference).max() <= 8


def test_grey_is_the_luma_of_the_rgb_image(make_image, tmp_path: Path) -> None:
    path = make_image("x.png")
    rgb = read_image(path, 3).astype(float)
    luma = rgb @ [0.299, 0.587, 0.114]
    assert np.abs(read_image(path, 1)[..., 0] - luma).max() <= 1


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read_header(tmp_path / "x.gif").frames == 3
    assert (read_image(tmp_path / "x.gif", 3) == [255, 0, 0]).all()


def test_a_decompression_bomb_is_an_error_with_advice(make_image) -> None:
    path = make_image("x.png", (10, 20))
    assert read_image(path, 3, max_image_pixels=200).shape == (10, 20, 3)
    for read in (read_header, lambda path, **cap: read_image(path, 3, **cap)):
        with pytest.raises(ImageReadError) as caught:
            read(path, max_image_pixels=199)
        assert caught.value.reason == (
            "the header says 200 pixels, above the limit of 199 (a decompression bomb?); "
            "if the image is meant to be that large, raise --max-image-pixels"
        )
        assert not caught.value.lasting


def _ppm_header(path: Path, width: int, height: int) -> Path:
    path.write_bytes(f"P6 {width} {height} 255\n".encode())
    return path


def test_pillows_own_limit_neither_warns_nor_stands_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    huge = _ppm_header(tmp_path / "huge.ppm", 30_000, 30_000)
    with pytest.raises(ImageReadError, match="the header says 900,000,000 pixels, above the limit of 178,956,970"):
        read_header(huge)
    assert read_header(huge, max_image_pixels=900_000_000).width == 30_000
    # between once and twice Pillow's limit it would warn; a warning is an error here
    assert read_header(_ppm_header(tmp_path / "big.ppm", 20_000, 10_000), max_image_pixels=10**9).width == 20_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"hello", "no JPEG, PNG, WEBP, TIFF, BMP, GIF or PPM image, or its header is damaged"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageReadError) as caught:
        read_header(tmp_path / "x.jpg")
    assert caught.value.reason == reason
    assert caught.value.lasting


def test_formats_off_the_list_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", format="TGA")
    with pytest.raises(ImageReadError, match="no JPEG, PNG, WEBP"):
        read_header(tmp_path / "x.png")


def test_missing_files_and_links_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    for name, reason in (("none.png", "no such file"), ("link.png", "the link points to no file")):
        with pytest.raises(ImageReadError) as caught:
            read_header(tmp_path / name)
        assert caught.value.reason == reason
        assert not caught.value.lasting


def test_a_truncated_image_is_an_error_though_its_header_is_good(make_image) -> None:
    path = make_image("x.jpg", (64, 64))
    path.write_bytes(path.read_bytes()[:-400])
    assert read_header(path).height == 64
    with pytest.raises(ImageReadError, match=r"^cannot be decoded: image file is truncated"):
        read_image(path, 3)


def test_threads_leave_the_warning_filters_as_they_were(real_data: Path) -> None:
    path = real_data / "hard_inputs" / "files" / "image01551.jpg"  # its EXIF makes Pillow warn
    before = list(warnings.filters)
    failures: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(20):
                read_image(path, 3)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before
