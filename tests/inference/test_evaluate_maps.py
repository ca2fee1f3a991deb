"""Evaluation of a segmenter: equal to a plain loop over images and pixels, at the size of the masks."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from anysize.console import Console
from anysize.errors import DataError, LayoutError, UsageError
from anysize.inference import EvalConfig, evaluate_maps
from anysize.inference.evaluate import evaluate
from anysize.inference.evaluate_maps import SegmentationEvaluation
from anysize.models import load_model
from toy import QUIET
from toy_segmenter import CLASSES, SIZES, alone, bilinear, save_segmenter, write_pairs


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_segmenter(tmp_path_factory.mktemp("segmenter") / "net.safetensors")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs")


def ask(run: Path, data: Path | None = None, **options: Any) -> SegmentationEvaluation:
    evaluation = evaluate(EvalConfig(run=run, data=data, workers=0, device="cpu", **options), console=QUIET)
    assert isinstance(evaluation, SegmentationEvaluation)
    return evaluation


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take a second each."""
    for name in ("_draw", "_draw_examples"):
        monkeypatch.setattr(evaluate_maps, name, lambda *_: None)


def rows_of(evaluation: SegmentationEvaluation) -> list[dict[str, str]]:
    with (evaluation.output / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def counted(
    weights: Path, pairs: Path, order: tuple[int, ...] = (0, 1, 2)
) -> tuple[list[np.ndarray], list[list[float]]]:
    """For each image the (3, 3) counts of truth against prediction, and the cross-entropy of each of its pixels."""
    model, _ = load_model(weights)
    matrices, losses = [], []
    for path in sorted((pairs / "images").iterdir()):
        truth = pixels_of(pairs / "masks" / path.name)
        logits = alone(model, pixels_of(path))
        matrix, own = np.zeros((3, 3), np.int64), []
        for (y, x), value in np.ndenumerate(truth):
            if value == 255:
                continue
            scores = logits[:, y, x]
            label = order[value]
            matrix[label, scores.argmax()] += 1
            own.append(float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[label]))
        matrices.append(matrix)
        losses.append(own)
    return matrices, losses


@pytest.mark.usefixtures("_undrawn")
def test_figures_are_those_of_a_loop_over_pixels(weights: Path, pairs: Path, tmp_path: Path) -> None:
    matrices, losses = counted(weights, pairs)
    for batch_size in (1, 4):
        found = ask(weights, pairs, output=tmp_path / str(batch_size), batch_size=batch_size)
        total = sum(matrices)
        right, truth, predicted = np.diag(total), total.sum(axis=1), total.sum(axis=0)
        iou = right / (truth + predicted - right)
        assert (found.images, found.num_images) == (f"all images of {pairs}", len(SIZES))
        assert (found.loss, found.loss_name) == (pytest.approx(np.mean(np.concatenate(losses)), rel=1e-4), "ce")
        # A pixel or two may be a draw that rounding decides.
        assert found.mean_iou == pytest.approx(iou.mean(), abs=1e-3)
        assert found.accuracy == pytest.approx(right.sum() / total.sum(), abs=1e-3)
        assert found.mean_accuracy == pytest.approx((right / truth).mean(), abs=1e-3)
        assert found.frequency_weighted_iou == pytest.approx((iou * truth).sum() / truth.sum(), abs=1e-3)
        assert found.mean_dice == pytest.approx((2 * right / (truth + predicted)).mean(), abs=1e-3)
        assert found.ignored_share == pytest.approx(1 - total.sum() / sum(h * w for h, w in SIZES))
        for k, row in enumerate(found.per_class):
            assert (row["class"], row["num_pixels"]) == (CLASSES[k], truth[k])
            assert row["iou"] == pytest.approx(iou[k], abs=1e-3)
            assert row["accuracy"] == pytest.approx(right[k] / truth[k], abs=1e-3)
            assert row["precision"] == pytest.approx(right[k] / predicted[k], abs=2e-2)
        rows = sorted(rows_of(found), key=lambda row: row["path"])
        assert [row["path"] for row in rows] == [f"images/{number:02d}.png" for number in range(len(SIZES))]
        for row, matrix, own, size in zip(rows, matrices, losses, SIZES, strict=True):
            assert (int(row["height"]), int(row["width"])) == size
            present = matrix.sum(axis=1) > 0
            union = matrix.sum(axis=1) + matrix.sum(axis=0) - np.diag(matrix)
            assert float(row["mean_iou"]) == pytest.approx((np.diag(matrix) / union)[present].mean(), abs=2e-3)
            assert float(row["pixel_accuracy"]) == pytest.approx(np.trace(matrix) / matrix.sum(), abs=2e-3)
            assert float(row["loss"]) == pytest.approx(np.mean(own), rel=1e-3)
            assert float(row["ignored_share"]) == pytest.approx(1 - matrix.sum() / math.prod(size), abs=1e-6)
        assert sum(bucket.num_images for bucket in found.by_size) == len(SIZES)
        assert sum(bucket.num_pixels for bucket in found.by_size) == total.sum()


