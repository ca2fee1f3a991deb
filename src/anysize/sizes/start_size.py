"""Progressive resizing: smaller images in the first epochs of a run, then images at their full size."""

from dataclasses import dataclass

from anysize.errors import UsageError

__all__ = ["StartSize"]


@dataclass(frozen=True, slots=True)
class StartSize:
    """The size that a run starts with.

    A network that starts from random weights learns most from many images, whatever their resolution; the details come
    last (Howard 2018, fast.ai's "progressive resizing"; Touvron et al. 2019, FixRes, section 4: a short training at the
    resolution of the answers; Tan and Le 2021, EfficientNetV2, section 4).

    Args:
        side: images whose longer side exceeds so many pixels are shrunk to it, keeping their aspect.
        epochs: in so many epochs, from the first.

    Raises:
        UsageError: ``side`` or ``epochs`` is below 1.
    """

    side: int
    epochs: int

    def __post_init__(self) -> None:
        if self.side < 1 or self.epochs < 1:
            raise UsageError(
                f"a start of {self.epochs} epochs with images of {self.side} pixels a side; both must be 1 at least",
                hint="leave it out for full size from the first epoch",
            )

    def max_side(self, epoch: int, full: int | None) -> int | None:
        """The limit of the longer side in an epoch (from 0), where it is ``full`` (None: no limit) afterwards."""
        if epoch >= self.epochs:
            return full
        return self.side if full is None else min(self.side, full)

    def paid(self, epochs_done: float, epochs: int, pixel_ratio: float) -> float:
        """Epochs that are done, each weighted by its pixels: a schedule that goes by them ends with the run, too.

        Args:
            epochs_done: 0 to ``epochs``.
            epochs: of the whole run.
            pixel_ratio: pixels of an epoch at full size for one of an epoch at the start.

        >>> [StartSize(512, 8).paid(done, 10, 4.0) for done in (0, 4, 8, 9, 10)]
        [0.0, 2.5, 5.0, 7.5, 10.0]
        """
        small, full = min(epochs_done, self.epochs), max(epochs_done - self.epochs, 0.0)
        return epochs * (small + full * pixel_ratio) / (self.epochs + (epochs - self.epochs) * pixel_ratio)
