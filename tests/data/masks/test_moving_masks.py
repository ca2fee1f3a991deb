"""Masks that are turned or shifted as a whole: the old ones are kept, and nothing is moved twice in silence."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anysize.data.masks import moving
from anysize.data.masks.mending import fit_masks
from anysize.data.masks.moving import Move, kept_folder, move_masks, restore_masks
from anysize.data.masks.values import read_values
from anysize.errors import DataError, UsageError


def _mask(height: int = 12, width: int = 12, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 3, (height, width), np.uint8)


def _data(root: Path, *masks: NDArray[np.uint8], size: tuple[int, int] | None = None) -> Path:
    """Images of the masks' own sizes, unless told; the masks have a palette of five colours."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, values in enumerate(masks):
        height, width = values.shape if size is None else size
        Image.new("RGB", (width, height)).save(root / f"images/{number}.png")
        mask = Image.fromarray(values)
        mask.putpalette([0, 0, 0, 9, 9, 9, 80, 90, 99, 1, 2, 3, 4, 5, 6])
        mask.save(root / f"masks/{number}.png")
    return root


def _read(root: Path, number: int = 0) -> NDArray[np.generic]:
    return read_values(root / f"masks/{number}.png").values


def _bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.*"))}


def _kept(folder: Path) -> dict[str, bytes]:
    """The old masks, by where they belong."""
    named = json.loads((folder / "masks.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"masks.json", *named}
    return {place: (folder / name).read_bytes() for name, place in named.items()}


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ("mirror", ["21", "43"]),
        ("upside down", ["34", "12"]),
        ("half turn", ["43", "21"]),
        ("transpose", ["13", "24"]),
        ("left", ["24", "13"]),
        ("right", ["31", "42"]),
        ("transverse", ["42", "31"]),
    ],
)
def test_square_masks_are_turned_and_put_back(tmp_path: Path, how: Move, rows: list[str]) -> None:
    data = _data(tmp_path / "data", np.array([[1, 2], [3, 4]], np.uint8), _mask())
    before = _bytes(data)
    assert fit_masks(data, "transpose") == 0  # no size shows that they are wrong
    assert move_masks(data, how) == 2
    assert ["".join(map(str, row)) for row in _read(data).tolist()] == rows
    assert read_values(data / "masks/0.png").palette is not None
    kept = tmp_path / "data-masks-before"
    assert kept_folder(data) == kept
    assert _kept(kept) == {name: old for name, old in before.items() if name.startswith("masks/")}
    assert restore_masks(data) == 2
    assert _bytes(data) == before
    assert not kept.exists()


def test_masks_are_never_moved_twice_in_silence(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask())
    move_masks(data, "transpose")
    after = _bytes(data)
    kept = tmp_path / "data-masks-before"
    with pytest.raises(UsageError) as caught:
        move_masks(data, "transpose")
    assert caught.value.message == (
        f"{kept} exists: masks of {data} were moved before, and are kept there as they were; moved once more they "
        "would be wrong again"
    )
    assert caught.value.hint == (
        f"`from anysize.data.masks.moving import restore_masks; restore_masks({str(data)!r})` undoes that; to move "
        f"them once more all the same, kept='{kept}-2'"
    )
    assert _bytes(data) == after
    assert move_masks(data, "mirror", kept=f"{kept}-2") == 1
    with pytest.raises(UsageError, match=re.escape(f", kept='{kept}-2')` undoes that; ")):
        move_masks(data, "mirror", kept=f"{kept}-2")
    assert restore_masks(data, kept=f"{kept}-2") == 1
    assert _bytes(data) == after


@pytest.mark.parametrize("by", [(6, -9), (-3, 0), (0, 11), (40, 2)])
def test_a_shift_leaves_pixels_without_a_label(tmp_path: Path, by: tuple[int, int]) -> None:
    mask = _mask(13, 21)
    data = _data(tmp_path / "data", mask)
    assert move_masks(data, by) == 1
    expected = np.full(mask.shape, 255, np.uint8)
    for row in range(13):
        for column in range(21):
            if 0 <= row + by[0] < 13 and 0 <= column + by[1] < 21:
                expected[row + by[0], column + by[1]] = mask[row, column]
    assert _read(data).tolist() == expected.tolist()
    palette = read_values(data / "masks/0.png").palette
    assert palette is not None
    assert palette[[0, 1, 2]].tolist() == [[0, 0, 0], [9, 9, 9], [80, 90, 99]]


