"""Whether there is anything to learn, and to judge by: masks whose pixels count."""

from anysize.data import DataSource
from anysize.errors import DataError

__all__ = ["require_labels"]


def require_labels(source: DataSource) -> None:
    """Check that training masks and validation masks have pixels that count; images with a class always do.

    Without the first a run would decay its weights and nothing else; without the second no epoch could be judged.

    Raises:
        DataError: every pixel of one part is ignored.
    """
    for part, census in (("training", source.train_census), ("validation", source.val_census)):
        if census is not None and len(census) and not census.class_pixels.any():
            raise DataError(
                f"every pixel of all {len(census)} {part} masks is ignored; pixels of some class are required",
                hint=f"anysize doctor {source.root} shows what the masks hold; --ignore-label names the value that has "
                "no label, and --mask-values what the others mean",
            )
