"""Masks of a segmenter: each is what its image would get alone, at its native size, under a name of its own."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anysize.console import Console
from anysize.data.masks import MaskCoding, default_palette, read_mask
from anysize.errors import UsageError
from anysize.inference import PredictConfig
from anysize.inference.mask_files import write_mask
from anysize.inference.naming import output_names
from anysize.inference.predict import predict
from anysize.inference.predict_maps import SegmentationPredictions
from anysize.inference.segment import classes_at
from anysize.models import load_model
from toy import QUIET
from toy_segmenter import CLASSES, SIZES, alone, bilinear, clear, random_image, save_segmenter, write_pairs


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_segmenter(tmp_path_factory.mktemp("segmenter") / "net.safetensors")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs")) / "images"


def ask(weights: Path, *images: Path, **options: Any) -> SegmentationPredictions:
    config = PredictConfig(run=weights, images=images, **{"workers": 0, "device": "cpu", **options})
    answers = predict(config, console=QUIET)
    assert isinstance(answers, SegmentationPredictions)
    return answers


def pixels_of(path: Path | str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_masks_are_those_of_each_image_alone(weights: Path, images: Path, tmp_path: Path) -> None:
    model, _ = load_model(weights)
    answers = ask(weights, images, output=tmp_path / "out", batch_size=4).answers
    assert len(answers) == len(SIZES)
    for answer in answers:
        image, mask = pixels_of(answer.path), pixels_of(tmp_path / "out" / "masks" / Path(answer.path).name)
        assert answer.mask == tmp_path / "out" / "masks" / Path(answer.path).name
        assert mask.shape == image.shape[:2] == (answer.height, answer.width)
        logits = alone(model, image)
        decided = clear(logits)
        assert decided.mean() > 0.9
        np.testing.assert_array_equal(mask[decided], logits.argmax(axis=0)[decided])
    assert all(len(np.unique(pixels_of(answer.mask))) > 1 for answer in answers)


def test_masks_of_shrunk_images_are_of_the_native_size(images: Path, tmp_path: Path) -> None:
    weights = save_segmenter(tmp_path / "net.safetensors", max_side=32)
    model, _ = load_model(weights)
    answers = ask(weights, images, output=tmp_path / "out").answers
    from anysize.data import ImageDataset, ImageTable

    table = ImageTable(
        root=Path(),
        paths=tuple(answer.path for answer in answers),
        labels=None,
        sizes=np.array([(answer.height, answer.width) for answer in answers]),
        channels=np.full(len(answers), 3, np.int8),
    )
    shrunk = ImageDataset(table, 3, max_side=32)
    for index, answer in enumerate(answers):
        mask = pixels_of(answer.mask)
        assert mask.shape == (answer.height, answer.width)
        image = shrunk.load(index)
        assert max(image.shape) == 32 or max(mask.shape) <= 32
        logits = bilinear(alone(model, image), mask.shape)
        decided = clear(logits)
        np.testing.assert_array_equal(mask[decided], logits.argmax(axis=0)[decided])


def test_the_index_counts_what_the_masks_hold(weights: Path, images: Path, tmp_path: Path) -> None:
    answers = ask(weights, images, output=tmp_path / "out", overlay=True).answers
    with (tmp_path / "out" / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    header = ["path", "height", "width", "mask", "overlay", "ignored_share", "share_sky", "share_road", "share_car"]
    assert list(rows[0]) == header
    assert [row["path"] for row in rows] == [str(path) for path in sorted(images.iterdir())]
    for row, answer in zip(rows, answers, strict=True):
        with Image.open(tmp_path / "out" / row["mask"]) as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[:9] == [value for color in default_palette(3) for value in color]
            mask = np.asarray(picture)
        for k, name in enumerate(CLASSES):
            share = float((mask == k).mean())
            assert float(row[f"share_{name}"]) == pytest.approx(share, abs=1e-6)
            assert answer.shares[name] == pytest.approx(share)
        assert (row["ignored_share"], answer.ignored_share) == ("0.000000", 0.0)
        assert [share for _, share in answer.top] == sorted((s for s in answer.shares.values() if s), reverse=True)
        colors = np.array(default_palette(3), np.uint16)[mask]
        below = pixels_of(row["path"]).astype(np.uint16)
        mixed = np.where(colors.any(axis=2, keepdims=True), (below + colors) // 2, below)  # black leaves the picture
        padded = np.pad(mask, ((1, 0), (1, 0)), mode="edge")
        border = (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1])  # a line of the full colour
        mixed[border] = colors[border]
        np.testing.assert_array_equal(pixels_of(tmp_path / "out" / row["overlay"]), mixed)
    assert ask(weights, images).answers[0].mask is None


def test_unsure_pixels_are_no_class(weights: Path, images: Path, tmp_path: Path) -> None:
    model, _ = load_model(weights)
    image = images / "03.png"
    logits = alone(model, pixels_of(image))
    probabilities = np.exp(logits - logits.max(axis=0))
    most = (probabilities / probabilities.sum(axis=0)).max(axis=0)
    least = float(np.median(most))
    (answer,) = ask(weights, image, output=tmp_path / "out", ignore_below=least).answers
    mask = pixels_of(answer.mask)
    apart = np.abs(most - least) > 1e-4
    np.testing.assert_array_equal((mask == 255)[apart], (most < least)[apart])
    assert 0.4 < (mask == 255).mean() < 0.6
    assert answer.ignored_share == pytest.approx((mask == 255).mean())
    assert sum(answer.shares.values()) + answer.ignored_share == pytest.approx(1)


@pytest.mark.parametrize("num_classes", [2, 8, 9, 150])
def test_classes_are_chosen_some_at_a_time(num_classes: int) -> None:
    logits = np.random.default_rng(num_classes).normal(size=(num_classes, 6, 5)).round(1)  # with draws: the first wins
    for size in ((6, 5), (13, 11)):
        large = bilinear(logits, size)
        found = classes_at(torch.from_numpy(logits).double(), size)
        assert (found.dtype, found.shape) == (np.uint8, size)
        decided = clear(large, 1e-9) if size != (6, 5) else np.ones(size, bool)
        np.testing.assert_array_equal(found[decided], large.argmax(axis=0)[decided])


@pytest.mark.parametrize("num_classes", [2, 16, 17, 255])
def test_masks_are_read_as_they_were_written(num_classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(num_classes)
    mask = random.integers(0, num_classes, (9, 14)).astype(np.uint8)
    mask[0, 0] = 255
    write_mask(tmp_path / "new" / "mask.png", mask, default_palette(num_classes))
    np.testing.assert_array_equal(pixels_of(tmp_path / "new" / "mask.png"), mask)
    same = MaskCoding(num_classes=num_classes, lookup=(*range(num_classes), *[-1] * (255 - num_classes), 255))
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "mask.png", same), mask)
    with Image.open(tmp_path / "new" / "mask.png") as picture:
        colors = np.asarray(picture.convert("RGB"))
    assert tuple(colors[0, 0]) == (224, 224, 192)
    np.testing.assert_array_equal(colors[1:], np.array(default_palette(num_classes), np.uint8)[mask[1:]])


@pytest.mark.parametrize(
    ("arguments", "paths", "names"),
    [
        (["new"], ["new/cat.jpg", "new/dogs/a.png"], ["cat", "dogs/a"]),
        (["new/dogs"], ["new/dogs/a.png"], ["a"]),
        (["a/x.jpg", "b/x.jpg"], ["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
        (["a", "b"], ["a/x.jpg", "b/y/x.jpg"], ["a/x", "b/y/x"]),
        (["new"], ["new/cat.jpg", "new/cat.png"], ["cat.jpg", "cat.png"]),
        (["new"], ["new/cat.jpg", "new/cat.png", "new/cat.png.gif"], ["cat.jpg", "cat.png", "cat.png.gif"]),
        (["cat", "cat.jpg"], ["cat", "cat.jpg"], ["cat", "cat.jpg"]),
        (["a/x.jpg", "b/../a/x.jpg"], ["a/x.jpg", "b/../a/x.jpg"], ["x.jpg", "x.jpg"]),
        (["a/b/c/x.jpg", "a/d"], ["a/b/c/x.jpg", "a/d/e/x.jpg"], ["b/c/x", "d/e/x"]),
        ([".", "../b"], ["x.jpg", "../b/x.jpg"], [f"{Path.cwd().name}/x", "b/x"]),
    ],
)
def test_no_two_images_share_a_name(arguments: list[str], paths: list[str], names: list[str]) -> None:
    assert output_names([Path(argument) for argument in arguments], paths) == names


def test_images_of_one_name_get_masks_of_their_own(weights: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    paths = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "b" / "x.tif"]
    for path, size in zip(paths, SIZES, strict=False):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random_image(random, size)).save(path)
    answers = ask(weights, *paths, output=tmp_path / "out").answers
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert written == ["masks/a/x.png", "masks/b/x.png.png", "masks/b/x.tif.png"]
    assert [pixels_of(answer.mask).shape for answer in answers] == list(SIZES[:3])


def test_nothing_is_written_over(weights: Path, images: Path, tmp_path: Path) -> None:
    for output in (images, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(UsageError) as caught:
            ask(weights, images, output=output)
        assert caught.value.message == (
            f"the folder {output} exists and is not empty; masks are not written over other files"
        )
        assert caught.value.hint == "choose another --output, or delete what is there"
    (tmp_path / "new").mkdir()
    assert ask(weights, images / "00.png", output=tmp_path / "new").answers[0].mask == tmp_path / "new/masks/00.png"


def test_options_of_the_other_kind(weights: Path, images: Path, tmp_path: Path, trained: Path) -> None:
    segmenter = f"deeplabv3plus in {weights} is a segmenter"
    with pytest.raises(UsageError) as caught:
        ask(weights, images, output=tmp_path / "answers.csv")
    assert caught.value.message == (
        f"--output is {tmp_path / 'answers.csv'}, a file; {segmenter} and writes a mask for each image, into a folder"
    )
    assert caught.value.hint == (
        f"--output {tmp_path / 'answers'}: a new folder, whose index.csv has a line for each image"
    )
    with pytest.raises(UsageError) as caught:
        ask(weights, images, top=2)
    assert caught.value.message == f"--top is 2; {segmenter}, and every class in an image is named with its share"
    assert caught.value.hint == "leave out --top"
    with pytest.raises(UsageError) as caught:
        ask(weights, images, overlay=True)
    assert caught.value.message == "--overlay was given without a folder to write to"
    assert caught.value.hint == "--output FOLDER --overlay"
    with pytest.raises(UsageError, match=r"^--ignore-below is 1.5; it must be greater than 0 and at most 1$"):
        PredictConfig(run=weights, ignore_below=1.5)

    classifier = f"fcn_small in {trained / 'weights' / 'best.safetensors'} is a classifier"
    for flag, options in (("--overlay", {"overlay": True}), ("--ignore-below", {"ignore_below": 0.5})):
        with pytest.raises(UsageError) as caught:
            ask(trained, images, **options)
        assert caught.value.message == f"{flag} is an option of segmenters, and {classifier}"
        assert caught.value.hint == f"leave out {flag}; --top 3 gives each image's most probable classes"
    with pytest.raises(UsageError) as caught:
        ask(trained, images, output=tmp_path)
    assert caught.value.message == f"--output {tmp_path} is a folder; a classifier writes one CSV file"
    assert caught.value.hint == f"--output {tmp_path / 'predictions.csv'}"


def test_a_card_without_colours_is_told_by_its_network(images: Path, tmp_path: Path) -> None:
    weights = save_segmenter(tmp_path / "net.safetensors", palette=())
    (answer,) = ask(weights, images / "00.png", output=tmp_path / "out").answers
    with Image.open(answer.mask) as picture:
        assert picture.getpalette()[:9] == [value for color in default_palette(3) for value in color]


def test_label_masks_beside_the_images_are_not_predicted(
    weights: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_pairs(tmp_path / "data", SIZES[:3])
    (data / "masks" / "99.png").write_bytes(b"a mask that is broken, and of no image")
    found = ask(weights, data)
    paths = [answer.path for answer in found.answers]
    assert paths == [f"{data}/images/{number:02d}.png" for number in range(3)]
    assert sorted(problem.path for problem in found.left_out if "label mask" in problem.reason) == [
        f"{data}/masks/{name}.png" for name in ("00", "01", "02", "99")
    ]
    config = PredictConfig(run=weights, images=(data,), workers=0, device="cpu")
    predict(config, console=Console())
    assert (
        f"note: {data} holds images with label masks (mask_folders): the masks, 4 files in {data}/masks, are not "
        "predicted\n"
    ) in capsys.readouterr().err
    classified = predict(PredictConfig(run=trained, images=(data,), workers=0, device="cpu"), console=QUIET)
    assert [answer.path for answer in classified.answers] == paths
    monkeypatch.chdir(data)
    assert [answer.path for answer in ask(weights, Path()).answers] == [f"images/{n:02d}.png" for n in range(3)]


def test_masks_that_are_named_themselves_are_predicted(weights: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", SIZES[:3])
    everything = [*(f"{data}/images/{n:02d}.png" for n in range(3)), *(f"{data}/masks/{n:02d}.png" for n in range(3))]
    assert sorted(answer.path for answer in ask(weights, data, data / "masks").answers) == everything
    one = ask(weights, data, data / "masks" / "01.png").answers
    assert sorted(answer.path for answer in one) == [*everything[:3], everything[4]]
    assert len(ask(weights, data / "masks").answers) == 3


def test_lists_and_annotations_are_one_note(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write_pairs(tmp_path / "pairs", SIZES[:3])
    root = tmp_path / "voc"
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "Annotations").mkdir()
    (pairs / "images").rename(root / "JPEGImages")
    (pairs / "masks").rename(root / "SegmentationClass")
    (pairs / "classes.txt").rename(root / "classes.txt")
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("00\n01\n02\n")
    for name in ("00", "01", "02"):
        (root / "Annotations" / f"{name}.xml").write_text("<annotation/>")
    (root / "JPEGImages" / "odd.txt").write_text("among the images")
    (root / "photo.heic").write_bytes(b"an image that is not read")
    found = predict(PredictConfig(run=weights, images=(root,), workers=0, device="cpu"), console=Console())
    told = capsys.readouterr().err
    assert (
        f"note: {root} holds lists, annotations or the like beside its images (voc): 2 .txt, 3 .xml files, not "
        "predicted\n"
    ) in told
    warned = [line.split(": ")[2] for line in told.splitlines() if line.startswith("warning: left out: ")]
    assert warned == [f"{root}/JPEGImages/odd.txt", f"{root}/photo.heic"]
    listed = {problem.path for problem in found.left_out}
    assert {f"{root}/classes.txt", f"{root}/Annotations/01.xml", *warned} < listed  # nothing is left out in silence
