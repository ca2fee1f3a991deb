"""Images that are small for the network that was named."""

from collections.abc import Iterator

import numpy as np

from anysize.doctor.data.checks import DataCheck, number
from anysize.doctor.data.survey import ModelNeeds, Survey
from anysize.doctor.finding import Finding

__all__ = ["CHECK"]


def _run(survey: Survey) -> Iterator[Finding]:
    model = survey.model
    if model is None:
        return
    sizes = np.concatenate([part.table.sizes for part in survey.parts])
    paths = [path for part in survey.parts for path in part.table.paths]
    shorter = sizes.min(axis=1)
    if model.smallest_side is not None:
        small = np.flatnonzero(shorter < model.smallest_side)
        if small.size:
            yield Finding(
                "model-fit",
                "error",
                f"{number(small.size, 'image')} smaller than {model.name} takes: the smallest side is "
                f"{int(shorter.min())} pixels",
                f"{model.smallest_side} pixels a side or more",
                f"--min-side {model.smallest_side} leaves them out, and lists them",
                tuple(paths[index] for index in small),
            )
    if model.field is not None:
        yield from _within_field(model, model.field, sizes, paths)


def _within_field(
    model: ModelNeeds,
    field: tuple[int, int],
    sizes: "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
    paths: list[str],
) -> Iterator[Finding]:
    small = np.flatnonzero((sizes < np.array(field)).any(axis=1))
    if small.size:
        yield Finding(
            "model-fit",
            "note",
            f"{number(small.size, 'image')} of {len(sizes):,} smaller than the receptive field of {model.name} "
            f"({field[0]}x{field[1]}): every output there sees padding too",
            "",
            "no harm where most are; a network of a smaller field is quicker (anysize summary compares them)",
            tuple(paths[index] for index in small),
        )


CHECK = DataCheck("model-fit", 70, _run)
