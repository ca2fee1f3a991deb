"""What a file of Keras holds, read in place: never extracted, never unpickled, and nothing larger than it should be."""

import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from anysize.errors import AnysizeError, CheckpointError
from anysize.extras import require_extra
from anysize.models.weights.torch_files import DamagedFileError

__all__ = ["StoredLayer", "StoredVariable", "open_stored"]

WEIGHTS_MEMBER = "model.weights.h5"
_MAX_MEMBER_BYTES = 4 << 30
_MAX_LAYERS = 5_000
_MAX_VARIABLES = 64
_MAX_ATTRIBUTE_BYTES = 16 << 20
# Two generations of the format that Keras calls version 3.
_LAYER_GROUPS = ("layers", "_layer_checkpoint_dependencies")


@dataclass(frozen=True)
class StoredVariable:
    """A tensor in an open file, not yet read."""

    path: str
    """In the file."""
    shape: tuple[int, ...]
    is_floating: bool
    read: Callable[[], Tensor]
    """Valid while the file is open."""


@dataclass(frozen=True)
class StoredLayer:
    """A layer with variables, in an open file."""

    kind: str
    """Its class in snake case (``conv2d``), as the file says, or as its variables show; ``other`` if neither does."""
    name: str | None
    """None in files that do not say it."""
    variables: tuple[StoredVariable, ...]


@contextmanager
def open_stored(path: Path) -> Iterator[list[StoredLayer]]:
    """Open a file of any of the three forms, told by its content, and list its layers in Keras's order.

    Raises:
        DamagedFileError: it is none of them, or damaged.
        CheckpointError: there is no file, or it contains what no file of Keras needs (links to other files,
            tensors that are stored elsewhere).
        MissingExtraError: h5py is not installed.
    """
    h5py = require_extra("h5py", extra="keras")
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}", hint="pass a .h5, .weights.h5 or .keras file")
    source: Path | io.BytesIO = path
    if zipfile.is_zipfile(path):
        source = _member(path)
    elif not h5py.is_hdf5(path):
        raise DamagedFileError(
            f"{path} is neither an HDF5 file (.h5, .weights.h5) nor a zip archive (.keras)",
            hint="save it in Keras with model.save('model.keras') or model.save_weights('model.weights.h5')",
        )
    try:
        with h5py.File(source, "r") as file:
            yield _layers(path, h5py, file)
    except AnysizeError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # h5py raises all of these on damage
        raise DamagedFileError(f"{path} cannot be read as HDF5: {error}", hint="the file may be cut off") from error