def test_what_a_shift_leaves_open_has_the_value_that_was_given(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask())
    assert move_masks(data, (2, 0), fill=7) == 1
    assert set(_read(data)[:2].ravel().tolist()) == {7}
    colour = np.zeros((4, 4, 3), np.uint8)
    Image.fromarray(colour).save(data / "masks/0.png")
    Image.new("RGB", (4, 4)).save(data / "images/0.png")
    before = _bytes(data)
    other = tmp_path / "other"
    with pytest.raises(DataError) as caught:
        move_masks(data, (0, 1), kept=other)
    assert str(caught.value) == (
        f"mask {data / 'masks/0.png'} was to be filled with 255; it takes (red, green, blue), each 0 to 255\n"
        "hint: fill= the colour that means no label"
    )
    assert _bytes(data) == before
    assert not other.exists()
    assert move_masks(data, (0, 1), fill=(1, 2, 3), kept=other) == 1
    assert _read(data)[:, 0].tolist() == [[1, 2, 3]] * 4


def test_of_other_shapes_those_that_lie_on_their_images_stay(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask(12, 12), _mask(12, 20), _mask(20, 12), size=(12, 20))
    Image.new("RGB", (12, 12)).save(data / "images/0.png")
    right = _read(data, 1)
    assert move_masks(data, "transpose") == 2  # the square one, and that whose height and width were exchanged
    assert _read(data, 1).tolist() == right.tolist()
    assert _read(data, 2).tolist() == _mask(20, 12).T.tolist()
    assert set(_kept(tmp_path / "data-masks-before")) == {"masks/0.png", "masks/2.png"}


def test_masks_of_other_sizes_are_mended_first(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask(12, 20), _mask(6, 10), size=(12, 20))
    before = _bytes(data)
    for how in ("mirror", "transpose", (3, 3)):
        with pytest.raises(DataError) as caught:
            move_masks(data, how)  # type: ignore[arg-type]
        assert str(caught.value) == (
            "mask masks/1.png is 6x10, its image 12x20 (height x width): no mask was moved\n"
            "hint: mend the sizes first, as anysize doctor says"
        )
    assert _bytes(tmp_path) == {f"data/{name}": content for name, content in before.items()}


def test_an_error_leaves_every_mask_as_it_was(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask(), _mask(seed=1))
    noise = np.random.default_rng(0).integers(0, 255, (12, 12), np.uint8)
    (data / "masks/1.png").unlink()
    Image.fromarray(noise).save(data / "masks/1.jpg")  # decoded after the first was written
    before = _bytes(data)
    with pytest.raises(DataError, match="is stored as JPEG, which would change its values"):
        move_masks(data, "mirror")
    torn = (data / "masks/1.jpg").read_bytes()[:-40]
    (data / "masks/1.jpg").write_bytes(torn)
    with pytest.raises(DataError, match=r"^masks/1\.jpg or its image images/1\.png cannot be read: "):
        move_masks(data, "mirror")
    assert _bytes(tmp_path) == {f"data/{name}": content for name, content in (before | {"masks/1.jpg": torn}).items()}


def test_a_process_that_is_killed_while_masks_are_copied_has_moved_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(tmp_path / "data", _mask(), _mask(seed=1))
    before = _bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(moving.shutil, "rmtree", lambda *_, **__: None)  # nothing tidies up behind a kill
        patch.setattr(moving, "_sync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            move_masks(data, "mirror")
    assert (tmp_path / "data-masks-before.partial").is_dir()
    with pytest.raises(UsageError, match="there is no folder"):
        restore_masks(data)
    assert _bytes(data) == before
    assert move_masks(data, "mirror") == 2
    assert not (tmp_path / "data-masks-before.partial").exists()
    assert restore_masks(data) == 2
    assert _bytes(data) == before


def test_a_folder_of_somebody_else_is_not_restored(tmp_path: Path) -> None:
    data, other = _data(tmp_path / "data", _mask()), tmp_path / "backup"
    (other / "masks").mkdir(parents=True)
    (other / "masks" / "0.png").write_bytes(b"mine")
    before = _bytes(tmp_path)
    with pytest.raises(UsageError, match=r"is no folder that move_masks has made: it holds no masks\.json"):
        restore_masks(data, kept=other)
    assert _bytes(tmp_path) == before


def test_what_somebody_put_beside_the_old_masks_stays(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask())
    assert move_masks(data, "mirror") == 1
    (kept_folder(data) / "note.txt").write_text("mine")
    assert restore_masks(data) == 1
    assert [path.name for path in kept_folder(data).iterdir()] == ["note.txt"]


def test_a_mask_with_two_names_is_moved_once(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask())
    (data / "link").symlink_to(data / "masks")
    (data / "list.csv").write_text("path,mask\nimages/0.png,masks/0.png\nimages/1.png,link/0.png\n")
    Image.new("RGB", (12, 12)).save(data / "images/1.png")
    assert move_masks(data / "list.csv", "mirror") == 1
    assert _read(data).tolist() == _mask()[:, ::-1].tolist()


def test_a_mask_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask())
    real = tmp_path / "real.png"
    (data / "masks/0.png").rename(real)
    (data / "masks/0.png").symlink_to(real)
    real.chmod(0o640)
    for change in (lambda: move_masks(data, "mirror"), lambda: restore_masks(data)):
        assert change() == 1
        assert (data / "masks/0.png").is_symlink()
        assert real.stat().st_mode & 0o777 == 0o640
    assert read_values(real).values.tolist() == _mask().tolist()


