"""Options that several commands share, each defined once: the field's name is the flag's, its docstring the help."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from anysize.errors import UsageError
from anysize.startup import StartupSettings

__all__ = [
    "BatchOptions",
    "DeviceOptions",
    "ForwardOptions",
    "ImageOptions",
    "MaskOptions",
    "RemembersGiven",
    "require",
]


def require(condition: bool, flag: str, value: object, requirement: str) -> None:
    """Raise a `UsageError` that names the flag, its value and the requirement, unless ``condition`` holds."""
    if not condition:
        raise UsageError(f"--{flag.replace('_', '-')} is {value}; it must be {requirement}")


class RemembersGiven:
    """Options that know which of them were given, rather than left at their defaults; for a dataclass to inherit."""

    def __new__(cls, **given: Any) -> Self:
        """Remember the names of what was given."""
        options = object.__new__(cls)
        object.__setattr__(options, "_given", frozenset(given))
        return options

    @property
    def given(self) -> frozenset[str]:
        """Names of the options that were given."""
        names: frozenset[str] = self._given  # type: ignore[attr-defined]
        return names

    @property
    def is_passed_on(self) -> bool:
        """Whether every option counts as given, as those that `dataclasses.replace` has passed on do."""
        return self.given >= {field.name for field in fields(self)}  # type: ignore[arg-type]

    def as_given(self, names: frozenset[str]) -> Self:
        """Say which of the options were given; for a command line, which builds all of them."""
        object.__setattr__(self, "_given", names)
        return self


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Which images take part, and at what size."""

    val_split: float = 0.2
    """Share of the images held out for validation where the data has no split of its own."""
    max_side: int | None = None
    """Shrink images whose longer side exceeds this many pixels; by default every image keeps its native size."""
    min_side: int | None = None
    """Leave out images whose shorter side is below this many pixels (they are listed)."""
    skip_unreadable: bool = False
    """Go on without files that cannot be decoded, and list them, instead of stopping."""
    max_image_pixels: int = 178_956_970
    """Refuse files that claim more pixels than this (decompression bombs)."""

    def __post_init__(self) -> None:
        require(0 < self.val_split < 1, "val_split", self.val_split, "between 0 and 1")
        require(self.max_side is None or self.max_side >= 1, "max_side", self.max_side, "at least 1")
        require(self.min_side is None or self.min_side >= 1, "min_side", self.min_side, "at least 1")
        require(self.max_image_pixels >= 1, "max_image_pixels", self.max_image_pixels, "at least 1")


