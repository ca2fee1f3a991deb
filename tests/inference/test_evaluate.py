"""Evaluation: the right images, classes by name, and sums that agree."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from anysize.data import DataOptions, load_data
from anysize.errors import DataError, LayoutError, UsageError
from anysize.inference import EvalConfig
from anysize.inference.evaluate import Evaluation, evaluate
from anysize.training.run import train
from toy import QUIET, quick, table_of, write_stripes


def ask(run: Path, data: Path | None = None, **options: Any) -> Evaluation:
    return evaluate(EvalConfig(run=run, data=data, workers=0, device="cpu", **options), console=QUIET)


def rows_of(evaluation: Evaluation) -> list[dict[str, str]]:
    with (evaluation.output / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_run_s_own_data_means_the_images_that_it_held_out(trained: Path, stripes: Path, tmp_path: Path) -> None:
    held_out = load_data(stripes, DataOptions(val_split=0.2, split_seed=0)).val
    assert held_out is not None
    for data in (None, stripes):
        evaluation = ask(trained, data, output=tmp_path / "eval", batch_size=3)
        assert evaluation.images == f"validation images of {stripes} (those that the run held out)"
        assert [row["path"] for row in rows_of(evaluation)] == list(held_out.paths)
        best = json.loads((trained / "weights" / "best.json").read_text())["results"]
        assert evaluation.loss == pytest.approx(best["val_loss"], rel=1e-5)
        assert evaluation.accuracy == best["val_accuracy"]


def test_other_parts_can_be_asked_for(trained: Path, stripes: Path, tmp_path: Path) -> None:
    parts = {which: ask(trained, split=which, output=tmp_path / which) for which in ("train", "val", "all")}
    paths = {which: {row["path"] for row in rows_of(evaluation)} for which, evaluation in parts.items()}
    assert [len(paths[which]) for which in ("train", "val", "all")] == [32, 8, 40]
    assert paths["train"] | paths["val"] == paths["all"]
    assert parts["all"].images == f"all images of {stripes}"
    total = parts["train"].loss * 32 + parts["val"].loss * 8
    assert parts["all"].loss == pytest.approx(total / 40, rel=1e-5)


def test_what_the_run_left_out_is_left_out_again(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "data", count=8)
    for name in ("across", "down"):
        for number in range(4):
            Image.new("RGB", (3, 20)).save(data / name / f"small{number}.png")
        (data / name / "torn.png").write_bytes(b"torn")
    run = train(quick(data, tmp_path / "run", min_side=4, skip_unreadable=True, epochs=1), console=QUIET).run
    evaluation = ask(run)
    assert evaluation.loss == pytest.approx(float(table_of(run)[0]["val_loss"]), rel=1e-5)
    assert {row["path"].rpartition("/")[2][:4] for row in rows_of(evaluation)}.isdisjoint({"smal", "torn"})
    assert len(evaluation.left_out) >= 3


def test_other_data_are_taken_whole_and_classes_matched_by_name(trained: Path, tmp_path: Path) -> None:
    """The same weights with the names of their two classes swapped: what was right is wrong."""
    data = write_stripes(tmp_path / "other", count=6, seed=7)
    expected = ask(trained, data, output=tmp_path / "first")
    assert (expected.num_images, expected.images) == (12, f"all images of {data}")
    assert expected.accuracy > 0.8
    weights = tmp_path / "swapped.safetensors"
    weights.write_bytes((trained / "weights" / "best.safetensors").read_bytes())
    card = json.loads((trained / "weights" / "best.json").read_text())
    assert card["classes"] == ["across", "down"]
    weights.with_suffix(".json").write_text(json.dumps({**card, "classes": ["down", "across"]}))
    swapped = ask(weights, data, output=tmp_path / "second")
    assert swapped.accuracy == pytest.approx(1 - expected.accuracy)
    assert [row["class"] for row in swapped.per_class] == ["down", "across"]
    truths = [{row["path"]: row["truth"] for row in rows_of(evaluation)} for evaluation in (expected, swapped)]
    assert truths[0] == truths[1]


def test_a_split_of_the_data_s_own_is_used(trained: Path, tmp_path: Path) -> None:
    write_stripes(tmp_path / "other" / "train", count=3, seed=8)
    write_stripes(tmp_path / "other" / "val", count=2, seed=9)
    evaluation = ask(trained, tmp_path / "other", output=tmp_path / "out")
    assert evaluation.num_images == 4
    assert evaluation.images == f"validation images of {tmp_path / 'other'} (its val split)"
    assert ask(trained, tmp_path / "other", output=tmp_path / "out", split="all").num_images == 10


def test_classes_that_the_network_does_not_know(trained: Path, tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "other", count=2, classes=("across", "diagonal"))
    with pytest.raises(DataError) as caught:
        ask(trained, data)
    assert caught.value.message == (
        "the data has classes that the network was not trained on: diagonal; it knows across, down"
    )
    assert caught.value.hint == "rename the class folders, or leave those classes out"


def test_images_without_labels(trained: Path, stripes: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        ask(trained, stripes / "down")
    assert caught.value.message == (
        f"{stripes / 'down'} holds images without labels (flat_folder); evaluation compares with labels"
    )
    assert caught.value.hint == f"anysize predict RUN {stripes / 'down'} gives answers without comparing them"


def test_weights_without_a_run_need_data(trained: Path, stripes: Path, tmp_path: Path) -> None:
    weights = trained / "weights" / "last.safetensors"
    with pytest.raises(UsageError) as caught:
        ask(weights)
    assert (caught.value.message, caught.value.hint) == ("no data was given", "anysize eval RUN DATA")
    by_path = ask(weights, stripes, output=tmp_path / "a")
    by_run = ask(trained, stripes, weights="last", split="all", output=tmp_path / "b")
    assert (by_path.num_images, by_path.loss) == (40, by_run.loss)


def test_the_parts_add_up_to_the_whole(trained: Path, tmp_path: Path) -> None:
    evaluation = ask(trained, split="all", output=tmp_path / "eval")
    rows = rows_of(evaluation)
    right = [row["truth"] == row["prediction"] for row in rows]
    losses = [float(row["loss"]) for row in rows]
    assert evaluation.num_images == len(rows) == 40
    assert evaluation.accuracy == pytest.approx(sum(right) / 40)
    assert evaluation.loss == pytest.approx(sum(losses) / 40, abs=1e-6)

    buckets = evaluation.by_size
    assert len(buckets) == 5
    assert sum(bucket.num_images for bucket in buckets) == 40
    assert sum(bucket.num_right for bucket in buckets) == sum(right)
    assert sum(bucket.loss * bucket.num_images for bucket in buckets) == pytest.approx(sum(losses), abs=1e-4)
    for bucket in buckets:
        inside = [bucket.smallest_area <= int(row["height"]) * int(row["width"]) <= bucket.largest_area for row in rows]
        assert sum(inside) == bucket.num_images

    for row in evaluation.per_class:
        own = [good for good, line in zip(right, rows, strict=True) if line["truth"] == row["class"]]
        assert (row["num_images"], row["accuracy"]) == (20, pytest.approx(sum(own) / 20))
    for name in ("confusion.png", "by_size.png"):
        with Image.open(evaluation.output / name) as image:
            image.load()


def test_a_limit_that_leaves_nothing(trained: Path, stripes: Path) -> None:
    with pytest.raises(DataError) as caught:
        ask(trained, min_side=1000)
    assert caught.value.message == (
        f"--min-side 1000 leaves none of the validation images of {stripes} (those that the run held out)"
    )
    assert caught.value.hint == "lower --min-side"
