"""Masks that are right and must load, flags that must not be void, and fixes that work when they are typed."""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anysize.data import DataOptions, DataSource, load_data
from anysize.data.formats.cityscapes import CITYSCAPES
from anysize.data.masks import MaskProblem, mask_rules, read_mask
from anysize.errors import DataError, UsageError
from anysize.options import MaskOptions

_ROOT = Path(__file__).parents[3]


def _load(root: Path, **flags: object) -> DataSource:
    return load_data(root, DataOptions(masks=mask_rules(MaskOptions(**flags))))  # type: ignore[arg-type]


def _problems(root: Path, **flags: object) -> list[MaskProblem]:
    options = DataOptions(masks=mask_rules(MaskOptions(**flags)))  # type: ignore[arg-type]
    return list(load_data(root, options, raise_mask_problems=False).mask_problems)


def _mask(values: Sequence[int], height: int = 20) -> NDArray[np.uint8]:
    """Upright bars of these values."""
    return np.repeat(np.array(values, np.uint8), 6)[None].repeat(height, axis=0)


def _pair(root: Path, image: str, mask: str, values: NDArray[np.uint8]) -> None:
    for name in (image, mask):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(root / mask)
    Image.new("RGB", (values.shape[1], values.shape[0])).save(root / image)


def _folder(root: Path, *masks: NDArray[np.uint8], names: str = "") -> Path:
    for number, mask in enumerate(masks):
        _pair(root, f"images/{number}.png", f"masks/{number}.png", mask)
    if names:
        (root / "classes.txt").write_text("\n".join(names.split()))
    return root


def _flag(problem: MaskProblem, name: str) -> str:
    found = re.search(rf"--{name} '?([^' ;]*)", problem.fix)
    assert found is not None, problem.fix
    return found[1]


def test_few_classes_of_ade20k_are_taken(tmp_path: Path) -> None:
    for number in range(3):
        stem = f"ADE_train_0000000{number}"
        _pair(
            tmp_path,
            f"images/training/{stem}.jpg",
            f"annotations/training/{stem}.png",
            _mask([0, 3, 60, 150], 9 + number),
        )
    source = _load(tmp_path)
    assert (source.mask_problems, len(source.classes)) == ((), 150)
    rows = [f"{number}\t0\t1\t1\t1\tthing {number}" for number in range(1, 151)]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    source = _load(tmp_path)
    assert source.mask_problems == ()
    assert [source.classes[label] for label in (2, 59, 149)] == ["thing 3", "thing 60", "thing 150"]
    assert source.census is not None
    assert np.flatnonzero(source.census.class_pixels).tolist() == [2, 59, 149]
    again = _load(tmp_path, reduce_zero_label=True)  # as the layout has it
    assert (again.classes, again.coding, again.notes) == (source.classes, source.coding, source.notes)
    source = _load(tmp_path, ignore_label=60)
    assert any("the ignore label 60 lies among the classes: 'thing 60' keeps" in note for note in source.notes)


@pytest.mark.parametrize(("ending", "values"), [("labelTrainIds", [0, 2, 18, 255]), ("labelIds", [7, 11, 33, 3])])
def test_few_classes_of_cityscapes_are_taken(tmp_path: Path, ending: str, values: list[int]) -> None:
    for number, part in enumerate(("train", "train", "val")):
        stem = f"{part}/ulm/ulm_{number}"
        _pair(tmp_path, f"leftImg8bit/{stem}_leftImg8bit.png", f"gtFine/{stem}_gtFine_{ending}.png", _mask(values))
    source = _load(tmp_path)
    assert source.mask_problems == ()
    assert source.classes == tuple(name for _, name, _ in CITYSCAPES)
    assert source.census is not None
    assert np.flatnonzero(source.census.class_pixels).tolist() == [0, 2, 18]
    assert any("19 classes" in note for note in source.notes)
    source = _load(tmp_path, mask_values=",".join(map(str, sorted(values[:3]))), ignore_label=values[3])
    assert len(source.classes) == 3
    assert not any("19 classes" in note for note in source.notes)
    assert any("give way to what flags say" in note for note in source.notes)


