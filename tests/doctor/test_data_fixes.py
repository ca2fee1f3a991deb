"""Fixes of the doctor that are followed to their end, and that do not contradict each other."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anysize.data import DataOptions, load_data
from anysize.data.masks import mask_rules
from anysize.data.masks.coding import MaskCoding, index_coding
from anysize.data.masks.rules import MaskRules
from anysize.doctor.config import DoctorConfig
from anysize.doctor.data.laying import moving
from anysize.doctor.data.run import check_data
from anysize.doctor.finding import Finding
from anysize.options import MaskOptions
from survey_toy import findings, healthy, image_look, names, part, seen, segments
from toy import QUIET

Values = NDArray[np.uint8]
_SQUARES = ((8, 12, 14), (41, 9, 17), (20, 45, 19), (58, 52, 12))


def _write(root: Path, wrong: Callable[[Values], Values], value: int = 1, side: int = 80, count: int = 6) -> Path:
    """Square images of bright squares in a VOC folder, their masks done wrong; the last one is for validation."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        mask = np.zeros((side, side), np.uint8)
        for top, left, length in _SQUARES:
            row, column = side // 2 - 40 + top + number, side // 2 - 40 + left - number
            mask[row : row + length, column : column + length] = value
        grey = (mask > 0) * 90.0 + 60 + random.normal(0, 3, mask.shape)
        Image.fromarray(grey.astype(np.uint8)).save(root / f"JPEGImages/{number}.png")
        Image.fromarray(np.ascontiguousarray(wrong(mask))).save(root / f"SegmentationClass/{number}.png")
    lists = root / "ImageSets/Segmentation"
    (lists / "train.txt").write_text("\n".join(map(str, range(count - 1))))
    (lists / "val.txt").write_text(str(count - 1))
    return root


def _pairing(root: Path, **flags: object) -> list[Finding]:
    config = DoctorConfig(what=str(root), output=root.parent / "report", **flags)  # type: ignore[arg-type]
    return [finding for finding in check_data(config, QUIET.bar).findings if finding.check == "pairing"]


