"""Folders of images become samples at native size; no file is lost in silence."""

from anysize.data.augment import Augmentation, draw_geometry
from anysize.data.check import CheckResult, check_images
from anysize.data.dataset import ImageDataset
from anysize.data.images import ImageHeader, read_header, read_image
from anysize.data.index import SizeIndex
from anysize.data.problems import FileProblem
from anysize.data.source import (
    CheckedSource,
    DataOptions,
    DataSource,
    ImageList,
    check_source,
    list_images,
    load_data,
)
from anysize.data.split import stratified_split
from anysize.data.table import ImageTable

__all__ = [
    "Augmentation",
    "CheckResult",
    "CheckedSource",
    "DataOptions",
    "DataSource",
    "FileProblem",
    "ImageDataset",
    "ImageHeader",
    "ImageList",
    "ImageTable",
    "SizeIndex",
    "check_images",
    "check_source",
    "draw_geometry",
    "list_images",
    "load_data",
    "read_header",
    "read_image",
    "stratified_split",
]