def test_one_class_of_a_layout_is_enough(tmp_path: Path) -> None:
    for number in range(2):
        stem = f"train/ulm/ulm_{number}"
        mask = f"gtFine/{stem}_gtFine_labelTrainIds.png"
        _pair(tmp_path, f"leftImg8bit/{stem}_leftImg8bit.png", mask, _mask([0, 255]))
    assert _load(tmp_path).mask_problems == ()
    _pair(tmp_path, "leftImg8bit/train/ulm/a_leftImg8bit.png", mask.replace("ulm_1", "a"), _mask([0, 77, 99]))
    (problem,) = _problems(tmp_path)
    assert problem.fix == (
        "--ignore-label 77,99 if those values mean no label; else take the masks as they were published: no other "
        "value means anything there"
    )


def _documented() -> list[str]:
    files = ["docs/segmentation_data.md", "src/anysize/options.py", "src/anysize/data/masks/rules.py"]
    return [flag for file in files for flag in re.findall(r"'(#[^'{}]*,[^'{}]*)'", (_ROOT / file).read_text("utf-8"))]


def test_documented_palettes_can_be_typed() -> None:
    flags = _documented()
    assert len(flags) >= 4
    for flag in flags:
        assert mask_rules(MaskOptions(mask_palette=flag)).palette is not None


def test_an_ignore_label_is_never_void() -> None:
    with pytest.raises(UsageError, match="--ignore-label 0 is in --mask-values, too") as caught:
        mask_rules(MaskOptions(mask_values="0,1,2,3", ignore_label=0))
    assert caught.value.hint == "--mask-values 1,2,3 --ignore-label 0, or leave out --ignore-label"
    with pytest.raises(UsageError, match="--ignore-label 2 was given beside --mask-palette"):
        MaskOptions(mask_palette="#000000,#ff0000", ignore_label=2)
    assert mask_rules(MaskOptions(mask_values="0,255")).values == (0, 255)
    assert mask_rules(MaskOptions(mask_values="0,1", ignore_label=3)).ignore_labels == (3,)
    assert mask_rules(MaskOptions(mask_palette="#000000,#ff0000", ignore_label=None)).palette is not None


def test_255_without_an_ignore_label(tmp_path: Path) -> None:
    root = _folder(tmp_path / "a", *[_mask([0, 1, 2, 255])] * 3)
    (problem,) = _problems(root, ignore_label=None)
    assert problem.kind == "beyond"
    assert problem.fix == "--mask-values 0,1,2,255 if 255 is a class of its own; --ignore-label 255 if not"
    assert len(_load(root, ignore_label=None, mask_values=_flag(problem, "mask-values")).classes) == 4
    assert len(_load(root, ignore_label=255).classes) == 3
    root = _folder(tmp_path / "b", *[_mask([0, 255])] * 3, names="sky sea")
    (problem,) = _problems(root, ignore_label=None)
    assert _flag(problem, "mask-values") == "0,255"
    assert _load(root, ignore_label=None, mask_values="0,255").classes == ("sky", "sea")


def test_masks_of_255_alone(tmp_path: Path) -> None:
    root = _folder(tmp_path, *[_mask([255])] * 3)
    (problem,) = _problems(root, ignore_label=None)
    assert problem.kind == "beyond"
    assert problem.fix.startswith("one value is one class, and two are required")


def test_paths_of_flags_can_be_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = MaskOptions(classes=Path("cl.txt"), mask_palette="colors.txt")
    expected = {"classes": tmp_path / "cl.txt", "mask_palette": str(tmp_path / "colors.txt")}
    assert options.absolute_paths() == expected
    assert replace(options, **options.absolute_paths()).absolute_paths() == expected
    written = MaskOptions(mask_palette="#000000,#ff0000")
    assert replace(written, **written.absolute_paths()) == written
    assert replace(MaskOptions(), **MaskOptions().absolute_paths()) == MaskOptions()


def test_an_ignore_label_beside_the_zero_label(tmp_path: Path) -> None:
    masks = [_mask([0, 1, 2, 3, 4])] * 3
    root = _folder(tmp_path / "a", *masks, names="sea land tree void")
    source = _load(root, reduce_zero_label=True, ignore_label=4)  # the name of value 4 is the last
    assert source.classes == ("sea", "land", "tree")
    assert source.coding is not None
    assert source.coding.lookup[:6] == (255, 0, 1, 2, 255, -1)
    assert "'void', the name of the ignore label 4, is no class" in source.notes
    source = _load(root, reduce_zero_label=True, ignore_label=2)
    assert source.classes == ("sea", "land", "tree", "void")
    assert source.coding is not None
    assert source.coding.lookup[:6] == (255, 0, 255, 2, 3, -1)
    (note,) = [note for note in source.notes if "lies among" in note]
    assert note.startswith("the ignore label 2 lies among the classes: 'land' keeps its place")
    assert "--mask-values" not in note
    source = _load(_folder(tmp_path / "b", *masks), reduce_zero_label=True, ignore_label=3)
    assert len(source.classes) == 4
    assert any("'class 2' keeps its place" in note for note in source.notes)
    with pytest.raises(DataError, match="there is no other class"):
        _load(_folder(tmp_path / "c", _mask([0, 1]), names="sea"), reduce_zero_label=True, ignore_label=1)


