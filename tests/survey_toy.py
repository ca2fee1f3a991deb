"""Surveys without files, for checks that open nothing."""

from pathlib import Path

import numpy as np

from anysize.data.masks.census import MaskCensus
from anysize.data.statistics import PixelStats
from anysize.data.table import ImageTable
from anysize.doctor.data.checks import all_checks
from anysize.doctor.data.look import ImageLook, MaskLook
from anysize.doctor.data.survey import Pair, Part, Seen, Survey
from anysize.doctor.finding import Finding

BLACK = PixelStats(1, (0, 0, 0), (0, 0, 0))


def image_look(**changes: object) -> ImageLook:
    fields: dict[str, object] = {"size": (40, 60), "mode": "RGB", "orientation": 1, "low": 3, "high": 250}
    fields |= {"rgb": BLACK, "grey_as_color": False, "remark": None, "digest": b"", "thumbnail": bytes(1024)} | changes
    return ImageLook(**fields)  # type: ignore[arg-type]


def mask_look(**changes: object) -> MaskLook:
    fields: dict[str, object] = {"size": (40, 60), "mode": "P", "format": "PNG", "orientation": 1, "values": ()}
    fields |= {"colors": (), "num_colors": 0, "num_steps": 0, "num_ramps": 0, "digest": b""} | changes
    return MaskLook(**fields)  # type: ignore[arg-type]


def part(
    name: str, paths: list[str], *, labels: list[int] | None = None, counts: list[list[int]] | None = None
) -> Part:
    """A split of 40x60 images; ``counts`` are rows of class pixels, the ignored ones last."""
    table = ImageTable(
        root=Path("/data"),
        paths=tuple(paths),
        labels=None if labels is None else np.array(labels, np.int64),
        sizes=np.array([(40, 60)] * len(paths), np.int64).reshape(-1, 2),
        channels=np.full(len(paths), 3, np.int8),
        masks=None if counts is None else tuple(f"masks/{path}" for path in paths),
    )
    census = None
    if counts is not None:
        rows = np.array(counts, np.int64)
        census = MaskCensus(table.masks or (), rows[:, :-1], rows[:, -1], np.zeros(len(rows), np.int64))
    return Part(name=name, table=table, census=census)


def names(stem: str, count: int) -> list[str]:
    return [f"{stem}{number:03}.png" for number in range(count)]


def segments(
    train: list[list[int]],
    val: list[list[int]],
    *,
    classes: tuple[str, ...] = ("road", "car", "sky"),
    **changes: object,
) -> Survey:
    """A survey of masks with these class counts, healthy in all else."""
    fields: dict[str, object] = {
        "root": Path("/data"),
        "layout": "voc",
        "task": "segment",
        "classes": classes,
        "parts": (part("train", names("t", len(train)), counts=train), part("val", names("v", len(val)), counts=val)),
        "has_own_split": True,
    }
    return Survey(**(fields | changes))  # type: ignore[arg-type]


def healthy() -> Survey:
    return segments([[800, 800, 800, 0]] * 20, [[800, 800, 800, 0]] * 12)


def seen(paths: list[str], looks: list[ImageLook], name: str = "train") -> tuple[Seen, ...]:
    return tuple(
        Seen(path=path, part=name, row=row, look=look)
        for row, (path, look) in enumerate(zip(paths, looks, strict=True))
    )


def pair(number: int, look: MaskLook) -> Pair:
    return Pair(
        path=f"masks/t{number:03}.png",
        image=f"t{number:03}.png",
        part="train",
        row=number,
        image_size=(40, 60),
        look=look,
        counts=np.array([800, 800, 800, 0], np.int64),
    )


def findings(survey: Survey, check: str | None = None) -> list[Finding]:
    """What all checks say; of one name only."""
    found = [finding for each in all_checks() for finding in each.run(survey)]
    return [finding for finding in found if check is None or finding.check == check]