@pytest.mark.usefixtures("_undrawn")
def test_shrunk_images_are_measured_at_the_size_of_their_masks(pairs: Path, tmp_path: Path) -> None:
    weights = save_segmenter(tmp_path / "net.safetensors", max_side=32)
    model, _ = load_model(weights)
    found = ask(weights, pairs, output=tmp_path / "out")
    from anysize.data import DataOptions, ImageDataset, load_data

    dataset = ImageDataset(load_data(pairs, DataOptions(val_split=0)).train, 3, max_side=32)
    matrix = np.zeros((3, 3), np.int64)
    for index in range(len(dataset)):
        truth = pixels_of(pairs / "masks" / dataset.path(index).name)
        prediction = bilinear(alone(model, dataset.load(index)), truth.shape).argmax(axis=0)
        for label, answer in zip(truth.reshape(-1), prediction.reshape(-1), strict=True):
            if label != 255:
                matrix[label, answer] += 1
    assert sum(row["num_pixels"] for row in found.per_class) == matrix.sum()
    assert found.accuracy == pytest.approx(np.trace(matrix) / matrix.sum(), abs=1e-3)


@pytest.mark.usefixtures("_undrawn")
def test_classes_agree_by_name(weights: Path, pairs: Path, tmp_path: Path) -> None:
    """The same images with their classes numbered the other way around: the same figures."""
    other = tmp_path / "other"
    (other / "masks").mkdir(parents=True)
    (other / "images").symlink_to(pairs / "images")
    turned = np.full(256, 255, np.uint8)
    turned[[0, 1, 2, 255]] = (2, 0, 1, 77)
    for path in (pairs / "masks").iterdir():
        Image.fromarray(turned[pixels_of(path)]).save(other / "masks" / path.name)
    (other / "names.txt").write_text("road\ncar\nsky\n")
    first = ask(weights, pairs, output=tmp_path / "a")
    second = ask(weights, other, output=tmp_path / "b", classes=other / "names.txt", ignore_label=77)
    assert (second.mean_iou, second.loss) == (first.mean_iou, pytest.approx(first.loss))
    assert [row["class"] for row in second.per_class] == list(CLASSES)
    assert [row["num_pixels"] for row in second.per_class] == [row["num_pixels"] for row in first.per_class]


def write_run(folder: Path, data: Path, **options: Any) -> Path:
    """What `anysize train` leaves, as far as evaluation reads it."""
    save_segmenter(folder / "weights" / "best.safetensors")
    content = {"data": str(data), "val_split": 0.3, "seed": 0, **options}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    parts = ["train", "val", "train", "train", "val", "train", "train"]
    lines = [f"images/{number:02d}.png,{part}\n" for number, part in enumerate(parts)]
    (folder / "split.csv").write_text("path,part\n" + "".join(lines))
    return folder