def test_colors_ask_for_the_names_that_there_are(tmp_path: Path) -> None:
    levels = np.array([[9, 9, 9], [1, 2, 3], [200, 0, 7]], np.uint8)
    mask = np.repeat(levels, [2, 9, 5], axis=0)[None].repeat(8, axis=0)  # the class of most pixels is not the first
    root = _folder(tmp_path / "a", mask, mask, names="sea land tree")
    (problem,) = _problems(root)
    flag = _flag(problem, "mask-palette")
    assert flag == "#010203=?,#c80007=?,#090909=?"
    assert "with a name of classes.txt in place of each ?, or 'ignore'" in problem.fix
    with pytest.raises((DataError, UsageError)):
        _load(root, mask_palette=flag)
    for name in ("land", "tree", "sea"):
        flag = flag.replace("?", name, 1)
    assert _load(root, mask_palette=flag).classes == ("land", "tree", "sea")  # each its own colour
    unnamed = _folder(tmp_path / "b", mask, mask)
    (problem,) = _problems(unnamed)
    assert _flag(problem, "mask-palette") == "#010203,#c80007,#090909"
    levels = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
    voc = np.repeat(levels, [2, 9, 5], axis=0)[None].repeat(8, axis=0)
    (problem,) = _problems(_folder(tmp_path / "c", voc, voc, names="sea land tree"))
    assert _flag(problem, "mask-palette") == "#000000,#800000,#008000"


def test_masks_at_another_scale_come_with_the_line_that_mends_them(tmp_path: Path) -> None:
    root = _folder(tmp_path, *[_mask([0, 1, 2])] * 2)
    path = root / "masks" / "0.png"
    with Image.open(path) as small:
        size = small.size
        small.resize((2 * size[0], 2 * size[1]), Image.Resampling.NEAREST).save(path)
    (problem,) = [problem for problem in _problems(root) if problem.kind == "size"]
    (code,) = re.findall("`(.*?)`", problem.fix)
    subprocess.run([sys.executable, "-c", code], check=True)  # as a reader would paste it
    with Image.open(path) as mended:
        assert mended.size == size
    assert _problems(root) == []


def test_several_ignore_labels(tmp_path: Path) -> None:
    masks = [_mask([0, 1, 2, 3, 4, 255])] * 3
    named = _folder(tmp_path / "a", *masks, names="sea land tree void edge")
    source = _load(named, ignore_label="4, 3")  # the names of both are the last
    assert source.classes == ("sea", "land", "tree")
    assert source.coding is not None
    assert source.coding.lookup[:6] == (0, 1, 2, 255, 255, -1)
    assert [note for note in source.notes if note.endswith("is no class")] == [
        "'edge', the name of the ignore label 4, is no class",
        "'void', the name of the ignore label 3, is no class",
    ]
    source = _load(named, ignore_label="1,4")
    assert source.classes == ("sea", "land", "tree", "void")
    assert source.coding is not None
    assert source.coding.lookup[:6] == (0, 255, 2, 3, 255, -1)
    assert source.coding.lookup[255] == 255
    (note,) = [note for note in source.notes if "lies among" in note]
    assert note.endswith("; --mask-values 0,2,3 --ignore-label 1,4 numbers the classes without it")
    coded = _load(named, mask_values="0,2,3", ignore_label="1,4")
    assert coded.classes == ("sea", "tree", "void")
    assert coded.coding is not None
    assert coded.coding.lookup[:6] == (0, 255, 1, 2, 255, -1)
    holes = [note for note in _load(named, ignore_label="1,2").notes if "--ignore-label" in note]
    assert holes[0].endswith("; --mask-values 0,3,4 --ignore-label 1,2 numbers the classes without them")
    with pytest.raises(UsageError, match="--ignore-label 2 is in --mask-values, too") as caught:
        _load(named, mask_values="0,1,2", ignore_label="2,4")
    assert (caught.value.hint or "").startswith("--mask-values 0,1 --ignore-label 2,4, or")