def _member(path: Path) -> io.BytesIO:
    """Read the one member of a ``.keras`` archive that holds weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename == WEIGHTS_MEMBER]
            if len(members) != 1:
                names = ", ".join(sorted(info.filename[:40] for info in archive.infolist())[:8])
                raise CheckpointError(
                    f"{path} is a zip archive with {len(members)} members {WEIGHTS_MEMBER}, a .keras file has one; "
                    f"it holds {names or 'nothing'}"
                )
            announced = members[0].file_size
            if announced > _MAX_MEMBER_BYTES or announced > 1000 * path.stat().st_size:
                raise CheckpointError(
                    f"{path} announces {announced} bytes of weights in an archive of {path.stat().st_size}; at most "
                    f"{_MAX_MEMBER_BYTES}, and 1000 times the archive, are read"
                )
            with archive.open(members[0]) as member:
                content = member.read(announced + 1)  # a bound for the decompressor: what is announced may be a lie
    except (AnysizeError, MemoryError):
        raise
    except Exception as error:  # each compression has errors of its own: zlib.error, lzma.LZMAError, OSError ...
        raise DamagedFileError(f"{path} is a damaged or encrypted zip archive: {error}") from error
    return io.BytesIO(content)


def _layers(path: Path, h5py: ModuleType, file: Any) -> list[StoredLayer]:
    reader = _Reader(path, h5py)
    if "model_weights" in file:
        return reader.legacy(reader.group(file, "model_weights"))
    if reader.has_list(file, "layer_names"):
        return reader.legacy(file)
    for name in _LAYER_GROUPS:
        if name in file:
            return reader.current(reader.group(file, name))
    found = ", ".join(sorted(str(name)[:40] for name in list(file)[:8])) or "nothing"
    raise CheckpointError(
        f"{path} is an HDF5 file, but not one of Keras: it holds {found}; Keras's have 'model_weights', 'layers' or a "
        "list 'layer_names'"
    )


class _Reader:
    """Walks an open file, one named step at a time; links are never followed."""

    def __init__(self, path: Path, h5py: ModuleType) -> None:
        self._path, self._h5py = path, h5py

    def legacy(self, root: Any) -> list[StoredLayer]:
        """The layers of a group with ``layer_names``, each of which has ``weight_names``."""
        layers = []
        for name in self.names(root, "layer_names", _MAX_LAYERS):
            group = self.group(root, name)
            paths = self.names(group, "weight_names", _MAX_VARIABLES)
            if paths:
                variables = tuple(self.variable(group, path.split("/"), f"{name}: {path}") for path in paths)
                layers.append(StoredLayer(_kind(paths, variables), name, variables))
        return layers

    def current(self, root: Any) -> list[StoredLayer]:
        """The layers of version 3: ``conv2d_4/vars/0``, numbered by class in the order of the network."""
        if len(root) > _MAX_LAYERS:
            raise CheckpointError(f"{self._path} lists {len(root)} layers; at most {_MAX_LAYERS} are read")
        numbered = []
        for key in root:
            kind, number = cast(re.Match[str], re.fullmatch(r"(.*?)(?:_(\d+))?", key, re.DOTALL)).groups()
            numbered.append((kind, int(number or 0), key))
        layers = []
        for kind, _, key in sorted(numbered):
            group = self.group(root, key)
            if any(nested in group for nested in _LAYER_GROUPS):
                raise CheckpointError(
                    f"{self._path} has a network within the network, {key!r}; only plain networks can be read",
                    hint="save the inner network by itself: model.get_layer(...).save_weights(...)",
                )
            variables, name = self._vars(group, key)
            if variables:
                layers.append(StoredLayer(kind, name, variables))
        return layers

    def _vars(self, group: Any, key: str) -> tuple[tuple[StoredVariable, ...], str | None]:
        if "vars" not in group:
            return (), None
        holder = self.group(group, "vars")
        if len(holder) > _MAX_VARIABLES:
            raise CheckpointError(
                f"{self._path}: {key!r} has {len(holder)} variables; at most {_MAX_VARIABLES} are read"
            )
        name = holder.attrs.get("name")
        names = [str(number) for number in range(len(holder))]
        variables = tuple(self.variable(holder, [number], f"{key}/vars/{number}") for number in names)
        return variables, name if isinstance(name, str) else None

    def group(self, parent: Any, name: str) -> Any:
        """Return a group that lies directly in ``parent``."""
        found = self._step(parent, name, name)
        if not isinstance(found, self._h5py.Group):
            raise CheckpointError(f"{self._path}: {name!r} is no group, as it is in files of Keras")
        return found

    def variable(self, parent: Any, steps: Sequence[str], label: str) -> StoredVariable:
        """Return a tensor by the names of the groups on the way to it."""
        found = parent
        for step in steps:
            if not isinstance(found, self._h5py.Group):
                raise CheckpointError(f"{self._path}: there is no {label!r}")
            found = self._step(found, step, label)
        if not isinstance(found, self._h5py.Dataset):
            raise CheckpointError(f"{self._path}: {label!r} is no tensor")
        if found.external or found.is_virtual:
            raise CheckpointError(f"{self._path}: {label!r} lies in another file, which is never opened")
        shape = tuple(found.shape or ())

        def read() -> Tensor:
            return torch.from_numpy(found[()])

        return StoredVariable(label, shape, found.dtype.kind == "f" and found.dtype.itemsize <= 8, read)

    def _step(self, parent: Any, name: str, label: str) -> Any:
        # A name with a slash would be a path, from the root or through links.
        if name in ("", ".", "..") or "/" in name or name not in parent:
            raise CheckpointError(f"{self._path}: there is no {label!r}")
        if not isinstance(parent.get(name, getlink=True), self._h5py.HardLink):
            raise CheckpointError(f"{self._path}: {label!r} is a link to elsewhere, which is never followed")
        return parent[name]

    def has_list(self, group: Any, name: str) -> bool:
        """Whether a group has such a list of names."""
        return name in group.attrs or f"{name}0" in group.attrs

    def names(self, group: Any, name: str, most: int) -> list[str]:
        """Return a list of names; Keras cuts long ones in pieces (``layer_names0``, ``layer_names1``)."""
        keys = [name] if name in group.attrs else []
        while not keys or (keys[0] != name and f"{name}{len(keys)}" in group.attrs):
            if not keys and f"{name}0" not in group.attrs:
                return []
            keys.append(f"{name}{len(keys)}")
        found: list[str] = []
        for key in keys:
            stored = group.attrs.get_id(key)
            if math.prod(stored.shape) * stored.dtype.itemsize > _MAX_ATTRIBUTE_BYTES:
                raise CheckpointError(f"{self._path}: the list {key!r} is longer than Keras writes")
            values = group.attrs[key]
            found += [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
        if len(found) > most:
            raise CheckpointError(f"{self._path}: {name!r} lists {len(found)} names; at most {most} are read")
        return found


def _kind(paths: Sequence[str], variables: Sequence[StoredVariable]) -> str:
    """Tell a layer's class by its variables: legacy files do not say it."""
    ranks = [len(variable.shape) for variable in variables]
    if ranks == [1, 1, 1, 1]:
        return "batch_normalization"
    if ranks[:2] == [4, 4]:
        return "separable_conv2d"
    if ranks[0] == 4:
        return "depthwise_conv2d" if "depthwise" in paths[0].rpartition("/")[2] else "conv2d"
    return "dense" if ranks[0] == 2 else "other"
