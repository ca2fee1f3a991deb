"""The decode check: every broken file is named, and the statistics are exact."""

import numpy as np
import pytest
from PIL import Image

from anysize.data.check import check_images
from anysize.data.images import read_image
from anysize.data.index import SizeIndex
from anysize.data.problems import FileProblem
from anysize.errors import DataError, UnreadableImagesError


@pytest.fixture
def index(tmp_path):
    with SizeIndex(tmp_path / "index.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_std_are_over_all_pixels_of_all_images(make_image, tmp_path, index, channels) -> None:
    paths = [make_image(f"{n}.png", (3 + 5 * n, 4 + n), seed=n).name for n in range(6)]
    result = check_images(tmp_path, paths, channels, index=index)
    pixels = np.concatenate([read_image(tmp_path / path, channels).reshape(-1, channels) for path in paths])
    assert (result.num_images, result.num_pixels) == (6, len(pixels))
    np.testing.assert_allclose(result.mean, pixels.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(result.std, pixels.std(axis=0), rtol=1e-12)
    assert check_images(tmp_path, paths[::-1], channels, index=index, workers=1).mean == result.mean


def test_a_constant_data_set_has_the_smallest_std(tmp_path, index) -> None:
    Image.new("RGB", (5, 5), (7, 8, 9)).save(tmp_path / "x.png")
    result = check_images(tmp_path, ["x.png"], 3, index=index)
    assert result.mean == (7.0, 8.0, 9.0)
    assert result.std == (1.0, 1.0, 1.0)


def test_problems_and_remarks_are_told_by_relative_path(make_image, tmp_path, index) -> None:
    make_image("good.png")
    cut = make_image("cut.jpg", (64, 64))
    cut.write_bytes(cut.read_bytes()[:-400])
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    result = check_images(tmp_path, ["cut.jpg", "good.png", "clear.png"], 3, index=index)
    assert [problem.path for problem in result.problems] == ["cut.jpg"]
    assert result.problems[0].reason.startswith("cannot be decoded: image file is truncated")
    assert result.remarks == (FileProblem("clear.png", "the image is transparent everywhere: read as all white"),)
    assert result.num_images == 2


def test_nothing_to_check_is_an_error(tmp_path, index) -> None:
    with pytest.raises(DataError, match=r"^no images were given to check\nhint: give at least one image$"):
        check_images(tmp_path, [], 3, index=index)
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(UnreadableImagesError) as caught:
        check_images(tmp_path, ["x.png"], 3, index=index)
    assert caught.value.message == ("none of the 1 images can be read:\n  x.png: the file is empty (0 bytes)")


def test_real_photos(real_data, index) -> None:
    root = real_data / "photos" / "images"
    paths = sorted(path.name for path in root.iterdir())[:10]
    result = check_images(root, paths, 3, index=index)
    pixels = np.concatenate([read_image(root / path, 3).reshape(-1, 3) for path in paths])
    np.testing.assert_allclose(result.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.std, pixels.std(axis=0, dtype=np.float64), rtol=1e-10)
