"""Predictions: each image's answer is its own, in the order in which the images were named."""

import csv
from pathlib import Path
from typing import Any

import pytest

from anysize.errors import CheckpointError, DataError, ImageSizeError, UsageError
from anysize.inference import PredictConfig
from anysize.inference.predict import Predictions, predict
from toy import QUIET, write_stripes


def ask(run: Path, *images: Path, **options: Any) -> Predictions:
    config = PredictConfig(run=run, images=images, workers=0, device="cpu", **options)
    return predict(config, console=QUIET)


def test_answers_do_not_depend_on_the_other_images(trained: Path, stripes: Path) -> None:
    paths = sorted(stripes.rglob("*.png"))[::3]
    together = ask(trained, *paths, top=2).answers
    assert len({(answer.height, answer.width) for answer in together}) > 8
    assert [answer.path for answer in together] == [str(path) for path in paths]
    split = ask(trained, *paths, top=2, batch_size=3, max_pixels=2000).answers
    shuffled = ask(trained, *reversed(paths), top=2).answers[::-1]
    alone = [ask(trained, path, top=2).answers[0] for path in paths]
    for others in (alone, split, shuffled):
        for answer, other in zip(together, others, strict=True):
            assert (answer.path, answer.height, answer.width) == (other.path, other.height, other.width)
            assert dict(answer.top) == pytest.approx(dict(other.top), abs=1e-5)


def test_most_are_right_and_the_most_probable_comes_first(trained: Path, stripes: Path) -> None:
    answers = ask(trained, stripes, top=5).answers  # more than there are classes
    assert len(answers) == 40
    right = [answer.top[0][0] == Path(answer.path).parent.name for answer in answers]
    assert sum(right) >= 38
    for answer in answers:
        (first, second) = answer.top
        assert first[1] >= second[1]
        assert {first[0], second[0]} == {"across", "down"}
        assert first[1] + second[1] == pytest.approx(1, abs=1e-6)


def test_files_and_folders_in_their_order_and_each_image_once(trained: Path, stripes: Path) -> None:
    single = stripes / "down" / "07.png"
    answers = ask(trained, single, stripes / "across", single, stripes / "across" / "03.png").answers
    expected = [single, *sorted((stripes / "across").iterdir())]
    assert [answer.path for answer in answers] == [str(path) for path in expected]


def test_the_table_holds_every_answer(trained: Path, stripes: Path, tmp_path: Path) -> None:
    table = tmp_path / "new" / "answers.csv"
    paths = [stripes / "down" / "01.png", stripes / "across" / "02.png"]
    answers = ask(trained, *paths, top=2, output=table).answers
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "height", "width", "rank", "class", "probability"]
    flat = [(answer.path, rank, *pair) for answer in answers for rank, pair in enumerate(answer.top, 1)]
    for row, (path, rank, name, probability) in zip(rows, flat, strict=True):
        assert (row["path"], row["rank"], row["class"]) == (path, str(rank), name)
        assert float(row["probability"]) == pytest.approx(probability, abs=1e-6)


def test_weights_may_be_named_directly(trained: Path, stripes: Path) -> None:
    image = stripes / "down" / "01.png"
    by_path = {which: ask(trained / "weights" / f"{which}.safetensors", image).answers for which in ("best", "last")}
    for which, answers in by_path.items():
        assert ask(trained, image, weights=which).answers == answers


def test_runs_that_are_not_there(tmp_path: Path, stripes: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        ask(tmp_path / "none", stripes)
    assert caught.value.message == f"there is no run folder at {tmp_path / 'none'}"
    assert caught.value.hint == "pass the folder that 'anysize train' made"
    with pytest.raises(CheckpointError) as caught:
        ask(tmp_path, stripes)
    assert caught.value.message == f"{tmp_path} holds no weights 'best'"
    assert caught.value.hint == "a run has weights once its first epoch is over"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "last.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError) as caught:
        ask(tmp_path, stripes)
    assert caught.value.hint == "--weights last"
    with pytest.raises(CheckpointError) as caught:
        ask(tmp_path, stripes, weights="last")
    assert caught.value.message == f"there is no card at {tmp_path / 'weights' / 'last.json'}"


def test_images_that_are_too_small_for_the_network(trained: Path, tmp_path: Path) -> None:
    folder = write_stripes(tmp_path / "new", count=1, sides=(3, 3)) / "down"
    write_stripes(tmp_path / "large", count=1)
    with pytest.raises(ImageSizeError) as caught:
        ask(trained, folder, tmp_path / "large")
    assert caught.value.message == (
        "1 of 3 images are too small; fcn_small needs at least 4 pixels a side:\n"
        f"  {folder}/00.png is 3x3 (height x width)"
    )
    found = ask(trained, folder, tmp_path / "large", min_side=4)
    assert len(found.answers) == 2
    assert [str(problem) for problem in found.left_out] == [f"{folder}/00.png: 3x3 is below --min-side 4"]
    with pytest.raises(DataError) as caught_none:
        ask(trained, folder, min_side=4)
    assert caught_none.value.message == "no image is left to predict"


def test_options_out_of_range(trained: Path) -> None:
    with pytest.raises(UsageError, match=r"^--top is 0; it must be at least 1$"):
        PredictConfig(run=trained, top=0)
    with pytest.raises(UsageError, match=r"^--min-side is 0; it must be at least 1$"):
        PredictConfig(run=trained, min_side=0)
    with pytest.raises(UsageError) as caught:
        ask(trained)
    assert caught.value.message == "no image was given"
    assert caught.value.hint == f"anysize predict {trained} IMAGE_OR_FOLDER ..."
    with pytest.raises(UsageError, match=r"^--device abacus cannot be used: ") as caught:
        predict(PredictConfig(run=trained, images=(trained,), device="abacus"), console=QUIET)
    assert caught.value.hint == "use --device auto or cpu"
