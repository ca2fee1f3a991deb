"""What augmentation varies, and by how much."""

from dataclasses import dataclass, replace
from math import isfinite

from anysize.errors import UsageError

__all__ = ["Augmentation"]

_RANGES = (("hflip", 0, 1), ("vflip", 0, 1), ("color_jitter", 0, 1), ("rotate", 0, 180), ("hue", 0, 180))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is varied at random each time an image is seen. `Augmentation.none()` varies nothing.

    In this order: ``crop`` cuts a box, ``rotate`` turns it, ``scale`` and ``aspect`` resize it, ``crop_size`` cuts a
    window, flips, color. Every image gives what it has: nothing is ever filled, padded or enlarged to a square.

    Raises:
        UsageError: a value out of its range.
    """

    hflip: float = 0.5
    """Probability of mirroring left and right."""
    vflip: float = 0.0
    """Probability of mirroring top and bottom."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest factor of both sides, drawn uniformly in the logarithm."""
    aspect: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor of height / width, drawn uniformly in the logarithm."""
    crop: float = 0.9
    """Smallest share of each side that a random crop keeps; each side is drawn by itself. 1 crops nothing."""
    crop_size: int | None = None
    """Side in pixels of the largest window that is kept, at a random place, after scaling; an image that is smaller
    stays as it is (the crop of Chen et al. 2018, section 4, without its padding). None cuts no window."""
    rotate: float = 0.0
    """Largest angle in degrees, either way, drawn uniformly. A turned image is cut to the largest upright rectangle of
    its own aspect that lies within it; an angle that would leave less than half of each side is made smaller."""
    color_jitter: float = 0.2
    """Strength s: brightness, contrast and saturation are each multiplied by a factor of 1-s to 1+s."""
    hue: float = 0.0
    """Largest turn of the hue in degrees, either way, drawn uniformly; brightness stays."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name} is {value}; it must be {low} to {high}", hint=f"{name}=0 switches it off")
        if not 0 < self.crop <= 1:
            raise UsageError(
                f"crop is {self.crop}; it must be above 0 and at most 1", hint="crop=1 keeps the whole image"
            )
        if self.crop_size is not None and self.crop_size < 1:
            raise UsageError(
                f"crop_size is {self.crop_size}; it must be at least 1 pixel", hint="crop_size=None cuts no window"
            )
        for name in ("scale", "aspect"):
            low_factor, high_factor = getattr(self, name)
            if not (0 < low_factor <= high_factor and isfinite(high_factor)):
                raise UsageError(
                    f"{name} is ({low_factor}, {high_factor}); needed: two positive factors, smaller first",
                    hint=f"{name}=(1.0, 1.0) switches it off",
                )

    @classmethod
    def none(cls) -> "Augmentation":
        """No variation at all: every image as it is."""
        return cls(hflip=0.0, vflip=0.0, scale=(1.0, 1.0), aspect=(1.0, 1.0), crop=1.0, color_jitter=0.0)

    @property
    def resamples(self) -> bool:
        """Whether pixels may come out between native ones: by scale, aspect or rotation."""
        return self.scale != (1.0, 1.0) or self.aspect != (1.0, 1.0) or self.rotate > 0

    def without_resampling(self) -> "Augmentation":
        """The same flips and colors, of the whole image at its native scale."""
        return replace(self, scale=(1.0, 1.0), aspect=(1.0, 1.0), rotate=0.0, crop=1.0, crop_size=None)
