"""What load_data refuses in masks: what was found, what is required, and a fix that works when it is typed."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anysize.data import DataOptions, DataSource, check_source, load_data
from anysize.data.masks import MaskProblem, default_palette, mask_rules, read_mask
from anysize.data.masks.mending import fit_masks
from anysize.data.masks.palette import voc_palette
from anysize.data.masks.values import read_values
from anysize.errors import DataError, UsageError
from anysize.options import MaskOptions

_RNG = np.random.default_rng(1)


def _load(root: Path, **flags: object) -> DataSource:
    return load_data(root, DataOptions(masks=mask_rules(MaskOptions(**flags))))  # type: ignore[arg-type]


def _problems(root: Path, **flags: object) -> list[MaskProblem]:
    options = DataOptions(masks=mask_rules(MaskOptions(**flags)))  # type: ignore[arg-type]
    return list(load_data(root, options, raise_mask_problems=False).mask_problems)


def _blocks(values: list[int], size: int = 24, count: int = 3) -> dict[str, np.ndarray]:
    """Masks of rectangles of these values, all of them in each."""
    masks = {}
    for number in range(count):
        mask = np.full((size, size + number), values[0], np.uint8)
        for at, value in enumerate(values[1:]):
            mask[(at * 5 + number) % size :, at * 4 : at * 4 + 9] = value
        masks[f"m{number}"] = mask
    return masks


def test_good_masks_and_their_census(write_voc) -> None:
    masks = _blocks([0, 1, 2, 255])
    source = _load(write_voc(masks, names="sky sea land"))
    assert (source.layout, source.task, source.classes) == ("voc", "segment", ("sky", "sea", "land"))
    assert source.palette == default_palette(3)
    assert source.mask_problems == ()
    assert source.notes == ("class names are those of classes.txt",)
    assert source.coding is not None
    assert source.val is not None
    for table, census in ((source.train, source.train_census), (source.val, source.val_census)):
        assert table.masks is not None
        assert census is not None
        assert len(census) == len(table) > 0
        for row, name in enumerate(table.masks):
            mask = masks[Path(name).stem]
            assert read_mask(source.root / name, source.coding).tolist() == mask.tolist()
            assert census.counts[row].tolist() == [int((mask == value).sum()) for value in range(3)]
            assert census.ignored[row] == (mask == 255).sum()
        assert census.counts.dtype == np.int64
        assert census.class_pixels.tolist() == census.counts.sum(axis=0).tolist()
        assert not census.unknown.any()
    checked = check_source(source, 3, DataOptions()).source
    assert (checked.coding, checked.task) == (source.coding, "segment")
    assert checked.train_census is not None


def test_without_names_classes_are_numbered_by_the_values(write_voc) -> None:
    source = _load(write_voc(_blocks([0, 1, 3, 255])))
    assert source.classes == ("class 0", "class 1", "class 2", "class 3")
    assert "no class names are given: 4 classes, as the masks have values up to 3" in source.notes


def test_masks_of_0_and_255(write_voc) -> None:
    root = write_voc(_blocks([0, 255]))
    with pytest.raises(DataError) as caught:
        _load(root)
    share = 100 * np.mean(np.concatenate([mask.ravel() == 255 for mask in _blocks([0, 255]).values()]))
    assert caught.value.message == (
        f"the label masks of {root} cannot be used as they are:\n"
        f"  the masks hold 0 and 255 only ({share:.0f} % are 255, which means no label); "
        "at least two classes are required\n"
        "    SegmentationClass/m0.png\n    SegmentationClass/m1.png\n    SegmentationClass/m2.png"
    )
    assert caught.value.hint == "--mask-values 0,255 if 255 is a class of its own"
    source = _load(root, mask_values="0,255")
    assert source.coding is not None
    assert source.train.masks is not None
    mask = read_mask(root / source.train.masks[0], source.coding)
    assert mask.tolist() == (_blocks([0, 255])["m0"] // 255).tolist()
    assert _problems(write_voc(_blocks([0, 255]), names="back fore"))[0].kind == "foreground_255"


def test_masks_in_color(write_voc) -> None:
    colors = np.array([*voc_palette(3), (224, 224, 192)], np.uint8)
    masks = {name: colors[np.minimum(mask, 3)] for name, mask in _blocks([0, 1, 2, 255]).items()}
    root = write_voc(masks, names="sky sea land")
    (problem,) = _problems(root)
    assert (problem.kind, problem.severity, len(problem.paths)) == ("color", "error", 3)
    assert problem.found == "3 masks are in colour: 4 colours, #000000, #800000, #008000, #e0e0c0"
    flag = re.search(r"--mask-palette '([^']*)'", problem.fix)
    assert flag is not None
    assert flag[1] == "#000000,#800000,#008000,#e0e0c0=ignore"
    source = _load(root, mask_palette=flag[1])
    assert source.coding is not None
    assert source.classes == ("sky", "sea", "land")
    assert source.palette == voc_palette(3)
    for name, mask in _blocks([0, 1, 2, 255]).items():
        assert read_mask(root / "SegmentationClass" / f"{name}.png", source.coding).tolist() == mask.tolist()
    (problem,) = _problems(root, mask_palette="#000000=a,#800000=b,#008000=c")
    assert problem.kind == "unknown_color"
    assert problem.fix == "add the colours to --mask-palette; without a label they are '#e0e0c0=ignore'"


def test_names_of_a_palette_and_of_a_file(write_voc, tmp_path: Path) -> None:
    colors = np.array(voc_palette(2), np.uint8)
    root = write_voc({name: colors[mask] for name, mask in _blocks([0, 1]).items()}, names="not these")
    source = _load(root, mask_palette="#800000=sea,#000000=sky")
    assert (source.classes, source.palette) == (("sea", "sky"), ((128, 0, 0), (0, 0, 0)))
    assert not any("classes.txt" in note for note in source.notes)
    (tmp_path / "names.txt").write_text("sky\nsea\n")
    source = _load(root, mask_palette="#800000=sea,#000000=sky", classes=tmp_path / "names.txt")
    assert (source.classes, source.palette) == (("sky", "sea"), ((0, 0, 0), (128, 0, 0)))
    with pytest.raises(DataError, match="name different classes: land, sea is in one of them only"):
        _load(root, mask_palette="#800000=land,#000000=sky", classes=tmp_path / "names.txt")
    assert _load(root, mask_palette="#800000,#000000").classes == ("not", "these")


def test_flags_of_masks_on_images_without(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (3, 4)).save(tmp_path / name)
    note = "the data have no masks: what was said about their values and classes is not used"
    assert note in _load(tmp_path, ignore_label=3).notes
    source = _load(tmp_path)
    assert (source.task, source.coding, source.palette, source.census) == ("classify", None, None, None)
    assert note not in source.notes


def test_a_photograph_is_no_color_mask(write_voc) -> None:
    root = write_voc({name: _RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8) for name in "ab"})
    (problem,) = _problems(root)
    assert problem.found.startswith("2 masks are in colour: more than 1024 colours")
    assert "without anti-aliasing" in problem.fix


def test_values_beyond_the_classes(write_voc) -> None:
    root = write_voc(_blocks([0, 1, 2, 7]), names="sky sea land")
    (problem,) = _problems(root)
    pixels = sum(int((mask == 7).sum()) for mask in _blocks([0, 1, 2, 7]).values())
    assert problem.found == f"3 masks have values that name no class: 7 ({pixels} pixels)"
    assert problem.expected == "the 3 names of classes.txt are for values 0 to 2; 255 means no label"
    assert problem.fix == "--ignore-label 7 if that value means no label"
    source = _load(root, ignore_label=7)
    assert source.classes == ("sky", "sea", "land")
    assert source.train_census is not None
    assert source.train_census.num_ignored > 0
    (problem,) = _problems(write_voc(_blocks([0, 100, 200]), names="sky sea land"))
    assert "--mask-values 0,100,200 if the names are for these values in this order" in problem.fix
    (problem,) = _problems(write_voc(_blocks([0, 1, 2, 3]), names="sky sea land"))
    assert "--reduce-zero-label if 0 means no label and the names begin with value 1" in problem.fix
    assert "a file of 4 names by --classes" in problem.fix
    assert _problems(write_voc(_blocks([1, 2, 3]), names="sky sea land"))[0].fix.startswith("--mask-values 1,2,3 if")


def test_far_values_without_names(write_voc) -> None:
    root = write_voc(_blocks([0, 128]))
    (problem,) = _problems(root)
    assert (problem.kind, problem.severity) == ("sparse", "error")
    assert problem.fix.startswith("--mask-values 0,128 takes these values as classes")
    assert _load(root, mask_values="0,128").classes == ("class 0", "class 1")


def test_deep_masks(write_voc) -> None:
    deep = {name: mask.astype(np.uint16) * 300 for name, mask in _blocks([0, 1]).items()}
    problem = _problems(write_voc(deep, names="sky sea"))[0]
    assert (problem.kind, "above 255" in problem.fix) == ("deep", True)


def test_masks_of_another_size(write_voc) -> None:
    root = write_voc(_blocks([0, 1]), names="sky sea")
    Image.new("RGB", (48, 48)).save(root / "JPEGImages" / "m0.png")
    (problem,) = _problems(root)
    assert (problem.kind, problem.paths) == ("size", ("SegmentationClass/m0.png",))
    assert problem.details == ("the mask is 24x24, the image 48x48 (height x width)",)
    assert "at another scale" in problem.fix


def _write_scaled(root: Path, layout: str, mend: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    """Six images and masks, of which the odd ones were changed by ``mend``; 2-bit grey, 16-bit and palette PNGs."""
    images, masks = ("JPEGImages", "SegmentationClass") if layout == "voc" else ("images", "masks")
    for folder in (images, masks):
        (root / folder).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((40 + number, 50), np.uint8)
        mask[5:20, 10 + number :] = 1
        mask[25:, :30] = 3
        Image.new("RGB", (50, 40 + number)).save(root / images / f"{number}.jpg")
        image = Image.fromarray(mend(mask) if number % 2 else mask)
        options = {}
        if number == 1:
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        elif number == 3:
            image.putpalette([channel for color in voc_palette(256) for channel in color])
            options = {"bits": 2}
        image.save(root / masks / f"{number}{'_mask' if layout != 'voc' else ''}.png", **options)


def _run(code: str, folder: Path) -> None:
    """As a user does: in a Python of his own, in any folder."""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, timeout=120)


@pytest.mark.parametrize("layout", ["folders", "voc"])
def test_the_snippet_fits_masks_of_another_scale(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "it's data"
    _write_scaled(root, layout, lambda mask: mask[::2, ::2])
    (problem,) = _problems(root)
    assert (problem.kind, len(problem.paths)) == ("size", 3)
    (code,) = re.findall("`(.*?)`", problem.fix)
    assert "\n" not in problem.fix  # one line: reports show it so
    untouched = {
        path: path.read_bytes() for path in root.rglob("*.*") if path.relative_to(root).as_posix() not in problem.paths
    }
    _run(code, tmp_path)
    source = _load(root)
    assert source.mask_problems == ()
    assert len(untouched) == 9
    assert {path: path.read_bytes() for path in untouched} == untouched
    for name in problem.paths:
        number = int(Path(name).stem.removesuffix("_mask"))
        read = read_values(root / name)
        expected = np.zeros((40 + number, 50), np.uint8)
        expected[5:20, 10 + number :] = 1
        expected[25:, :30] = 3
        small = Image.fromarray(expected[::2, ::2]).resize((50, 40 + number), Image.Resampling.NEAREST)
        assert read.values.tolist() == np.asarray(small).tolist()
        assert (read.palette is not None) == (number == 3)


@pytest.mark.parametrize(
    ("how", "mend"),
    [("transpose", np.transpose), ("left", lambda mask: np.rot90(mask, -1)), ("right", np.rot90)],
)
def test_masks_with_height_and_width_exchanged(tmp_path: Path, how: str, mend: Callable) -> None:
    _write_scaled(tmp_path / "data", "folders", mend)
    (problem,) = _problems(tmp_path / "data")
    assert (problem.kind, problem.severity) == ("exchanged", "error")
    assert problem.paths == tuple(f"masks/{number}_mask.png" for number in (1, 3, 5))
    assert problem.found == "3 masks have height and width exchanged: each was transposed, or turned by a quarter"
    assert "no size shows which" in problem.fix
    codes = re.findall("`(.*?)`", problem.fix)
    assert len(codes) == 3
    (code,) = [code for code in codes if repr(how) in code]
    _run(code, tmp_path)
    assert _load(tmp_path / "data").mask_problems == ()
    for number in range(6):
        expected = np.zeros((40 + number, 50), np.uint8)
        expected[5:20, 10 + number :] = 1
        expected[25:, :30] = 3
        assert read_values(tmp_path / f"data/masks/{number}_mask.png").values.tolist() == expected.tolist()


def test_each_size_that_is_wrong_has_its_own_fix(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    sizes = {"scaled": (20, 25), "exchanged": (50, 40), "other": (40, 90), "right": (40, 50)}
    for folder in (images, masks):
        folder.mkdir()
    for name, size in sizes.items():
        Image.new("RGB", (50, 40)).save(images / f"{name}.png")
        mask = np.zeros(size, np.uint8)
        mask[:10] = 1
        Image.fromarray(mask).save(masks / f"{name}.png")
    found = {Path(problem.paths[0]).stem: problem for problem in _problems(tmp_path)}
    assert {name: (problem.kind, len(problem.paths)) for name, problem in found.items()} == {
        "scaled": ("size", 1),
        "exchanged": ("exchanged", 1),
        "other": ("size", 1),
    }
    assert found["other"].fix.startswith("the masks have another shape than their images")
    assert fit_masks(tmp_path) == 1
    assert fit_masks(tmp_path, "left") == 1
    (problem,) = _problems(tmp_path)
    assert problem.paths == ("masks/other.png",)
    assert (fit_masks(tmp_path), fit_masks(tmp_path, "transpose")) == (0, 0)


def test_a_mask_that_its_format_would_change_is_left_as_it_is(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (50, 40)).save(tmp_path / "images/a.png")
    pixels = np.random.default_rng(0).integers(0, 255, (20, 25), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "masks/a.jpg")
    before = (tmp_path / "masks/a.jpg").read_bytes()
    with pytest.raises(DataError) as caught:
        fit_masks(tmp_path)
    assert str(caught.value) == (
        f"mask {tmp_path / 'masks/a.jpg'} is stored as JPEG, which would change its values\n"
        "hint: save the original masks as PNG"
    )
    assert (tmp_path / "masks/a.jpg").read_bytes() == before
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a.jpg"]
    with pytest.raises(UsageError) as wrong:
        fit_masks(tmp_path, "up")  # type: ignore[arg-type]
    assert str(wrong.value) == "fit_masks was asked to 'up'; it can resize, transpose, left or right"
    Image.new("RGB", (50, 40)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="has no label masks"):
        fit_masks(tmp_path / "images")


def test_exif_must_agree(write_voc) -> None:
    root = write_voc(_blocks([0, 1]), names="sky sea", val=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (26, 24)).save(root / "JPEGImages" / "m2.png", exif=exif)  # the mask lies as the pixels do
    exif[0x0112] = 3
    Image.new("RGB", (25, 24)).save(root / "JPEGImages" / "m1.png", exif=exif)
    turned, unclear = _problems(root)
    assert (turned.kind, turned.severity, turned.paths) == ("exif_turned", "error", ("SegmentationClass/m2.png",))
    assert (unclear.kind, unclear.severity, unclear.paths) == ("orientation", "warning", ("SegmentationClass/m1.png",))
    assert fit_masks(root, "transpose") == 0  # the tag is what is wrong, not the mask


def test_jpeg_masks(write_voc) -> None:
    (problem,) = _problems(write_voc(_blocks([0, 255]), suffix=".jpg"))
    assert (problem.kind, len(problem.paths)) == ("lossy", 3)
    assert problem.fix.startswith("save the original masks as PNG")


def test_smoothly_resized_masks(write_voc) -> None:
    def resized(values: list[int]) -> dict[str, Image.Image]:
        masks = {name: Image.fromarray(mask) for name, mask in _blocks(values, count=4).items()}
        return {name: mask.resize((61, 57), Image.Resampling.BILINEAR) for name, mask in masks.items()}

    (problem,) = _problems(write_voc(resized([0, 255]), names="back fore"))
    assert (problem.kind, problem.severity) == ("interpolated", "error")
    assert "NEAREST" in problem.fix
    (problem,) = _problems(write_voc(resized([0, 15]), names=" ".join(f"c{n}" for n in range(21))))
    assert (problem.kind, problem.severity) == ("interpolated", "error")
    # One class at the borders only may be drawn: said, not refused.
    (problem,) = _problems(write_voc(resized([0, 2]), names="a b c"))
    assert (problem.kind, problem.severity) == ("interpolated", "warning")


def test_masks_without_labels_and_palettes_that_disagree(write_voc) -> None:
    masks: dict[str, object] = dict(_blocks([0, 1]))
    masks["void"] = np.full((9, 9), 255, np.uint8)
    source = _load(write_voc(masks, names="sky sea"))
    assert [problem.kind for problem in source.mask_problems] == ["all_ignored"]
    assert any("1 mask has no labelled pixel at all" in note for note in source.notes)
    indexed = {}
    for number, (name, mask) in enumerate(_blocks([0, 1]).items()):
        indexed[name] = Image.fromarray(mask if number else 1 - mask)
        indexed[name].putpalette([0, 0, 0, 200, 0, 0] if number else [200, 0, 0, 0, 0, 0])
    source = _load(write_voc(indexed, names="sky sea"))
    assert [problem.kind for problem in source.mask_problems] == ["palettes"]


def test_ignore_labels_within_the_names(write_voc) -> None:
    root = write_voc(_blocks([0, 1, 2, 3]), names="sky sea land unlabelled")
    source = _load(root, ignore_label=3)
    assert source.classes == ("sky", "sea", "land")
    assert "'unlabelled', the name of the ignore label 3, is no class" in source.notes
    assert any("if it means no label: --ignore-label 3" in note for note in _load(root).notes)
    source = _load(root, ignore_label=1)  # in the middle: nobody else's number changes
    assert source.classes == ("sky", "sea", "land", "unlabelled")
    assert source.coding is not None
    assert source.coding.lookup[:5] == (0, 255, 2, 3, -1)
    (note,) = [note for note in source.notes if "lies among" in note]
    assert "--mask-values 0,2,3 --ignore-label 1 numbers the classes without it" in note
    source = _load(root, mask_values="0,2,3", ignore_label=1)
    assert source.classes == ("sky", "land", "unlabelled")
    assert source.coding is not None
    assert source.coding.lookup[:5] == (0, 255, 1, 2, -1)


def test_the_zero_label_is_reduced(write_voc) -> None:
    source = _load(write_voc(_blocks([0, 1, 2]), names="void sea land"), reduce_zero_label=True)
    assert source.classes == ("sea", "land")
    assert source.coding is not None
    assert source.coding.lookup[:4] == (255, 0, 1, -1)
    with pytest.raises(DataError, match="the names seem to begin with value 0 \\('sky'\\)"):
        _load(write_voc(_blocks([0, 1, 2]), names="sky sea land"), reduce_zero_label=True)


def test_voc_names_only_for_genuine_voc(write_voc) -> None:
    def indexed(stem: str) -> dict[str, Image.Image]:
        masks = {}
        for number, mask in enumerate(_blocks([0, 5, 15, 255]).values()):
            image = Image.fromarray(mask)
            image.putpalette([channel for color in voc_palette(256) for channel in color])
            masks[stem.format(number)] = image
        return masks

    root = write_voc(indexed("2007_00003{}"))
    source = _load(root)
    assert (len(source.classes), source.classes[15]) == (21, "person")
    assert any("its 21 class names are used" in note for note in source.notes)
    (problem,) = _problems(write_voc(indexed("photo{}")))
    assert problem.kind == "sparse"
    grey = {f"2007_00003{number}": mask for number, mask in enumerate(_blocks([0, 5, 15, 255]).values())}
    (problem,) = _problems(write_voc(grey))
    assert problem.kind == "sparse"


def test_masks_are_decoded_once_and_remembered(write_voc, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_voc(_blocks([0, 1, 255]), names="sky sea")
    made = time.time_ns() - 3600 * 10**9
    for path in root.rglob("*.png"):
        os.utime(path, ns=(made, made))
    first = _load(root)
    read: list[object] = []
    monkeypatch.setattr("anysize.data.masks.facts.read_values", lambda path, **_: read.append(path))
    again = _load(root)
    assert first.census is not None
    assert again.census is not None
    assert again.census.counts.tolist() == first.census.counts.tolist()
    assert again.coding == first.coding
    assert not read


def test_unreadable_masks_come_with_the_images(write_voc) -> None:
    root = write_voc(_blocks([0, 1], count=4), names="sky sea")
    (root / "SegmentationClass" / "m1.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"1 of 8 images and masks cannot be read:\n  SegmentationClass/m1\.png: the file is"
    ):
        _load(root)
    source = load_data(root, DataOptions(skip_unreadable=True))
    assert source.train.paths == ("JPEGImages/m0.png", "JPEGImages/m2.png")
    assert [problem.path for problem in source.problems] == ["SegmentationClass/m1.png"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"mask_values": "0,x"}, "--mask-values is '0,x'; 'x' is no value from 0 to 255"),
        ({"mask_values": "0,0"}, "--mask-values has 0 twice"),
        ({"mask_palette": "#00,#ff0000"}, "--mask-palette has '#00', which is no colour"),
        ({"mask_palette": "#000000,#ff0000=car"}, "--mask-palette names some of its colours and not the others"),
        ({"mask_palette": "#000000,#ff0000=ignore"}, "--mask-palette has 1 classes"),
        ({"mask_palette": "#000000,#000000"}, "--mask-palette has #000000 twice"),
    ],
)
def test_flags_that_cannot_be(flags: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        mask_rules(MaskOptions(**flags))  # type: ignore[arg-type]
    assert caught.value.message.startswith(message)


def test_flags_that_exclude_one_another() -> None:
    with pytest.raises(UsageError, match="--mask-values and --mask-palette were both given"):
        MaskOptions(mask_values="0,1", mask_palette="#000000,#ffffff")
    with pytest.raises(UsageError, match="--ignore-label is 300; it must be a value from 0 to 255, several with"):
        MaskOptions(ignore_label=300)


def test_files_of_names_and_colors(tmp_path: Path) -> None:
    (tmp_path / "colors.txt").write_text("# CamVid\n64 128 64 Animal\nlarge truck 1 2 3\nsky:0,0,9::\n")
    rules = mask_rules(MaskOptions(mask_palette=str(tmp_path / "colors.txt")))
    assert rules.palette is not None
    assert [(entry.name, entry.color) for entry in rules.palette] == [
        ("Animal", (64, 128, 64)),
        ("large truck", (1, 2, 3)),
        ("sky", (0, 0, 9)),
    ]
    (tmp_path / "names.txt").write_text("sky\nsea\nsky\n")
    with pytest.raises(UsageError, match="names 'sky' in line 1 and in line 3"):
        mask_rules(MaskOptions(classes=tmp_path / "names.txt"))


def test_real_masks(real_data: Path) -> None:
    sizes = {"facade_voc": (91, 22, 8), "isbi_em": (24, 6, 2), "labelme_voc": (2, 1, 21), "camvid": (16, 8, 12)}
    for name, expected in sizes.items():
        source = load_data(real_data / name, DataOptions())
        assert source.val is not None
        assert (len(source.train), len(source.val), len(source.classes)) == expected
        assert source.mask_problems == ()
    assert len(_load(real_data / "camvid", ignore_label=11).classes) == 11
    assert [problem.kind for problem in _problems(real_data / "hard_mismatch")] == ["foreground_255", "size"]
