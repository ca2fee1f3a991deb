"""Opening files with Pillow: a closed list of formats, a pixel cap, one kind of error, no stray warnings."""

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

__all__ = [
    "DEFAULT_MAX_IMAGE_PIXELS",
    "FORMATS",
    "ByteSource",
    "ImageReadError",
    "native_size",
    "open_image",
    "orientation_of",
    "quiet_pillow",
    "too_large",
]

# Pillow logs what it then raises; without a handler Python would print it to standard error, without a file name.
logging.getLogger("PIL").addHandler(logging.NullHandler())

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
"""The only formats that are ever parsed, whatever a file's name says."""

DEFAULT_MAX_IMAGE_PIXELS = 178_956_970
"""Pixels of one image (height x width), 512 MiB as RGB: where Pillow begins to warn. Here it is an error."""

_PNG_SIGNATURE_BYTES = 8

# Where Pillow's getexif looks; without any of them a JPEG says nothing, and building an Exif object to hear that
# would be a tenth of the time that a header takes.
_ORIENTATION_SOURCES = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})


class ImageReadError(Exception):
    """One file cannot be read as an image; callers collect these into one error for the user.

    Args:
        reason: a plain phrase without the path.
        lasting: whether the file's content is to blame, so that trying again is of no use. A missing
            permission, a lack of memory or the caller's own pixel cap is not lasting, and is never cached.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_error, (self.reason, self.lasting))


def _rebuild_error(reason: str, lasting: bool) -> ImageReadError:
    return ImageReadError(reason, lasting=lasting)


class ByteSource(Protocol):
    """An image that is no file of its own, such as a member of a tar file."""

    @property
    def num_bytes(self) -> int:
        """Its length."""

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """The bytes, to read and seek in.

        Raises:
            ImageReadError: they are not there any more.
        """


class _QuietPillow:
    """While any thread is inside, warnings that Pillow's own modules give are ignored.

    They tell of metadata (odd EXIF, surplus TIFF tags); pixels that fail are errors.
    `warnings.catch_warnings` swaps a global list and is not safe where threads enter and leave in any order,
    so one filter is counted in and out.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._installed: object = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._installed = warnings.filters[0]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                # Somebody else's catch_warnings may have taken the list away, our filter with it.
                with suppress(ValueError):
                    warnings.filters.remove(self._installed)  # type: ignore[attr-defined]


quiet_pillow = _QuietPillow()
"""A context, entered by `open_image` for each image; entering it once around many images makes that cheap."""


@contextmanager
def open_image(source: Path | str | ByteSource, *, max_image_pixels: int) -> Iterator[Image.Image]:
    """Open ``source`` as one of `FORMATS` without decoding it; whatever fails inside becomes `ImageReadError`.

    Raises:
        ImageReadError: not an image of a known format, damaged, larger than ``max_image_pixels``, or not
        accessible.
    """
    _allow(max_image_pixels)
    try:
        with quiet_pillow, _opened(source) as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width < 1 or height < 1:
                raise ImageReadError(f"the image is {height}x{width} (height x width): it has no pixels")
            if width * height > max_image_pixels:
                raise too_large(width * height, max_image_pixels)
            yield image
    except ImageReadError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
        raise _explain(error, source, max_image_pixels) from error


def _opened(source: Path | str | ByteSource) -> AbstractContextManager[IO[bytes]]:
    # Strings are not made Paths first: that takes nearly as long as opening the file.
    return open(source, "rb") if isinstance(source, Path | str) else source.open()  # noqa: PTH123


def _allow(max_image_pixels: int) -> None:
    """Lift Pillow's own limit where the caller's is higher.

    Pillow refuses above twice its limit, which is one number for the whole process; it is only ever raised,
    and only for a cap that somebody asked for, so that threads with different caps cannot undo one another.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and 2 * limit < max_image_pixels:
        Image.MAX_IMAGE_PIXELS = max_image_pixels


def too_large(num_pixels: int | None, max_image_pixels: int) -> ImageReadError:
    """The error for an image whose header claims ``num_pixels`` (None: not known, but too many)."""
    claim = "more pixels than Pillow would decode" if num_pixels is None else f"{num_pixels:,} pixels"
    return ImageReadError(
        f"the header says {claim}, above the limit of {max_image_pixels:,} (a decompression bomb?); "
        "if the image is meant to be that large, raise --max-image-pixels",
        lasting=False,
    )


def _explain(error: Exception, source: Path | str | ByteSource, max_image_pixels: int) -> ImageReadError:
    """A plain reason for what Pillow or the operating system raised."""
    source = Path(source) if isinstance(source, str) else source
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        claimed = re.search(r"\((\d+) pixels\)", str(error))
        return too_large(int(claimed[1]) if claimed else None, max_image_pixels)
    if isinstance(error, UnidentifiedImageError):
        if (source.stat().st_size if isinstance(source, Path) else source.num_bytes) == 0:
            return ImageReadError("the file is empty (0 bytes)")
        return ImageReadError(f"no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image, or its header is damaged")
    if isinstance(error, MemoryError):
        return ImageReadError("not enough memory to decode it", lasting=False)
    if isinstance(error, FileNotFoundError):
        dangling = isinstance(source, Path) and source.is_symlink()
        reason = "the link points to no file" if dangling else "no such file"
        return ImageReadError(reason, lasting=False)
    if isinstance(error, OSError) and error.errno is not None:
        return ImageReadError((error.strerror or str(error)).lower(), lasting=False)
    text = " ".join(str(error).split()) or type(error).__name__
    return ImageReadError(f"cannot be decoded: {text}")


def orientation_of(image: Image.Image) -> int:
    """The EXIF (or XMP) orientation, 1 to 8, of an opened, undecoded image; 1 if absent or unusable."""
    if image.format in ("JPEG", "MPO") and not _ORIENTATION_SOURCES & image.info.keys():
        return 1
    try:
        if image.format == "PNG" and "exif" not in image.info:
            # Pillow would decode the whole image to look for a chunk that stands behind the pixels.
            late = _late_png_exif(image)
            if late is not None:
                image.info["exif"] = late
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is common in the wild and says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _late_png_exif(image: Image.Image) -> bytes | None:
    """The content of an eXIf chunk anywhere in the PNG file, found by hopping from chunk to chunk."""
    file: IO[bytes] | None = getattr(image, "fp", None)
    if file is None:
        return None
    back = file.tell()
    try:
        file.seek(_PNG_SIGNATURE_BYTES)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"eXIf":
                return b"Exif\x00\x00" + file.read(length)
            file.seek(length + 4, 1)  # 4: the checksum
    finally:
        file.seek(back)
    return None


def native_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    """(height, width) as `orientation` shows the image."""
    width, height = image.size
    turned = orientation >= 5
    if isinstance(image, TiffImageFile):
        # Pillow turns TIFF files itself, and its size already tells so, but for an orientation known from XMP
        # only.
        turned = turned != (image.tag_v2.get(ExifTags.Base.Orientation) in (5, 6, 7, 8))
    return (width, height) if turned else (height, width)