@pytest.mark.parametrize(
    "wrong",
    [np.transpose, lambda mask: mask[:, ::-1], np.rot90, lambda mask: np.roll(mask, (6, -9), (0, 1))],
    ids=["transposed", "mirrored", "turned", "shifted"],
)
def test_the_line_that_mends_square_masks_is_pasted(tmp_path: Path, wrong: Callable[[Values], Values]) -> None:
    root = _write(tmp_path / "it's data", wrong)
    (finding,) = _pairing(root)
    (line,) = re.findall("`(.*?)`", finding.fix)
    run = subprocess.run([sys.executable, "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert _pairing(root) == []
    assert len(list((tmp_path / "it's data-masks-before").glob("*.png"))) == 6
    again = subprocess.run([sys.executable, "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert "masks-before exists: masks of " in again.stderr


def test_a_shift_of_masks_whose_255_is_a_class(tmp_path: Path) -> None:
    root = _write(tmp_path / "data", lambda mask: np.roll(mask, (6, -9), (0, 1)), value=255)
    (finding,) = _pairing(root, mask_values="0,255")
    assert "what it leaves open has no label with --ignore-label 254" in finding.fix
    (line,) = re.findall("`(.*?)`", finding.fix)
    assert line.endswith(", fill=254)")
    subprocess.run([sys.executable, "-c", line], check=True)
    assert _pairing(root, mask_values="0,255", ignore_label="254") == []
    options = DataOptions(masks=mask_rules(MaskOptions(mask_values="0,255", ignore_label="254")))
    census = load_data(root, options).train_census
    assert census is not None
    assert census.counts[:, 1].all()
    assert census.ignored.all()


def test_large_square_masks_that_are_mirrored_are_found(tmp_path: Path) -> None:
    """What is looked at of them has to lie in the same place whichever way a mask is turned."""
    root = _write(tmp_path / "data", lambda mask: mask[:, ::-1], side=1201, count=4)
    (finding,) = _pairing(root)
    assert finding.found.startswith("masks fit their images only when mirrored")


@pytest.mark.parametrize(
    ("coding", "arguments", "flag"),
    [
        (index_coding({0: 0, 1: 1, 255: 255}, 2), "(-6, 9)", ""),
        (index_coding({0: 255, 1: 0, 2: 1}, 2), "(-6, 9), fill=0", ""),
        (index_coding({0: 0, 255: 1}, 2), "(-6, 9), fill=254", " with --ignore-label 254"),
        (
            MaskCoding(num_classes=1, lookup=(), colors=(((9, 9, 9), 0), ((7, 7, 7), 255))),
            "(-6, 9), fill=(7, 7, 7)",
            "",
        ),
        (
            MaskCoding(num_classes=1, lookup=(), colors=(((224, 224, 192), 0),)),
            "(-6, 9), fill=(1, 2, 3)",
            " with #010203=ignore in --mask-palette",
        ),
    ],
)
def test_what_a_shift_leaves_open_means_no_label(coding: MaskCoding, arguments: str, flag: str) -> None:
    assert moving(Path("/data/a"), (-6, 9), coding, MaskRules()) == (
        f"in Python, `from anysize.data.masks.moving import move_masks; move_masks('/data/a', {arguments})` does so "
        "to all masks, those of validation too, and keeps the old ones in /data/a-masks-before; what it leaves open "
        f"has no label{flag}; look at the overlays first"
    )


def test_images_that_change_sides_are_named_and_leave_no_class_behind() -> None:
    # Only validation has sky: v000 holds the only car there, v002 does not.
    val = [[800, 800, 800, 0], [800, 0, 0, 0], [800, 0, 800, 0], *[[800, 0, 0, 0]] * 9]
    (found,) = [item for item in findings(segments([[800, 800, 0, 0]] * 20, val)) if item.severity == "error"]
    assert found.fix == (
        "move from validation to training (their lines, in the lists of ImageSets/Segmentation): v002.png"
    )
    train = [[800, 800, 800, 0], [800, 800, 800, 0], *[[800, 800, 0, 0]] * 18]
    unmeasured = findings(segments(train, [[800, 800, 0, 0]] * 12, layout="mask_folders"), "classes")
    assert [item.fix for item in unmeasured] == ["move from training to validation: t000.png"]
    only = findings(segments([[800, 800, 800, 0], *[[800, 800, 0, 0]] * 19], [[800, 800, 0, 0]] * 12), "classes")
    assert [item.fix for item in only] == [
        "label more images that hold sky (moving those that there are would take a class out of training)"
    ]


def test_images_of_classes_that_change_sides() -> None:
    parts = (part("train", names("t", 20), labels=[0, 1] * 10), part("val", names("v", 12), labels=[0, 1, 2, 2] * 3))
    survey = replace(healthy(), parts=parts, task="classify", layout="csv_table")
    (found,) = findings(survey, "classes")
    assert found.fix == "move from validation to training (in the column split): v002.png"


def test_few_images_are_not_to_be_moved_both_ways() -> None:
    bus, sofa = [800, 800, 0, 0], [800, 0, 800, 0]
    found = findings(segments([sofa] * 2, [bus], classes=("ground", "bus", "sofa")))
    fixes = [item.fix for item in found if item.check in ("classes", "splits")]
    assert fixes == [
        "label more images, and put them into both parts",
        "label more images that hold bus (moving those that there are would take a class out of validation)",
        "move from training to validation (their lines, in the lists of ImageSets/Segmentation): t000.png",
    ]
    (split,) = findings(segments([[800, 800, 800, 0]] * 12, [[800, 800, 800, 0]] * 8))
    assert split.fix == "move 2 images from training to validation, whose classes other training images hold, too"


def test_a_class_to_be_ignored_is_not_asked_for_elsewhere() -> None:
    train, val = [[800, 800, 0, 0]] * 20, [[800, 800, 3, 0]] * 12
    (found,) = findings(segments(train, val, classes=("road", "car", "void")))
    assert found.fix == "--ignore-label 2"
    (found,) = findings(segments(val[:1] + train, train[:12], classes=("road", "car", "void")))
    assert found.fix == "--ignore-label 2"


@pytest.mark.parametrize(
    ("counts", "changes", "fix"),
    [
        ([800, 800, 0, 0], {}, "remove their names if they are not meant"),
        (
            [800, 0, 800, 0],
            {},
            "if they are not meant, --mask-values 0,2 --classes FILE, with the 2 other names in FILE, one a line: "
            "road, sky",
        ),
        (
            [800, 0, 800, 0],
            {"coding": index_coding({0: 255, 1: 0, 2: 1, 3: 2, 255: 255}, 3)},
            "if they are not meant, --mask-values 1,3 --ignore-label 0 --classes FILE, with the 2 other names in FILE, "
            "one a line: road, sky",
        ),
        (
            [800, 800, 0, 0],
            {"coding": index_coding({0: 0, 7: 1, 9: 2, 255: 255}, 3), "rules": MaskRules(values=(0, 7, 9))},
            "if they are not meant, --mask-values 0,7 --classes FILE, with the 2 other names in FILE, one a line: "
            "road, car",
        ),
        (
            [800, 0, 800, 0],
            {"coding": MaskCoding(num_classes=3, lookup=(), colors=())},
            "take them out of --mask-palette if they are not meant",
        ),
    ],
)
def test_names_without_a_pixel_are_taken_away(counts: list[int], changes: dict[str, object], fix: str) -> None:
    coding = {"coding": index_coding({0: 0, 1: 1, 2: 2, 255: 255}, 3)}
    (found,) = findings(segments([counts] * 20, [counts] * 12, **(coding | changes)), "classes")
    assert found.fix == f"{fix}; else leave them: metrics leave them out (they are not counted as 0)"


def test_an_empty_image_is_not_to_be_stored_deeper() -> None:
    clear = image_look(remark="the image is transparent everywhere: read as all white")
    (found,) = findings(replace(healthy(), seen=seen(["a.png"], [clear])), "pixel-values")
    assert found.fix == "look at them; save them without transparency, or remove those that are empty"