def test_a_fix_names_all_values_without_a_label(tmp_path: Path) -> None:
    root = _folder(tmp_path / "a", *[_mask([0, 1, 7, 9])] * 3, names="sea land")
    (problem,) = _problems(root)
    assert "--ignore-label 7,9 if those values mean no label" in problem.fix
    (problem,) = _problems(root, ignore_label=9)
    assert "--ignore-label 7,9 if that value means no label" in problem.fix
    assert _load(root, ignore_label="7,9").classes == ("sea", "land")


@pytest.mark.parametrize("text", ["11;37", "11,x", "", "11,,37", "-1,3", "256,3"])
def test_ignore_labels_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="it must be a value from 0 to 255, several with commas, or None"):
        MaskOptions(ignore_label=text)
    assert MaskOptions(ignore_label="11") == MaskOptions(ignore_label=11)


def test_a_mask_in_color_among_masks_of_indices(tmp_path: Path) -> None:
    gray = _mask([0, 1, 255])
    root = _folder(tmp_path / "a", gray, gray, np.stack([_mask([0])] * 3, axis=-1))
    (problem,) = [problem for problem in _problems(root) if problem.kind == "color"]
    assert problem.fix.startswith("save the masks in colour as indices, with the values of the others; or --mask-pal")
    flag = _flag(problem, "mask-palette")
    assert sorted(flag.split(",")) == ["#000000", "#010101", "#ffffff=ignore"]
    source = _load(root, mask_palette=flag)
    assert source.coding is not None
    assert len(source.classes) == 2
    assert (read_mask(root / "masks/0.png", source.coding) == 255).sum() == (gray == 255).sum()
    black = np.stack([_mask([0])] * 3, axis=-1)
    (problem,) = _problems(_folder(tmp_path / "b", black, black))
    assert problem.fix.startswith("one colour is one class, and two are required")


def test_palettes_in_capitals_and_with_a_header(tmp_path: Path) -> None:
    rules = mask_rules(MaskOptions(mask_palette="#000000=a,#ff0000=b,#ffffff=Ignore"))
    assert rules.palette is not None
    assert [entry.name for entry in rules.palette] == ["a", "b", "ignore"]
    (tmp_path / "colors.csv").write_text("name,r,g,b\nsky,0,0,9\nsea,1,2,3\nVoid one,4,4,4\nIGNORE,5,5,5\n")
    rules = mask_rules(MaskOptions(mask_palette=str(tmp_path / "colors.csv")))
    assert rules.palette is not None
    assert [entry.name for entry in rules.palette] == ["sky", "sea", "Void one", "ignore"]
    (tmp_path / "colors.csv").write_text("sky,0,0,9\nname,r,g,b\n")
    with pytest.raises(UsageError, match="line 2 is 'name,r,g,b'"):
        mask_rules(MaskOptions(mask_palette=str(tmp_path / "colors.csv")))


@pytest.mark.parametrize("seed", range(20))
def test_a_drawn_split_leaves_every_class_in_training(tmp_path: Path, seed: int) -> None:
    masks = [_mask([0, 2, 3] if number == 11 else [0, 1], 8 + number) for number in range(20)]
    root = _folder(tmp_path, *masks, names="sky sea rare rarer")
    options = DataOptions(split_seed=seed)
    source = load_data(root, options)
    assert source.val is not None
    assert source.train_census is not None
    assert (len(source.train), len(source.val)) == (16, 4)
    assert (source.train_census.class_images > 0).all()
    heights = sorted(source.val.sizes[:, 0].tolist())
    assert heights[0] < 18 <= heights[-1]
    exchanged = [note for note in source.notes if "rare, rarer" in note]
    assert len(exchanged) <= 1
    if exchanged:
        assert exchanged[0].startswith("kept in training by exchange")


def test_images_that_are_each_the_only_one_of_a_class_are_all_trained_on(tmp_path: Path) -> None:
    source = _load(_folder(tmp_path, _mask([0, 1]), _mask([0, 2]), names="sky sea land"))
    assert (len(source.train), source.val) == (2, None)
    assert any("each is the only one of a class: nothing is validated" in note for note in source.notes)
