"""Each check of a data set: healthy data without a finding, and the cause named where there is one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anysize.data.masks.coding import MaskCoding, index_coding
from anysize.data.masks.faults import MaskProblem
from anysize.data.masks.rules import MaskRules
from anysize.data.problems import FileProblem
from anysize.doctor.data.checks import all_checks
from anysize.doctor.data.checks.duplicates import nearest
from anysize.doctor.data.survey import Copies, ModelNeeds
from survey_toy import findings, healthy, image_look, mask_look, names, pair, part, seen, segments

EVEN = [800, 800, 800, 0]


def test_healthy_data_without_a_finding() -> None:
    assert findings(healthy()) == []
    assert len(all_checks()) >= 9
    labelled = replace(
        healthy(),
        task="classify",
        parts=(part("train", names("t", 30), labels=[0, 1, 2] * 10), part("val", names("v", 12), labels=[0, 1, 2] * 4)),
    )
    assert findings(labelled) == []


def test_no_validation() -> None:
    survey = healthy()
    (found,) = findings(replace(survey, parts=survey.parts[:1]))
    assert (found.check, found.severity, found.found) == ("splits", "warning", "no image is left for validation")
    assert "--val-split 0.2" in found.fix


@pytest.mark.parametrize(("count", "severity"), [(1, "warning"), (2, "warning"), (3, "note"), (9, "note"), (10, None)])
def test_hardly_any_validation(count: int, severity: str | None) -> None:
    found = findings(segments([EVEN] * 20, [EVEN] * count))
    assert [(item.check, item.severity) for item in found] == ([("splits", severity)] if severity else [])


def test_images_without_labels() -> None:
    survey = replace(healthy(), task="none", classes=(), parts=(part("train", names("t", 4)),))
    (found,) = findings(survey)
    assert (found.severity, found.found) == (
        "warning",
        "4 images without labels: they can be predicted, and not trained on",
    )


def test_files_that_cannot_be_read() -> None:
    broken = (FileProblem("a.png", "empty"), FileProblem("b\n.png", "cut"), FileProblem("c.png", "empty"))
    (found,) = findings(replace(healthy(), unreadable=broken))
    assert found.severity == "error"
    assert found.found == "3 files cannot be read: 2 files (empty); b\\n.png (cut)"
    assert found.paths == ("a.png", "b\n.png", "c.png")


def test_files_that_nobody_takes() -> None:
    unused = (FileProblem("a.heic", "no known image"), FileProblem("README.md", "text"), FileProblem("LICENSE", "text"))
    (found,) = findings(replace(healthy(), unused=unused))
    assert (found.severity, found.found) == ("note", "1 file of the folder is not used: a.heic (no known image)")
    assert findings(replace(healthy(), unused=unused[1:])) == []


def test_a_class_in_validation_only_is_an_error() -> None:
    (found,) = findings(segments([[800, 800, 0, 0]] * 20, [EVEN] * 12))
    assert (found.check, found.severity) == ("classes", "error")
    assert found.found == "1 class is in validation, and without a pixel in training: sky"


def test_masks_that_cannot_be_read_say_nothing_about_classes() -> None:
    beyond = MaskProblem(kind="beyond", severity="error", found="f", expected="e", fix="x")
    for train, val in ([[800, 800, 0, 0], EVEN], [EVEN, [800, 800, 0, 0]], [[800, 0, 0, 0]] * 2):
        survey = segments([train] * 20, [val] * 12)
        assert "classes" in [finding.check for finding in findings(survey)]
        told = findings(replace(survey, mask_problems=(beyond,)))
        assert "classes" not in [finding.check for finding in told]
        assert told[0].check == "mask-beyond"


def test_classes_without_a_pixel_or_without_validation() -> None:
    nowhere, unmeasured = findings(segments([[800, 800, 0, 0]] * 20, [[800, 0, 0, 0]] * 12))
    assert nowhere.severity == unmeasured.severity == "warning"
    assert nowhere.found == "1 class is named, and without a pixel: sky"
    assert unmeasured.found == "1 class is in training, and without a pixel in validation: car"


def test_one_class_alone() -> None:
    found = findings(segments([[800, 0, 0, 9]] * 20, [[800, 0, 0, 0]] * 12), "classes")
    assert [item.found for item in found if item.severity == "error"] == [
        "training holds the one class road alone: there is nothing to tell apart"
    ]


@pytest.mark.parametrize("name", ["unlabelled", "Void", "don't care", "IGNORE", "un-known"])
def test_a_class_that_is_named_as_none(name: str) -> None:
    (found,) = findings(segments([EVEN] * 20, [EVEN] * 12, classes=("road", "car", name)))
    assert found.fix == "--ignore-label 2"
    assert f"class 2 is named {name} and counts as a class with 25,600 pixels" in found.found


def test_ignored_pixels() -> None:
    assert findings(segments([[400, 400, 400, 1200]] * 20, [EVEN] * 12)) == []  # a half is not more than half
    mostly = [*[[300, 300, 300, 1500]] * 3, *[EVEN] * 17]
    (found,) = findings(segments(mostly, [EVEN] * 12))
    assert (found.severity, found.paths) == ("note", ("masks/t000.png", "masks/t001.png", "masks/t002.png"))
    shares = findings(segments([[200, 200, 200, 1800]] * 20, [[200, 200, 200, 1800]] * 12), "ignored")
    assert shares[0].found == "75 % of all mask pixels are ignored"
    (void,) = findings(segments([[0, 0, 0, 2400]] * 20, [[0, 0, 0, 2400]] * 12), "ignored")
    assert void.severity == "error"
    assert findings(segments([[0, 0, 0, 2400]] * 20, [[0, 0, 0, 2400]] * 12), "classes") == []


def test_rare_classes_and_imbalance() -> None:
    train = [[2390, 8, 2, 0], *[[2392, 8, 0, 0]] * 19]
    found = findings(segments(train, [EVEN] * 12))
    assert [(item.check, item.severity) for item in found] == [
        ("rare-classes", "warning"),
        ("rare-classes", "note"),
        ("imbalance", "warning"),
    ]
    assert found[0].found == "1 class in fewer than 5 training images: sky (1)"
    assert found[1].found == "1 class with less than 0.1 % of the labelled training pixels: sky (0.0042 %)"
    assert found[2].found == "road has 23,919 times the pixels of sky in training (>99 % and 0.0042 %)"
    at_most = [[2000, 20, 20, 0]] * 20
    assert findings(segments(at_most, [EVEN] * 12)) == []  # 100 times is not more than 100


def test_pixel_values() -> None:
    looks = [
        image_look(low=7, high=7),
        image_look(low=0, high=25),
        image_look(mode="I;16"),
        image_look(remark="16-bit values only up to 694: at 8 bit 3 grey levels are left"),
        image_look(remark="16-bit values only up to 30: at 8 bit 1 grey levels are left"),
        image_look(low=0, high=26),
    ]
    found = findings(replace(healthy(), seen=seen(names("t", 6), looks)))
    assert [item.paths for item in found] == [
        ("t000.png",),
        ("t001.png",),
        ("t003.png", "t004.png"),
        ("t002.png",),
    ]
    assert {item.severity for item in found} == {"warning"}


def test_grey_stored_as_color() -> None:
    grey, color = image_look(grey_as_color=True), image_look()
    (found,) = findings(replace(healthy(), seen=seen(names("t", 2), [grey, grey])))
    assert found.severity == "note"
    assert "--in-channels 1" in found.fix
    assert findings(replace(healthy(), seen=seen(names("t", 2), [grey, color]))) == []


def test_what_the_reader_of_masks_says() -> None:
    problem = MaskProblem(
        kind="exif_turned",
        severity="error",
        found="1 mask lies on its side",
        expected="upright",
        fix="turn it",
        paths=("masks/a.png",),
        details=("the mask is 3x2, the image 2x3",),
    )
    (found,) = findings(replace(healthy(), mask_problems=(problem,)))
    assert (found.check, found.severity) == ("mask-exif-turned", "error")
    assert found.found == "1 mask lies on its side (masks/a.png: the mask is 3x2, the image 2x3)"


def test_interpolated_masks() -> None:
    sharp, blurred = mask_look(num_steps=1000, num_ramps=20), mask_look(num_steps=1000, num_ramps=400)
    few = mask_look(num_steps=59, num_ramps=30)
    assert findings(replace(healthy(), pairs=(pair(0, sharp), pair(1, few)))) == []
    survey = replace(healthy(), pairs=(pair(0, sharp), pair(1, blurred)))
    (found,) = findings(survey)
    assert (found.check, found.severity, found.paths) == ("interpolated-masks", "error", ("masks/t001.png",))
    assert "40 % of the steps" in found.found
    told = MaskProblem(kind="interpolated", severity="error", found="f", expected="e", fix="x")
    assert [item.check for item in findings(replace(survey, mask_problems=(told,)))] == ["mask-interpolated"]


def copies(*paths: str, same_labels: bool | None = True) -> Copies:
    parts = tuple("train" if path.startswith("t") else "val" for path in paths)
    return Copies(paths=paths, parts=parts, same_file=True, same_labels=same_labels)


def test_duplicates() -> None:
    across, within = copies("t000.png", "v001.png"), copies("t001.png", "t002.png", "t003.png")
    leaked, double = findings(replace(healthy(), copies=(across, within)))
    assert (leaked.severity, double.severity) == ("error", "note")
    assert leaked.found.startswith("1 validation image (8.3 %) with the same content in training")
    assert leaked.fix == (
        "remove one of each pair and its line in /data/ImageSets/Segmentation/val.txt; the first: rm /data/v001.png "
        "/data/masks/v001.png"
    )
    assert double.found.startswith("2 images whose content is in the same part already (byte for byte)")
    (conflict, _) = findings(replace(healthy(), copies=(copies("t001.png", "t002.png", same_labels=False),)))
    assert (conflict.severity, conflict.found) == ("error", "1 image of the same content with different masks")


def test_a_leak_of_less_than_a_hundredth_is_a_warning() -> None:
    survey = segments([EVEN] * 20, [EVEN] * 100, copies=(copies("t000.png", "v001.png"),))
    (found,) = findings(survey)
    assert found.severity == "warning"  # 1 of 100: not above a hundredth


@pytest.mark.parametrize("name", ["v it's.png", "v\n.png", "v;rm -r x.png", "v$(x).png"])
def test_commands_to_paste_are_quoted(name: str) -> None:
    import shlex

    (found,) = findings(replace(healthy(), copies=(copies("t000.png", name),)))
    command = found.fix.partition("the first: ")[2]
    assert "\n" not in command
    if "\n" not in name:
        assert shlex.split(command) == ["rm", f"/data/{name}"]


def thumbnail(seed: int, spread: float = 60.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(128, spread, 1024).clip(0, 255)


def test_near_duplicates() -> None:
    same = (thumbnail(1) + np.random.default_rng(9).normal(0, 2, 1024)).clip(0, 255)
    flat = thumbnail(1, spread=2.0)  # images without contrast are all alike
    train = [*(thumbnail(seed) for seed in range(5)), flat]
    looks = [image_look(thumbnail=item.astype(np.uint8).tobytes()) for item in train]
    val = [same, thumbnail(77), flat]
    others = [image_look(thumbnail=item.astype(np.uint8).tobytes()) for item in val]
    survey = replace(healthy(), seen=(*seen(names("t", 6), looks), *seen(names("v", 3), others, "val")))
    (found,) = findings(survey)
    assert (found.check, found.severity, found.paths) == ("near-duplicates", "warning", ("v000.png", "t001.png"))


def test_the_nearest_is_that_of_a_plain_loop() -> None:
    generator = np.random.default_rng(0)
    others = generator.uniform(0, 255, (70, 64)).astype(np.float32)
    these = np.concatenate([others[5:20] + generator.normal(0, 1, (15, 64)), generator.uniform(0, 255, (9, 64))])
    expected = []
    for row, this in enumerate(these.astype(np.float32)):
        distances = [float(np.sqrt(np.mean((this - other) ** 2))) for other in others]
        if min(distances) <= 0.08 * this.std() and this.std() >= 8:
            expected.append((row, int(np.argmin(distances))))
    assert nearest(these.astype(np.float32), others) == expected
    assert len(expected) == 15
    assert nearest(others[:0], others) == nearest(others, others[:0]) == []


def test_images_small_for_the_network() -> None:
    fits = ModelNeeds(name="net", smallest_side=40, field=(40, 60))
    assert findings(replace(healthy(), model=fits)) == []
    small = ModelNeeds(name="net", smallest_side=41, field=(300, 300))
    error, note = findings(replace(healthy(), model=small))
    assert (error.severity, note.severity) == ("error", "note")
    assert error.fix == "--min-side 41 leaves them out, and lists them"
    assert len(error.paths) == 32
    assert note.found.startswith("32 images of 32 smaller than the receptive field of net (300x300)")


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"layout": "csv_masks", "file": Path("list.csv")}, "remove one of each pair and its line in list.csv; the "),
        ({"layout": "mask_folders"}, "remove one of each pair; the "),
        (
            {"has_own_split": False},
            "remove one of each pair and its line in the lists of /data/ImageSets/Segmentation; the ",
        ),
    ],
)
def test_what_names_a_copy_is_said(changes: dict[str, Any], fix: str) -> None:
    (found,) = findings(replace(healthy(), copies=(copies("t000.png", "v001.png"),), **changes))
    assert found.fix.startswith(fix)
    (dashed,) = findings(replace(healthy(), root=Path(), copies=(copies("t000.png", "v-r.png"),)))
    assert dashed.fix.endswith("rm v-r.png")


def test_a_class_that_only_the_drawn_validation_has() -> None:
    survey = replace(segments([[800, 800, 0, 0]] * 20, [EVEN] * 12), has_own_split=False)
    (found,) = findings(survey)
    assert found.fix == (
        "label more images that hold them; the split was drawn, and another --val-split draws another one"
    )
    (unmeasured,) = findings(replace(segments([EVEN] * 20, [[800, 800, 0, 0]] * 12), has_own_split=False))
    assert "move" not in unmeasured.fix
    assert "--val-split" in unmeasured.fix


CODING = index_coding({1: 0, 2: 1, 3: 2, 0: 255, 255: 255}, 3)
VALUES = index_coding({0: 0, 1: 1, 3: 2, 255: 255}, 3)


@pytest.mark.parametrize(
    ("coding", "rules", "fix"),
    [
        (CODING, MaskRules(reduce_zero_label=True), "--ignore-label 3"),
        (
            VALUES,
            MaskRules(values=(0, 1, 3)),
            "--mask-values 0,1 --ignore-label 3, with one name for each value left where classes are named",
        ),
        (VALUES, MaskRules(ignore_labels=(7,)), "--ignore-label 3,7"),
        (
            MaskCoding(num_classes=3, lookup=(-1,) * 256, colors=(((0, 0, 0), 0), ((9, 9, 9), 1), ((1, 2, 3), 2))),
            MaskRules(),
            "--mask-palette with #010203=ignore",
        ),
    ],
)
def test_the_value_of_a_class_that_is_named_as_none(coding: MaskCoding, rules: MaskRules, fix: str) -> None:
    survey = segments([EVEN] * 20, [EVEN] * 12, classes=("road", "car", "void"), coding=coding, rules=rules)
    (found,) = findings(survey)
    assert found.fix == fix


def test_one_named_class_that_is_an_outline() -> None:
    look = mask_look(num_steps=1000, num_ramps=400, ramp_values=((1, 390), (2, 10)))
    coding = index_coding({0: 0, 1: 1, 2: 2, 255: 255}, 3)
    survey = replace(healthy(), pairs=(pair(0, look),), coding=coding)
    (found,) = findings(survey)
    assert (found.check, found.severity) == ("interpolated-masks", "warning")
    assert found.found.startswith("the value 1 (car) lies between two others")
    told = MaskProblem(kind="interpolated", severity="warning", found="f", expected="e", fix="x")
    assert [item.check for item in findings(replace(survey, mask_problems=(told,)))] == ["mask-interpolated"]
    several = mask_look(num_steps=1000, num_ramps=400, ramp_values=((1, 300), (2, 100)))
    unknown = mask_look(num_steps=1000, num_ramps=400, ramp_values=((7, 400),))
    for other in (several, unknown):
        (found,) = findings(replace(survey, pairs=(pair(0, other),)))
        assert found.severity == "error"


def test_one_mask_for_several_images() -> None:
    survey = healthy()
    train = replace(survey.parts[0].table, masks=("m.png",) * 12 + survey.parts[0].table.masks[12:])
    (found,) = findings(replace(survey, parts=(replace(survey.parts[0], table=train), survey.parts[1])), "pairing")
    assert (found.severity, found.found, found.paths) == ("warning", "1 mask file for 12 images: m.png", ("m.png",))


@pytest.mark.parametrize("kind", ["color", "beyond", "sparse"])
def test_no_class_is_missed_where_masks_cannot_be_read_as_classes(kind: str) -> None:
    problem = MaskProblem(kind=kind, severity="error", found="f", expected="e", fix="x")
    survey = segments([[0, 0, 0, 0]] * 20, [[0, 0, 0, 0]] * 12, mask_problems=(problem,))
    assert findings(survey, "classes") == []
    lone = segments([[2400, 0, 0, 0]] * 20, [[2400, 0, 0, 0]] * 12, mask_problems=(problem,))
    assert [item.check for item in findings(lone)] == [f"mask-{kind}"]


def test_the_fix_of_imbalance_is_no_default() -> None:
    train = [[2390, 8, 2, 0], *[[2392, 8, 0, 0]] * 19]
    fixes = [item.fix for item in findings(segments(train, [EVEN] * 12))]
    assert fixes[1:] == [
        "--see patches --patches class looks at them more often",
        "--class-weights balanced, or --see patches --patches class",
    ]
