"""The options of `anysize doctor`, apart from the checks: the command line reads them without loading torch."""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from anysize.errors import UsageError
from anysize.options import MaskOptions, require
from anysize.pairs import parse_pairs

__all__ = ["CHECKS", "DoctorConfig"]

CHECKS = ("numerics",)
_OF_NUMERICS = ("dtype", "device")


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(MaskOptions):
    """What `anysize doctor` does."""

    what: Annotated[str | None, Positional, arg(metavar="WHAT")] = None
    """What to check: DATA, a folder or file with images and their labels, as of `anysize train`; or 'numerics': whether
    the operators of this machine compute what they should. (A folder of that name is ./numerics.)"""
    output: Path | None = None
    """For DATA: the folder for the page and the sheet of overlays; by default doctor-NAME."""
    strict: bool = False
    """For DATA: warnings count too, the exit code is 1 with any."""
    max_images: int = 5000
    """For DATA: decode so many images and masks at most, drawn at random (the same each time); all are listed, and
    compared byte for byte."""
    val_split: float = 0.2
    """For DATA: share of the images held out for validation where the data has no split of its own."""
    max_image_pixels: int = 178_956_970
    """For DATA: refuse files that claim more pixels than this (decompression bombs)."""
    model: str | None = None
    """For DATA: say which images are small for this network; `anysize summary` lists them all."""
    model_kwargs: tuple[str, ...] = ()
    """For DATA: options of the network, as name=value: width=64."""
    dtype: Literal["all", "float32", "bfloat16", "float16"] = "all"
    """For numerics: check the operators in this number type only."""
    device: str = "all"
    """For numerics: check on this device only: 'cpu', 'cuda', 'cuda:1', 'mps'. 'all': the CPU, and the first CUDA GPU
    if there is one."""

    def __post_init__(self) -> None:
        MaskOptions.__post_init__(self)
        require(0 < self.val_split < 1, "val_split", self.val_split, "between 0 and 1")
        require(self.max_images >= 1, "max_images", self.max_images, "at least 1")
        require(self.max_image_pixels >= 1, "max_image_pixels", self.max_image_pixels, "at least 1")
        if self.model_kwargs and self.model is None:
            given = " ".join(self.model_kwargs)
            raise UsageError(f"--model-kwargs {given} was given without --model", hint="--model NAME, or leave it out")
        parse_pairs("model-kwargs", self.model_kwargs)

    def require_check(self) -> str:
        """Return the check that was asked for: one of `CHECKS`, or 'data' where ``what`` is a path.

        A word of `CHECKS` is always that check; anything else has to exist.

        Raises:
            UsageError: neither; or options that belong to the other.
        """
        known = ", ".join(CHECKS)
        if self.what is None:
            raise UsageError(f"nothing to check was given: DATA, or one of: {known}", hint="anysize doctor DATA")
        if self.what in CHECKS:
            self._refuse_others(self.what, [name for name in self._names() if name not in _OF_NUMERICS])
            return self.what
        if Path(self.what).exists():
            self._refuse_others(self.what, list(_OF_NUMERICS))
            return "data"
        close = difflib.get_close_matches(self.what, CHECKS, n=1)
        raise UsageError(
            f"there is no file or folder {self.what}, and no check of that name; known: {known}",
            hint=f"anysize doctor {close[0]}"
            if close
            else "give the folder that holds the images: anysize doctor DATA",
        )

    def _names(self) -> list[str]:
        return [field.name for field in fields(self) if field.name != "what"]

    def _refuse_others(self, what: str, names: list[str]) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} has no meaning for anysize doctor {what}", hint=f"leave out {flag}")
