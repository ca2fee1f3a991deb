"""``anysize doctor DATA``: data broken on purpose, and the cause named; healthy data, and no error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anysize.cli import main

CLASSES = ("road", "car", "sky")
COLORS = ((0, 0, 0), (128, 0, 0), (0, 128, 0))


def scene(seed: int, height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A picture of rectangles whose borders are those of its mask, (H, W, 3) and (H, W)."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for label in (1, 2, 1, 2):
        top, left = int(generator.integers(0, height - 30)), int(generator.integers(0, width - 40))
        mask[top : top + int(generator.integers(15, 30)), left : left + int(generator.integers(15, 40))] = label
    levels = np.array([[60, 60, 60], [230, 160, 160], [120, 180, 250]])
    image = levels[mask] + generator.normal(0, 6, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def save_mask(mask: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(mask)
    picture.putpalette([value for color in COLORS for value in color] + [0] * 759)
    picture.save(path)


def write_voc(
    root: Path,
    change: Callable[[int, np.ndarray], np.ndarray] = lambda _, mask: mask,
    *,
    num_train: int = 14,
    num_val: int = 10,
    classes: tuple[str, ...] | None = CLASSES,
) -> Path:
    """A data set in Pascal VOC's layout; ``change`` breaks the masks."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    names = [f"s{number:02}" for number in range(num_train + num_val)]
    for number, name in enumerate(names):
        image, mask = scene(number)
        Image.fromarray(image).save(root / "JPEGImages" / f"{name}.png")
        save_mask(change(number, mask), root / "SegmentationClass" / f"{name}.png")
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("\n".join(names[:num_train]) + "\n", encoding="utf-8")
    (lists / "val.txt").write_text("\n".join(names[num_train:]) + "\n", encoding="utf-8")
    if classes is not None:
        (root / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    return root


def files_in(root: Path) -> dict[Path, tuple[int, int]]:
    """When each file was written and how long it is; but for the index that every command keeps beside shards."""
    found = {path: path.stat() for path in root.rglob("*") if path.is_file() and path.name != ".anysize-index"}
    return {path: (status.st_mtime_ns, status.st_size) for path, status in found.items()}


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run it with --json; the exit code, and what it wrote."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(data: Path, *flags: str) -> tuple[int, dict[str, Any]]:
        before = files_in(data)
        code = main(["doctor", str(data), "--json", *flags])
        assert files_in(data) == before
        content: dict[str, Any] = json.loads(capsys.readouterr().out)
        return code, content

    return run


Doctor = Callable[..., tuple[int, dict[str, Any]]]


def named(content: dict[str, Any], severity: str | None = None) -> list[str]:
    return [item["check"] for item in content["findings"] if severity in (None, item["severity"])]


def finding(content: dict[str, Any], check: str) -> dict[str, Any]:
    (found,) = (item for item in content["findings"] if item["check"] == check)
    return found


def test_healthy_masks(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_voc(tmp_path / "data"))
    assert (code, content["ok"], content["findings"]) == (0, True, [])
    assert content["verdict"] == "nothing found: nothing stands against training."
    assert [row["num_images"] for row in content["splits"]] == [14, 10]
    masks = [scene(number)[1] for number in range(24)]
    for row in content["classes"]:
        assert row["counts"] == {
            "train": sum(int((mask == row["index"]).sum()) for mask in masks[:14]),
            "val": sum(int((mask == row["index"]).sum()) for mask in masks[14:]),
        }
        assert row["images"]["train"] == sum(bool((mask == row["index"]).any()) for mask in masks[:14])
    assert [item["value"] for item in content["label_values"]] == [0, 1, 2]
    pixels = np.concatenate([scene(number)[0].reshape(-1, 3) for number in range(14)])
    assert content["pixels"]["mean"] == pytest.approx(pixels.mean(axis=0))
    assert content["pixels"]["std"] == pytest.approx(pixels.std(axis=0))
    assert content["num_pairs_laid_on_each_other"] == 14
    with Image.open(content["sheet"]) as sheet:
        assert sheet.size[0] > 600
    assert Path(content["page"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert Path(content["page"]).resolve().parent == tmp_path / "here" / "doctor-data"


def test_the_report_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_voc(tmp_path / "data", num_val=2)
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", str(data), "--output", "report"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0] == f"{data}: voc, a mask for each image, 3 classes"
    assert lines[2].split() == ["split", "images", "smallest", "largest", "sizes", "megapixels", "ignored"]
    assert lines[3].split() == ["train", "14", "96x128", "96x128", "1", "0.2", "0", "%"]
    assert "warning" in lines
    assert lines[-3:] == [
        "overlays  report/overlays.png",
        "page      report/doctor.html",
        "1 warning: nothing stands against training.",
    ]
    assert main(["doctor", str(data), "--output", "report", "--strict"]) == 1
    assert capsys.readouterr().out.endswith("\n1 warning: --strict refuses warnings.\n")


def shift(_: int, mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, (9, -7), (0, 1))


def blur(number: int, mask: np.ndarray) -> np.ndarray:
    small = Image.fromarray(mask * 40).resize((60, 44), Image.Resampling.BILINEAR)
    grown = np.asarray(small.resize(mask.shape[::-1], Image.Resampling.BILINEAR)).astype(float)
    return np.rint(grown / 10).astype(np.uint8)  # every value from 0 to 8 is a class


def test_masks_beside_their_images(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_voc(tmp_path / "data", shift))
    assert (code, named(content, "error")) == (1, ["pairing"])
    assert "9 px down" in finding(content, "pairing")["found"]
    assert "7 px left" in finding(content, "pairing")["found"]


def test_masks_resized_smoothly(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_voc(tmp_path / "data", blur, classes=None))
    assert code == 1
    assert {"interpolated-masks", "mask-interpolated"} & set(named(content, "error"))


def test_zero_and_255(tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "data", lambda _, mask: np.where(mask > 0, 255, 0).astype(np.uint8), classes=None)
    code, content = doctor(data)
    assert (code, named(content, "error")) == (1, ["mask-foreground-255"])
    assert finding(content, "mask-foreground-255")["fix"].startswith("--mask-values 0,255")
    code, content = doctor(data, "--mask-values", "0,255")  # the fix, as it was given
    assert (code, content["findings"]) == (0, [])


def test_values_beyond_the_classes(tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "data", lambda number, mask: mask + 9 * (number == 3) * (mask == 2).astype(np.uint8))
    code, content = doctor(data)
    assert code == 1
    assert finding(content, "mask-beyond")["paths"] == ["SegmentationClass/s03.png"]
    code, content = doctor(data, "--ignore-label", "11")
    assert code == 0


def test_the_sheet_is_there_where_masks_are_no_classes(tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "beyond", lambda _, mask: mask + 9 * (mask == 2).astype(np.uint8))
    code, content = doctor(data)
    assert (code, named(content, "error")) == (1, ["mask-beyond"])
    beyond = np.asarray(Image.open(content["sheet"]).convert("RGB"))
    assert (beyond == (255, 0, 255)).all(axis=2).sum() > 1000
    data = write_voc(tmp_path / "color", classes=None)
    for path in (data / "SegmentationClass").iterdir():
        Image.open(path).convert("RGB").save(path)
    code, content = doctor(data)
    assert (code, named(content)) == (1, ["mask-color"])  # and no word of classes without a pixel
    sheet = np.asarray(Image.open(content["sheet"]).convert("RGB"))
    assert (sheet == (0, 128, 0)).all(axis=2).sum() > 1000


def test_an_outline_class_is_no_error(tmp_path: Path, doctor: Doctor) -> None:
    def outlined(_: int, mask: np.ndarray) -> np.ndarray:
        inside = mask > 0
        core = inside.copy()
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            core &= np.roll(inside, shift, axis)
        return (inside.astype(np.uint8) + core).astype(np.uint8)

    code, content = doctor(write_voc(tmp_path / "data", outlined, classes=("ground", "border", "cell")))
    assert (code, named(content, "error")) == (0, [])
    assert {"interpolated-masks", "mask-interpolated"} & set(named(content, "warning"))


def test_masks_of_another_size(tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "data", lambda number, mask: mask[:-5] if number in (2, 20) else mask)
    code, content = doctor(data)
    assert (code, named(content, "error")) == (1, ["mask-size"])
    assert finding(content, "mask-size")["paths"] == ["SegmentationClass/s02.png", "SegmentationClass/s20.png"]
    assert "91x128" in finding(content, "mask-size")["found"]


def test_an_unlabelled_class_that_counts(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_voc(tmp_path / "data", classes=("road", "car", "unlabelled")))
    assert (code, named(content, "warning")) == (0, ["classes"])
    code, content = doctor(tmp_path / "data", "--ignore-label", "2")  # the fix, as it was given
    assert (code, content["findings"]) == (0, [])


@pytest.mark.parametrize(
    ("values", "flags", "fix"),
    [
        ((1, 2, 3), ["--reduce-zero-label"], ["--ignore-label", "3"]),
        ((0, 1, 3), ["--mask-values", "0,1,3"], ["--mask-values", "0,1", "--ignore-label", "3"]),
    ],
)
def test_an_unlabelled_class_of_another_value(
    values: tuple[int, ...], flags: list[str], fix: list[str], tmp_path: Path, doctor: Doctor
) -> None:
    table = np.array(values, np.uint8)
    data = write_voc(tmp_path / "data", lambda _, mask: table[mask], classes=("road", "car", "void"))
    _, before = doctor(data, *flags)
    assert " ".join(fix) in finding(before, "classes")["fix"]
    # As it was given, beside what it does not replace.
    code, after = doctor(data, *(fix if fix[0] in flags else [*flags, *fix]))
    assert code == 0
    assert [row["counts"] for row in after["classes"][:2]] == [row["counts"] for row in before["classes"][:2]]
    assert sum(row["counts"]["train"] for row in after["classes"][2:]) == 0


def test_images_turned_by_exif(tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "data")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(scene(1)[0]).save(data / "JPEGImages" / "s01.png", exif=exif)
    code, content = doctor(data)
    assert (code, named(content, "error")) == (1, ["mask-exif-turned"])
    assert finding(content, "mask-exif-turned")["paths"] == ["SegmentationClass/s01.png"]


def test_broken_files_and_copies(tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "data")
    images, masks = data / "JPEGImages", data / "SegmentationClass"
    (images / "s02.png").write_bytes((images / "s02.png").read_bytes()[:-3000])
    (masks / "s03.png").write_bytes(b"")
    for folder in (images, masks):  # in training and in validation
        (folder / "s20.png").write_bytes((folder / "s05.png").read_bytes())
    (images / "s07.png").write_bytes((images / "s06.png").read_bytes())  # the mask of another
    Image.fromarray(scene(9)[0]).save(tmp_path / "x.jpg", quality=70)
    with Image.open(tmp_path / "x.jpg") as again:
        again.save(images / "s21.png")
    code, content = doctor(data)
    assert code == 1
    assert set(finding(content, "files")["paths"]) == {"JPEGImages/s02.png", "SegmentationClass/s03.png"}
    conflict, across, _ = (item for item in content["findings"] if item["check"] == "duplicates")
    assert (conflict["severity"], conflict["paths"]) == ("error", ["JPEGImages/s06.png", "JPEGImages/s07.png"])
    assert (across["severity"], across["paths"]) == ("error", ["JPEGImages/s05.png", "JPEGImages/s20.png"])
    assert finding(content, "near-duplicates")["paths"] == ["JPEGImages/s21.png", "JPEGImages/s09.png"]


def write_folders(root: Path, num_each: int = 16) -> Path:
    for number in range(num_each):
        for label in ("cat", "dog"):
            (root / label).mkdir(parents=True, exist_ok=True)
            image = scene(2 * number + (label == "dog"), 40 + number, 60)[0]
            Image.fromarray(image).save(root / label / f"{number:02}.png")
    return root


def test_healthy_folders(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_folders(tmp_path / "data", 30))
    assert (code, content["findings"]) == (0, [])
    assert [row["counts"] for row in content["classes"]] == [{"train": 24, "val": 6}] * 2
    assert sum(item["num_images"] for item in content["sizes"]) == 60


def test_folders_with_the_same_image_in_two_classes(tmp_path: Path, doctor: Doctor) -> None:
    data = write_folders(tmp_path / "data")
    (data / "dog" / "03.png").write_bytes((data / "cat" / "05.png").read_bytes())
    code, content = doctor(data)
    first = content["findings"][0]
    assert (code, first["check"], first["severity"]) == (1, "duplicates", "error")
    assert set(first["paths"]) == {"dog/03.png", "cat/05.png"}


def test_a_sample_says_so(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_folders(tmp_path / "data"), "--max-images", "10")
    assert (code, content["num_images"], content["num_images_looked_at"]) == (0, 32, 10)


def test_with_a_network(tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(write_folders(tmp_path / "data", 4), "--model", "resnet9", "--max-images", "4")
    assert (code, finding(content, "model-fit")["severity"]) == (0, "note")
    assert (
        "8 images of 8 smaller than the receptive field of resnet9 (111x111)" in finding(content, "model-fit")["found"]
    )


def test_no_page_within_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_folders(tmp_path / "data", 2)
    assert main(["doctor", str(data), "--output", str(data / "report")]) == 2
    assert capsys.readouterr().err == (
        f"error: the report would be written to {data / 'report'}, within the data {data}, which doctor leaves as they "
        f"are\nhint: --output {tmp_path / 'doctor-data'}\n"
    )


@pytest.mark.parametrize("name", ["cats_dogs", "camvid", "isbi_em"])
@pytest.mark.slow
def test_good_data_end_without_errors(name: str, real_data: Path, tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(real_data / name, "--output", str(tmp_path / "out"))
    assert (code, named(content, "error")) == (0, [])


def test_real_masks_that_do_not_fit(real_data: Path, tmp_path: Path, doctor: Doctor) -> None:
    code, content = doctor(real_data / "hard_mismatch", "--output", str(tmp_path / "out"))
    assert (code, set(named(content, "error"))) == (1, {"mask-size", "mask-foreground-255"})
    assert len(finding(content, "mask-size")["paths"]) == 5


def test_names_that_nobody_expects(tmp_path: Path, doctor: Doctor) -> None:
    data = write_folders(tmp_path / "data")
    odd = ["<b>&amp;.png", "a\nb.png", "caf\udce9.png", "'; rm -r x.png"]
    for name in odd:
        (data / "cat" / name).write_bytes(b"no image")
    code, content = doctor(data)
    assert code == 1
    assert set(finding(content, "files")["paths"]) == {f"cat/{name}" for name in odd}
    page = Path(content["page"]).read_text(encoding="utf-8")
    assert "cat/&lt;b&gt;&amp;amp;.png" in page
    assert "<b>" not in page


def test_shards(tmp_path: Path, doctor: Doctor) -> None:
    import io
    import tarfile

    def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        shard.addfile(member, io.BytesIO(content))

    (tmp_path / "data").mkdir()
    for number, part in enumerate(("train", "val")):
        with tarfile.open(tmp_path / "data" / f"{part}-000000.tar", "w") as shard:
            for index in range(12):
                stored = io.BytesIO()
                seed = 5 if index == 3 else 100 * number + index  # one image on both sides
                Image.fromarray(scene(seed)[0]).save(stored, "PNG")
                add(shard, f"{part}{index:03}.png", stored.getvalue())
                add(shard, f"{part}{index:03}.cls", str(index % 2).encode())
    code, content = doctor(tmp_path / "data")
    leaked = [item for item in content["findings"] if item["check"] == "duplicates"]
    assert code == 1
    assert content["num_images_looked_at"] == 24
    assert any("validation image" in item["found"] for item in leaked)


@pytest.mark.parametrize(("kind", "check"), [("color", "mask-color"), ("jpeg", "mask-lossy"), ("deep", "mask-deep")])
def test_masks_in_another_form(kind: str, check: str, tmp_path: Path, doctor: Doctor) -> None:
    data = write_voc(tmp_path / "data")
    for path in sorted((data / "SegmentationClass").iterdir()):
        mask = scene(int(path.stem[1:]))[1]
        if kind == "color":
            Image.fromarray(np.array(COLORS, np.uint8)[mask]).save(path)
        elif kind == "jpeg":
            Image.fromarray(mask * 100).save(path, "JPEG")
        else:
            Image.fromarray(mask.astype(np.uint16) * 300).save(path)
    code, content = doctor(data)
    assert code == 1
    assert finding(content, check)["severity"] == "error"
    assert len(finding(content, check)["paths"]) == 24
    if kind == "color":  # the fix, with names for the colours: read as masks of indices are
        flag = "#000000=road,#800000=car,#008000=sky"
        assert flag.split(",")[1][:7] in finding(content, check)["fix"]
        code, content = doctor(data, "--mask-palette", flag)
        assert (code, content["findings"]) == (0, [])
