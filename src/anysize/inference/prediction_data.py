"""The images to predict, found and checked."""

from pathlib import Path

from anysize.console import Console
from anysize.data import DataOptions, DataSource, FileProblem, ImageTable, check_source, list_images
from anysize.errors import DataError
from anysize.inference.config import PredictConfig
from anysize.inference.requirements import leave_out_small
from anysize.inference.trained import TrainedNetwork

__all__ = ["find_images"]


def find_images(
    config: PredictConfig, network: TrainedNetwork, console: Console
) -> tuple[ImageTable, tuple[FileProblem, ...]]:
    """Find the images and check that each decodes, so that one error can name all that do not.

    Returns:
        The images, and what is left out.

    Raises:
        UnreadableImagesError: images that cannot be read, without ``skip_unreadable``.
        DataError: no image is left.
    """
    options = DataOptions(skip_unreadable=config.skip_unreadable, max_image_pixels=config.max_image_pixels)
    with console.bar("reading sizes", 0) as bar:
        found = list_images(config.images, options, progress=bar.set, raise_unreadable=False)
    source = DataSource(
        root=Path(),
        layout="files",
        classes=(),
        train=found.table,
        val=None,
        problems=found.problems,
        ignored=found.ignored,
        notes=found.notes,
    )
    with console.bar("checking that every image decodes", 0) as bar:
        source = check_source(source, network.channels, options, progress=bar.set).source
    for note in source.notes:
        console.say(f"note: {note}")
    table, small = leave_out_small(source.train, config.min_side, network.card.max_side)
    left_out = [*source.ignored, *source.problems, *small]
    for problem in left_out:
        console.warn(f"left out: {problem}")
    if not len(table):
        raise DataError("no image is left to predict", hint="leave out --min-side and --skip-unreadable to see why")
    return table, tuple(left_out)
