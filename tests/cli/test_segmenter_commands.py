"""`anysize eval` and `anysize predict` with a segmenter: what they print, and the files they leave."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anysize.cli import main
from toy_segmenter import CLASSES, SIZES, save_segmenter, write_pairs

BASIC = ["--workers", "0", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _as_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1024")  # torch is loaded already, which would be noted


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("segmenter")
    return str(save_segmenter(folder / "net.safetensors")), str(write_pairs(folder / "pairs", values=(0, 1, 2, 9)))


def test_eval_prints_a_table_a_class_and_a_size(
    made: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", *made, *BASIC, "--ignore-label", "9", "--output", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["class"] for row in content["per_class"]] == list(CLASSES)
    assert content["mean_iou"] == pytest.approx(np.mean([row["iou"] for row in content["per_class"]]))
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"7 images: all images of {made[1]}"
    assert lines[1] == (f"loss {content['loss']:.4f} (ce)   ignored {content['ignored_share']:.2%} of the pixels")
    assert lines[2] == (
        f"mean IoU {content['mean_iou']:.2%}   pixel accuracy {content['accuracy']:.2%}   "
        f"mean accuracy {content['mean_accuracy']:.2%}"
    )
    assert lines[3] == (
        f"frequency-weighted IoU {content['frequency_weighted_iou']:.2%}   mean Dice {content['mean_dice']:.2%}"
    )
    assert lines[5] == "class         pixels        IoU   accuracy  precision"
    for row, line in zip(content["per_class"], lines[6:9], strict=True):
        name, pixels, iou, _, _ = line.split()
        assert (name, pixels, iou) == (row["class"], f"{row['num_pixels']:,}", f"{row['iou']:.2%}")
    assert lines[10].split() == ["area", "in", "pixels", "images", "mean", "IoU", "95", "%", "interval", "accuracy"]
    assert sum(int(line.split()[3]) for line in lines[11:-2]) == len(SIZES)
    assert lines[-1] == f"figures, examples.png and predictions.csv: {tmp_path / 'out'}"
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"confusion.png", "iou.png", "by_size.png", "examples.png", "predictions.csv"}


def test_eval_with_the_wrong_data_says_so(
    made: tuple[str, str], stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", made[0], str(stripes), *BASIC]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"error: {stripes} holds one class for a whole image (image_folder); deeplabv3plus in {made[0]} is a "
        "segmenter, and evaluation compares each pixel with a mask\n"
        "hint: give images with masks: folders images/ and masks/, or a CSV file with the columns path,mask; "
        f"anysize predict RUN {stripes} --output FOLDER writes masks without comparing them\n"
    )


def test_predict_prints_shares_and_writes_masks(
    made: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(made[1]) / "images"
    command = ["predict", made[0], str(images), *BASIC]
    assert main([*command, "--output", str(tmp_path / "out"), "--overlay", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["predictions"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(answers) == len(SIZES)
    for line, answer in zip(lines, answers, strict=True):
        with Image.open(answer["mask"]) as picture:
            mask = np.asarray(picture)
        assert mask.shape == (answer["height"], answer["width"])
        path, *fields = line.split("\t")
        assert path == answer["path"]
        printed = dict(zip(fields[::2], map(float, fields[1::2]), strict=True))
        assert list(printed.values()) == sorted(printed.values(), reverse=True)
        for k, name in enumerate(CLASSES):
            assert answer["shares"][name] == pytest.approx((mask == k).mean())
            assert printed.get(name, 0.0) == pytest.approx((mask == k).mean(), abs=1e-6)
        with Image.open(answer["overlay"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", mask.shape[::-1])


def test_predict_names_the_share_of_no_class(made: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    image = Path(made[1]) / "images" / "00.png"
    assert main(["predict", made[0], str(image), *BASIC, "--ignore-below", "1"]) == 0
    assert capsys.readouterr().out == f"{image}\t(no class)\t1.000000\n"


def test_predict_does_not_write_over_a_folder(made: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    images = Path(made[1]) / "images"
    assert main(["predict", made[0], str(images), *BASIC, "--output", str(images)]) == 2
    assert capsys.readouterr().err == (
        f"error: the folder {images} exists and is not empty; masks are not written over other files\n"
        "hint: choose another --output, or delete what is there\n"
    )


def test_a_flag_goes_before_the_run_s_own_even_at_its_default(made: tuple[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_segmenter(run / "weights" / "best.safetensors")
    (run / "config.yaml").write_text(f"data: {made[1]}\nval_split: 0.3\nseed: 0\nignore_label: 9\n")
    assert main(["eval", str(run), *BASIC]) == 0
    assert main(["eval", str(run), *BASIC, "--ignore-label", "255"]) == 3


def test_eval_counts_one_image_and_has_a_dash_for_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = save_segmenter(tmp_path / "net.safetensors")
    data = write_pairs(tmp_path / "pairs", SIZES[:1])
    Image.fromarray(np.full(SIZES[0], 255, np.uint8)).save(data / "masks" / "00.png")
    assert main(["eval", str(weights), str(data), *BASIC, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"1 image: all images of {data}\nloss - (ce)   ignored 100.00% of the pixels\nmean IoU -  ")
    assert "nan" not in shown