@pytest.mark.usefixtures("_undrawn")
def test_the_run_s_own_data_mean_its_split_its_masks_and_its_loss(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", values=(0, 1, 2, 9))
    run = write_run(tmp_path / "run", data, ignore_label=9, loss="ce+0.5*dice", class_weights=["3", "1", "0.5"])
    found = ask(run)
    assert found.images == f"validation images of {data} (those that the run held out)"
    assert [row["path"] for row in rows_of(found)] == ["images/01.png", "images/04.png"]
    assert found.loss_name == "ce+0.5*dice"
    assert found.ignored_share > 0.1
    assert found.output == run / "eval"
    plain = ask(write_run(tmp_path / "plain", data, ignore_label=9))
    assert (plain.loss_name, plain.mean_iou) == ("ce", found.mean_iou)
    assert plain.loss != pytest.approx(found.loss, rel=1e-2)
    weighted = ask(write_run(tmp_path / "weighted", data, ignore_label=9, class_weights=["9", "1", "0.1"]))
    assert weighted.loss != pytest.approx(plain.loss, rel=1e-2)
    with pytest.raises(DataError, match="9"):  # what is given goes before the run's own
        ask(run, ignore_label=255)


@pytest.mark.usefixtures("_undrawn")
def test_balanced_weights_are_those_of_the_run_s_own_pixels(pairs: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pairs, class_weights=["balanced"])
    truth = [pixels_of(pairs / "masks" / f"{number:02d}.png") for number in (0, 2, 3, 5, 6)]
    counts = np.array([sum((mask == k).sum() for mask in truth) for k in range(3)])
    weights = (np.median(counts) / counts).tolist()
    spelled = write_run(tmp_path / "spelled", pairs, class_weights=[repr(weight) for weight in weights])
    assert ask(run).loss == pytest.approx(ask(spelled).loss, rel=1e-6)
    elsewhere = write_pairs(tmp_path / "elsewhere", seed=4)
    plain = write_run(tmp_path / "plain", pairs)
    assert ask(run, elsewhere).loss == ask(plain, elsewhere).loss


@pytest.mark.usefixtures("_undrawn")
def test_data_of_the_other_kind(weights: Path, pairs: Path, stripes: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        ask(weights, stripes)
    assert caught.value.message == (
        f"{stripes} holds one class for a whole image (image_folder); deeplabv3plus in {weights} is a segmenter, and "
        "evaluation compares each pixel with a mask"
    )
    assert caught.value.hint == (
        "give images with masks: folders images/ and masks/, or a CSV file with the columns path,mask; "
        f"anysize predict RUN {stripes} --output FOLDER writes masks without comparing them"
    )
    with pytest.raises(LayoutError) as caught:
        ask(weights, stripes / "down")
    assert caught.value.message == (
        f"{stripes / 'down'} holds images without masks (flat_folder); evaluation compares with masks"
    )
    assert caught.value.hint == (
        f"anysize predict RUN {stripes / 'down'} gives answers without comparing them: --output FOLDER writes the masks"
    )
    with pytest.raises(LayoutError) as caught:
        ask(trained, pairs)
    assert caught.value.message == (
        f"{pairs} holds label masks (mask_folders), a class for each pixel; fcn_small in {trained} is a classifier "
        "and has one answer for a whole image"
    )
    assert caught.value.hint == (
        "give images in one folder a class, or a CSV file with the columns path,label; a segmenter learns masks: "
        "anysize train DATA --model deeplabv3plus"
    )
    with pytest.raises(UsageError) as caught:
        ask(trained, ignore_label=11)
    assert caught.value.message == (
        f"--ignore-label is an option of label masks, and fcn_small in {trained / 'weights' / 'best.safetensors'} is a "
        "classifier"
    )
    assert caught.value.hint == "leave it out"


@pytest.mark.usefixtures("_undrawn")
def test_classes_that_the_network_does_not_know(weights: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", SIZES[:2], (0, 1, 2, 3), (*CLASSES, "void"))
    with pytest.raises(DataError) as caught:
        ask(weights, data)
    assert caught.value.message == (
        "the data has classes that the network was not trained on: void; it knows sky, road, car"
    )
    assert caught.value.hint == (
        "--ignore-label 3 leaves the pixels of void out of every figure; --classes FILE, one name a line, says what "
        "the values of the masks are called"
    )
    assert ask(weights, data, ignore_label=3, output=tmp_path / "out").num_images == 2
    unnamed = write_pairs(tmp_path / "unnamed", SIZES[:2], names=None)
    with pytest.raises(DataError) as caught:
        ask(weights, unnamed)
    assert caught.value.message == (
        "the data has classes that the network was not trained on: class 0, class 1, class 2; it knows sky, road, car"
    )
    assert caught.value.hint == "--classes FILE, one name a line, says what the values of the masks are called"


@pytest.mark.usefixtures("_undrawn")
def test_an_image_of_ignored_pixels_alone_scores_nothing(weights: Path, pairs: Path, tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data")
    Image.fromarray(np.full(SIZES[2], 255, np.uint8)).save(data / "masks" / "02.png")
    found = ask(weights, data, output=tmp_path / "out")
    (row,) = (row for row in rows_of(found) if row["path"] == "images/02.png")
    assert (row["mean_iou"], row["loss"], row["ignored_share"]) == ("nan", "nan", "1.000000")
    assert math.isfinite(found.mean_iou)
    assert math.isfinite(found.loss)


def write_coded(root: Path, values: tuple[int, ...], names: tuple[str, ...] | None = None, seed: int = 0) -> Path:
    """The same images and classes, with the value ``values[k]`` for class k."""
    plain = write_pairs(root, names=names, seed=seed, values=(0, 1, 2))
    table = np.array(values, np.uint8)
    for path in (plain / "masks").iterdir():
        Image.fromarray(table[pixels_of(path)]).save(path)
    return plain


NUMBERED = ("class 0", "class 1", "class 2")


def write_numbered_run(folder: Path, data: Path, **options: Any) -> Path:
    """A run whose classes have no names: a class is its place among the values."""
    write_run(folder, data, **options)
    save_segmenter(folder / "weights" / "best.safetensors", NUMBERED)
    return folder


@pytest.mark.usefixtures("_undrawn")
@pytest.mark.parametrize(
    ("values", "options"),
    [((1, 2, 3), {"reduce_zero_label": True}), ((7, 0, 4), {"mask_values": "7,0,4"})],
)
def test_other_data_are_read_as_in_training(
    values: tuple[int, ...], options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_numbered_run(tmp_path / "run", write_coded(tmp_path / "own", values), **options)
    other = write_coded(tmp_path / "other", values, seed=3)
    plain = write_pairs(tmp_path / "plain", values=(0, 1, 2), names=None, seed=3)
    expected = ask(write_numbered_run(tmp_path / "sane", plain), plain, split="all", output=tmp_path / "a")
    weights = run / "weights" / "best.safetensors"
    for network, where in ((run, "b"), (weights, "c")):
        found = ask(network, other, output=tmp_path / where)
        assert found.mean_iou == expected.mean_iou
        assert [row["num_pixels"] for row in found.per_class] == [row["num_pixels"] for row in expected.per_class]
    evaluate(EvalConfig(run=run, data=other, workers=0, device="cpu", output=tmp_path / "d"), console=Console())
    flag = "--reduce-zero-label" if "reduce_zero_label" in options else "--mask-values 7,0,4"
    assert f"note: masks are read as in training, with {flag} ({run / 'config.yaml'})" in capsys.readouterr().err


@pytest.mark.usefixtures("_undrawn")
def test_a_flag_that_is_given_goes_before_those_of_the_run(tmp_path: Path) -> None:
    own = write_coded(tmp_path / "own", (1, 2, 3))
    run = write_numbered_run(tmp_path / "run", own, reduce_zero_label=True)
    plain = write_pairs(tmp_path / "plain", values=(0, 1, 2), names=None, seed=3)
    sane = ask(write_numbered_run(tmp_path / "sane", plain), plain, split="all", output=tmp_path / "a")
    # Another coding goes before all that the run says of values; one more ignored value leaves its coding as it is.
    recoded = ask(run, write_coded(tmp_path / "b", (5, 6, 9), seed=3), mask_values="5,6,9", output=tmp_path / "o1")
    assert recoded.mean_iou == sane.mean_iou
    extra = write_coded(tmp_path / "c", (1, 2, 3), seed=3)
    path = extra / "masks" / "00.png"
    changed = pixels_of(path).copy()
    changed[:8] = 9
    Image.fromarray(changed).save(path)
    ignoring = ask(run, extra, ignore_label=9, output=tmp_path / "o2")
    assert ignoring.ignored_share > 0
    assert ignoring.per_class[2]["num_pixels"] == sane.per_class[2]["num_pixels"] - int(
        (pixels_of(plain / "masks" / "00.png")[:8] == 2).sum()
    )


@pytest.mark.usefixtures("_undrawn")
def test_names_of_the_run_and_others_in_the_data(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", names=None)
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    run = write_run(tmp_path / "run", data, classes=str(tmp_path / "names.txt"))
    other = write_pairs(tmp_path / "other", names=None, seed=5)
    named = write_pairs(tmp_path / "named", seed=5)  # the same names beside the images
    found = [ask(run, each, output=tmp_path / "out").mean_iou for each in (other, named)]
    assert found[0] == found[1]
    (named / "classes.txt").write_text("road\nsky\ncar\n")
    with pytest.raises(UsageError) as caught:
        ask(run, named)
    assert caught.value.message == (
        f"the run's {run / 'config.yaml'} names --classes {tmp_path / 'names.txt'}, and {named / 'classes.txt'} names "
        "the classes otherwise"
    )
    turned = ask(run, named, classes=named / "classes.txt", output=tmp_path / "out")
    assert turned.mean_iou != pytest.approx(found[0], abs=1e-3)


@pytest.mark.parametrize(("option", "flag"), [("classes", "--classes"), ("mask_palette", "--mask-palette")])
def test_a_file_that_the_run_names_and_that_is_gone(option: str, flag: str, pairs: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", pairs, **{option: "cl.txt"})
    with pytest.raises(UsageError) as caught:
        ask(run)
    assert caught.value.message == (
        f"the run's {run / 'config.yaml'} names {flag} cl.txt, from the folder in which it was trained, and there is "
        "no such file"
    )
    assert caught.value.hint == f"{flag} FILE says where it is now"


@pytest.mark.usefixtures("_undrawn")
def test_a_file_of_the_run_that_is_another_now(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", pairs, classes="cl.txt")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cl.txt").write_text("sky\nroad\ncar\nvoid\n")  # the ignored one is no class
    expected = ask(run, ignore_label=3)
    assert [row["class"] for row in expected.per_class] == list(CLASSES)
    (tmp_path / "cl.txt").write_text("road\nsky\ncar\n")
    with pytest.raises(UsageError) as caught:
        ask(run)
    assert caught.value.message == (
        f"the run's {run / 'config.yaml'} names --classes cl.txt, which is not as it was in training: it has road, "
        "sky, car, and the network's classes are sky, road, car"
    )


@pytest.mark.usefixtures("_undrawn")
def test_a_hint_keeps_the_run_s_own_ignore_label(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data", values=(0, 1, 2, 9), names=None)
    run = write_numbered_run(tmp_path / "run", data, ignore_label=9)
    other = write_pairs(tmp_path / "other", values=(0, 1, 2, 3, 9), names=None)
    with pytest.raises(DataError, match="not trained on: class 3") as caught:
        ask(run, other)
    assert (caught.value.hint or "").startswith("--ignore-label 3,9 leaves the pixels of class 3 out of every figure; ")
    assert ask(run, other, ignore_label="3,9").mean_iou > 0