def test_a_mask_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _data(tmp_path / "data", _mask(), _mask(seed=1))
    before, write, done = _bytes(data), moving.write_values, []

    def failing(path: Path, *rest: Any) -> None:
        if len(done) == allowed:
            raise PermissionError(13, "Permission denied")
        done.append(path)
        write(path, *rest)

    monkeypatch.setattr(moving, "write_values", failing)
    for allowed in (0, 1):  # a folder that nobody may write to; one that is full after the first
        done.clear()
        with pytest.raises(DataError, match=f"mask masks/{allowed}.png cannot be written: Permission denied; every"):
            move_masks(data, "mirror")
        assert _bytes(tmp_path) == {f"data/{name}": content for name, content in before.items()}
        assert not kept_folder(data).exists()


def test_a_mask_that_images_share_is_moved_once_wherever_it_lies(tmp_path: Path) -> None:
    data = _data(tmp_path / "data", _mask())
    (data / "masks/0.png").rename(tmp_path / "shared.png")
    (data / "list.csv").write_text("path,mask\nimages/0.png,../shared.png\nimages/1.png,images/../../shared.png\n")
    Image.new("RGB", (12, 12)).save(data / "images/1.png")
    before = (tmp_path / "shared.png").read_bytes()
    assert move_masks(data / "list.csv", "mirror") == 1
    assert read_values(tmp_path / "shared.png").values.tolist() == _mask()[:, ::-1].tolist()
    assert (tmp_path / "data-masks-before").is_dir()
    assert restore_masks(data / "list.csv") == 1
    assert (tmp_path / "shared.png").read_bytes() == before


@pytest.mark.parametrize("how", ["turn", (0, 0), (1.5, 2), (3,), 4, None])
def test_moves_that_are_none(tmp_path: Path, how: object) -> None:
    with pytest.raises(UsageError) as caught:
        move_masks(tmp_path, how)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"move_masks was asked to move by {how!r}; it takes 'mirror', 'upside down', 'half turn', 'transpose', 'left', "
        "'right', 'transverse', or whole pixels (down, right) that are not both 0\n"
        "hint: move_masks(root, 'transpose'), or move_masks(root, (-6, 9)): 6 pixels up and 9 to the right"
    )


def test_where_old_masks_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _data(tmp_path / "data", _mask())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        move_masks(data, "mirror", kept=data / "old")
    assert str(caught.value) == (
        f"the old masks would be kept in {data / 'old'}, within the data {data}, and taken for data\n"
        f"hint: kept='{data}-masks-before'"
    )
    with pytest.raises(DataError) as unwritable:
        move_masks(data, "mirror", kept=data.parent / "file" / "old")
    assert str(unwritable.value) == (
        f"the old masks cannot be kept in {tmp_path / 'file' / 'old'}: Not a directory; no mask was moved\n"
        "hint: kept= names another new folder"
    )
    with pytest.raises(UsageError) as missing:
        restore_masks(data)
    assert str(missing.value) == (
        f"there is no folder {data}-masks-before: no masks of {data} are kept there\n"
        "hint: kept= names the folder that move_masks was given"
    )
    with pytest.raises(DataError, match="has no label masks"):
        move_masks(data / "images", "mirror")
    monkeypatch.chdir(data)
    assert move_masks(".", "mirror") == 1
    assert set(_kept(tmp_path / "data-masks-before")) == {"masks/0.png"}
