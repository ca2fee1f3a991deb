"""What a run says before it starts: of heads without a loss, angles that do not fit, and images that are not there."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anysize.data import DataOptions, load_data
from anysize.data.augment.rotation import kept_share
from anysize.data.masks.rules import mask_rules
from anysize.errors import DataError
from anysize.options import MaskOptions
from anysize.training import TrainConfig
from anysize.training.setup import set_up
from heard import Heard, segmenter
from toy import quick, write_shapes, write_stripes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "voc", count=6, val=2)


DEEPLAB = {"model": "deeplabv3plus"}
SMALL = ("encoder=resnet18", "encoder_width=0.125", "channels=16")


def test_an_auxiliary_head_without_a_loss_is_told(shapes: Path) -> None:
    options: dict[str, Any] = {**DEEPLAB, "model_kwargs": (*SMALL, "aux_head=true")}
    config = TrainConfig(data=shapes, recipe="voc", workers=0, device="cpu", **options)
    heard = Heard()
    assert set_up(config, heard).config.aux_weight == 0
    said = (
        "note: the auxiliary head has no part in the loss, as --aux-weight is 0, and is not trained; --aux-weight 0.4 "
        "trains it, or leave out aux_head"
    )
    assert heard.starting("note: the auxiliary") == [said]
    heard = Heard()
    set_up(config.changed(aux_weight=0.4), heard)
    assert not heard.starting("note: the auxiliary")
    assert not segmenter(shapes, **DEEPLAB, model_kwargs=SMALL, aux_weight=0.0)[1].starting("note: the auxiliary")
    without = segmenter(shapes, **DEEPLAB, model_kwargs=SMALL, aux_weight=0.4)[1]
    assert without.starting("note: --aux-weight") == [
        "note: --aux-weight 0.4 does nothing: deeplabv3plus has no auxiliary head as it was asked for; --model-kwargs "
        "aux_head=true gives deeplabv3plus one"
    ]
    for weightless in ({}, {"aux_weight": 0.0}):
        assert not segmenter(shapes, **DEEPLAB, model_kwargs=SMALL, **weightless)[1].starting("note: --aux-weight")


def of_sizes(root: Path, *sizes: tuple[int, int]) -> Path:
    """A VOC folder with images of these heights and widths to train on."""
    write_shapes(root, count=len(sizes) + 1, val=1)
    for number, (height, width) in enumerate(sizes, 1):
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3)).astype(np.uint8)
        mask = (np.arange(height * width).reshape(height, width) % 3).astype(np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{number:02d}.png")
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{number:02d}.png")
    return root


def largest(height: int, width: int) -> float:
    """In degrees, by trying: up to where more than half of each side is left."""
    for tenth in range(1800):
        if kept_share(np.array([[height, width]], float), np.array([math.radians(tenth / 10)]))[0] < 0.5:
            return (tenth - 1) / 10
    return 180.0


@pytest.mark.parametrize(
    ("sizes", "rotate", "count"),
    [
        ([(64, 128), (64, 128), (80, 80)], 90.0, 2),
        ([(64, 128), (40, 160), (80, 80)], 45.0, 2),
        ([(64, 128), (40, 160), (80, 80)], 30.0, 1),
        ([(80, 80), (64, 90)], 180.0, 0),
        ([(64, 128), (64, 128)], 30.0, 0),
        ([(64, 128), (64, 128)], 0.0, 0),
    ],
)
def test_angles_that_are_made_smaller_are_told(
    tmp_path: Path, sizes: list[tuple[int, int]], rotate: float, count: int
) -> None:
    data = of_sizes(tmp_path / "voc", *sizes)
    _, heard = segmenter(data, rotate=rotate)
    limits = [limit for limit in (largest(*size) for size in sizes) if limit < rotate]
    assert len(limits) == count
    said = heard.starting("note: --rotate")
    if not count:
        assert not said
        return
    low, high = f"{min(limits):.0f}", f"{max(limits):.0f}"
    assert said == [
        f"note: --rotate {rotate:g}: {count} of the {len(sizes)} training images turn by about "
        f"{low if low == high else f'{low} to {high}'} degrees at most where the angle drawn would leave less than "
        "half of a side"
    ]


def test_a_grid_of_patches_turns_nothing_and_says_so(tmp_path: Path) -> None:
    data = of_sizes(tmp_path / "voc", (64, 128), (64, 128))
    _, heard = segmenter(data, rotate=90.0, see="patches", patches="grid", patch_size=32)
    assert not heard.starting("note: --rotate")
    assert heard.starting("note: a grid of patches")


def refusal(config: TrainConfig) -> tuple[str, str | None]:
    with pytest.raises(DataError) as caught:
        set_up(config, Heard())
    return caught.value.message, caught.value.hint


OWN = (
    "name images of your own in the validation list of the data, or remove its split: one is drawn then "
    "(--val-split 0.2)"
)


def test_a_table_of_training_images_alone(stripes: Path, tmp_path: Path) -> None:
    names = sorted(str(path) for path in stripes.rglob("*.png"))
    table = tmp_path / "table.csv"
    rows = [f"{name},{Path(name).parent.name},train" for name in names]
    table.write_text("\n".join(["path,label,split", *rows]) + "\n")
    message, hint = refusal(quick(table, None))
    assert message == f"no image is left for validation: the split that {tmp_path} (csv_table) brings has none"
    assert hint == OWN


def test_cityscapes_with_an_empty_val(shapes: Path, tmp_path: Path) -> None:
    images, masks = tmp_path / "leftImg8bit", tmp_path / "gtFine"
    for folder in (images / "train/ulm", masks / "train/ulm", images / "val"):
        folder.mkdir(parents=True)
    for name in ("02", "03"):
        shutil.copy(shapes / "JPEGImages" / f"{name}.png", images / f"train/ulm/ulm_{name}_leftImg8bit.png")
        shutil.copy(
            shapes / "SegmentationClass" / f"{name}.png", masks / f"train/ulm/ulm_{name}_gtFine_labelTrainIds.png"
        )
    message, hint = refusal(quick(tmp_path, None, model="unet", model_kwargs=()))
    assert message == f"no image is left for validation: the split that {tmp_path} (cityscapes) brings has none"
    assert hint == OWN


def test_classes_of_one_image_each(tmp_path: Path) -> None:
    data = write_stripes(tmp_path / "few", count=1)
    message, hint = refusal(quick(data, None))
    assert message == (
        "no image is left for validation: classes of a single image, which stays in training: across, down"
    )
    assert hint == "add images: of one that is held out, its class needs another to train on"


def test_one_image_with_a_mask(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "voc", count=1, val=0)
    folder = tmp_path / "one"
    for old, new in (("JPEGImages", "images"), ("SegmentationClass", "masks")):
        shutil.copytree(data / old, folder / new)
    message, hint = refusal(quick(folder, None, model="unet", model_kwargs=()))
    assert message == "no image is left for validation: there is one image, which is trained on: nothing is validated"
    assert hint == "add images: of one that is held out, its class needs another to train on"


def test_validation_images_that_cannot_be_read(tmp_path: Path) -> None:
    root = write_stripes(tmp_path / "data" / "train", count=4).parent
    for name in ("across", "down"):
        (root / "val" / name).mkdir(parents=True)
        (root / "val" / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    message, hint = refusal(quick(root, None, skip_unreadable=True))
    assert message.startswith(
        f"no image is left for validation: the split that {root} (image_folder_split) brings has none that can be "
        "read; 2 files cannot be read:\n  val/across/a.png: "
    )
    assert hint == f"repair the files, or {OWN}"


@pytest.mark.parametrize(("batch_size", "is_one_batch"), [(16, True), (4, True), (3, False)])
def test_one_update_an_epoch_is_told(shapes: Path, batch_size: int, is_one_batch: bool) -> None:
    said = segmenter(shapes, batch_size=batch_size, epochs=7)[1].starting("note: all 4 training images are one batch")
    told = f"note: all 4 training images are one batch (--batch-size {batch_size}): one update an epoch, 7 in the "
    assert said == [f"{told}whole run; smaller batches make more"] * is_one_batch


@pytest.mark.parametrize(("labels", "missing"), [((255,), []), ((2,), []), ((7,), [7]), ((1, 9), [9])])
def test_an_ignore_label_that_is_nowhere_is_told(shapes: Path, labels: tuple[int, ...], missing: list[int]) -> None:
    notes = load_data(shapes, DataOptions(masks=mask_rules(MaskOptions(ignore_label=",".join(map(str, labels)))))).notes
    assert [note for note in notes if note.startswith("no mask holds")] == [
        f"no mask holds the ignore label {value}" for value in missing
    ]