@dataclass(frozen=True, kw_only=True)
class ForwardOptions:
    """How many images go together."""

    batch_size: int = 32
    """Images per optimiser step, or per forward pass where nothing is trained."""
    max_pixels: int | Literal["auto"] = 8_000_000
    """Canvas pixels that one forward pass may hold; a batch that needs more is split, without changing the result.
    'auto' measures what the network takes on the device, once, and stays below 90 % of the memory available."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.max_pixels == "auto" or self.max_pixels >= 1, "max_pixels", self.max_pixels, "at least 1, or auto")

    @property
    def pixel_limit(self) -> int:
        """``max_pixels`` as a number.

        Raises:
            UsageError: it is 'auto', and nothing has been measured yet.
        """
        if self.max_pixels == "auto":
            raise UsageError(
                "--max-pixels is auto, which is measured on a network, and there is none here",
                hint="give a number: --max-pixels 8000000",
            )
        return self.max_pixels


@dataclass(frozen=True, kw_only=True)
class BatchOptions(ForwardOptions):
    """How the images of a training step are chosen."""

    mixing: Literal["mixed", "similar"] = "mixed"
    """'mixed': each step is a uniform draw, as in textbook SGD, laid on several canvases by size. 'similar': the images
    of a step are alike in size, on one canvas or few: fastest, but a network with batch normalisation then sees the
    statistics of one size at a time in training and others in evaluation."""
    launch_pixels: int = 16_384
    """What one more canvas costs beside its pixels, in pixels. A step is spread over more canvases where that saves
    more padding than this; raise it on a GPU."""
    multiple_of: int = 8
    """Heights and widths of canvases are rounded up to multiples of this, so that they recur from epoch to epoch: a CPU
    compiles its kernels for each new canvas. 1 pads least."""

    max_canvases: int | None = None
    """Lay the images on so many static canvases at most, chosen for least padding over the whole data set: for
    torch.compile and other devices that compile each shape. By default canvases are as large as their images need."""
    own_share: float = 0.05
    """With --max-canvases: this share of the images at most, those that would waste most, lies on canvases of its own
    exact size."""
    pool: int | None = None
    """For 'similar': images are grouped by size within a uniform draw of so many; fewer mix better and pad more. By
    default among all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.multiple_of >= 1, "multiple_of", self.multiple_of, "at least 1")
        require(self.launch_pixels >= 0, "launch_pixels", self.launch_pixels, "at least 0")
        require(self.max_canvases is None or self.max_canvases >= 1, "max_canvases", self.max_canvases, "at least 1")
        require(0 <= self.own_share <= 1, "own_share", self.own_share, "a share of the images, from 0 to 1")
        require(self.pool is None or self.pool >= 1, "pool", self.pool, "at least 1")


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(StartupSettings):
    """Where the work is done."""

    device: str = "auto"
    """'auto' (a GPU where there is one), 'cpu', 'cuda', 'cuda:1', 'mps'."""
    workers: int = 2
    """Processes that read and decode images; 0 does it in the main process."""
    channels_last: bool = True
    """Keep tensors in the channels_last memory format: 2 to 5 times faster on CPUs in float32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.workers >= 0, "workers", self.workers, "at least 0")


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """What the values of label masks mean, for data with a mask for each image."""

    classes: Path | None = None
    """Text file with the class names of label masks, one a line: line k, from 0, names value k. By default classes.txt,
    labels.txt or class_names.txt beside the images."""
    ignore_label: int | str | None = 255
    """Value in the masks of pixels without a label, beside 255, or several of them separated by commas: '11,37'; they
    count in no loss and no metric. 'None': no value is ignored; where 255 is a class of its own, --mask-values must
    name it."""
    mask_values: str | None = None
    """Values in the masks, separated by commas, in the order of the classes: '0,255' reads 0 as the first class and 255
    as the second."""
    mask_palette: str | None = None
    """For masks in colour, the colours in the order of the classes: a text file of lines 'name red green blue', or
    '#000000=background,#ff0000=car,#ffffff=ignore'."""
    reduce_zero_label: bool = False
    """Value 0 in the masks means no label, and the classes begin at 1."""

    def __post_init__(self) -> None:
        label = self.ignore_label
        if isinstance(label, str) and label.strip().isdecimal():
            label = int(label)
            object.__setattr__(self, "ignore_label", label)
        for value in self.ignore_labels:
            require(0 <= value <= 255, "ignore_label", label, "a value from 0 to 255, several with commas, or None")
        if self.mask_values is not None and self.mask_palette is not None:
            raise UsageError(
                "--mask-values and --mask-palette were both given; masks hold either indices or colours",
                hint="keep --mask-values for masks of numbers, --mask-palette for masks in colour",
            )
        if self.mask_palette is not None and set(self.ignore_labels) - {255}:
            raise UsageError(
                f"--ignore-label {label} was given beside --mask-palette; masks in colour hold no values",
                hint="leave out --ignore-label, and write =ignore behind the colour of pixels without a label",
            )
        if self.reduce_zero_label and (self.mask_values is not None or self.mask_palette is not None):
            raise UsageError(
                "--reduce-zero-label was given beside --mask-values or --mask-palette, which say what 0 means already",
                hint="leave out --reduce-zero-label; values that are not in --mask-values are refused, but for the "
                "one of --ignore-label",
            )

    @property
    def ignore_labels(self) -> tuple[int, ...]:
        """The values of ``ignore_label``, in rising order; none for None."""
        label = self.ignore_label
        if label is None:
            return ()
        parts = [part.strip() for part in str(label).split(",")]
        require(
            all(part.isascii() and part.removeprefix("-").isdigit() for part in parts),
            "ignore_label", label, "a value from 0 to 255, several with commas, or None",
        )  # fmt: skip
        return tuple(sorted({int(part) for part in parts}))

    def absolute_paths(self) -> dict[str, Any]:
        """The fields that name files, with absolute paths: ``replace(config, **config.absolute_paths())`` can be read
        from any folder. Colours that are written out, and what is not given, are left as they are."""
        palette = self.mask_palette
        return {
            "classes": None if self.classes is None else self.classes.absolute(),
            "mask_palette": palette if palette is None or palette.startswith("#") else str(Path(palette).absolute()),
        }
