"""How a folder becomes data."""

from dataclasses import dataclass, field

from anysize.data.images import DEFAULT_MAX_IMAGE_PIXELS
from anysize.data.masks.rules import MaskRules
from anysize.errors import UsageError

__all__ = ["DataOptions"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How a folder becomes data.

    Raises:
        UsageError: a value out of its range.
    """

    val_split: float = 0.2
    """Share of each class that is drawn for validation where the data are not split already; 0 draws none."""
    split_seed: int = 0
    """Of that draw: the same seed draws the same images."""
    skip_unreadable: bool = False
    """Leave out the files that cannot be read, and report them, instead of stopping with an error."""
    max_image_pixels: int = DEFAULT_MAX_IMAGE_PIXELS
    """Height x width above which an image is refused rather than decoded."""
    workers: int | None = None
    """Threads that read headers and decode; None for one for each processor, at most 16."""
    masks: MaskRules = field(default_factory=MaskRules)
    """What the values of label masks mean: ``mask_rules(config)`` of the flags `MaskOptions`."""

    def __post_init__(self) -> None:
        if not 0 <= self.val_split < 1:
            raise UsageError(
                f"val_split is {self.val_split}; it must be at least 0 and below 1",
                hint="val_split=0.2 keeps a fifth of each class for validation",
            )
        for name in ("max_image_pixels", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be 1 or more", hint=f"leave out {name} for the default")
