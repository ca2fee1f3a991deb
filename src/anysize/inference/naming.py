"""Where the answer for an image is written: under the image's own name, and no two under one."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

__all__ = ["output_names"]


def output_names(arguments: Sequence[Path], paths: Sequence[str]) -> list[str]:
    """A file name for each image, posix style, without its suffix.

    It is the image's path within the folder that was named, or the file's own name; where several folders were named,
    the path from the folder that holds them all. Images that differ by their suffix alone keep it: ``cat.jpg`` and
    ``cat.png`` become ``cat.jpg`` and ``cat.png``, not ``cat`` twice.

    >>> output_names([Path("new")], ["new/cat.jpg", "new/dogs/a.png"])
    ['cat', 'dogs/a']
    >>> output_names([Path("a/x.jpg"), Path("b/x.jpg"), Path("b/x.png")], ["a/x.jpg", "b/x.jpg", "b/x.png"])
    ['a/x', 'b/x.jpg', 'b/x.png']

    Args:
        arguments: files and folders, as the user named them.
        paths: the images that they hold, each below one of ``arguments`` or one of them.
    """
    files = set(paths) & {path.as_posix() for path in arguments}
    folders = [path for path in arguments if path.as_posix() not in files]
    bases = [Path(path).parent if path in files else _holding(folders, path) for path in paths]
    root = os.path.commonpath([_absolute(base) for base in dict.fromkeys(bases)])
    whole = [PurePath(os.path.relpath(_absolute(path), root)).as_posix() for path in paths]
    names = [PurePosixPath(path).with_suffix("").as_posix() for path in whole]
    while True:
        counts = Counter(names)
        # One file that was named in two ways keeps one name; all others differ once they have their suffix.
        repeated = [place for place, name in enumerate(names) if counts[name] > 1 and name != whole[place]]
        if not repeated:
            return names
        for place in repeated:
            names[place] = whole[place]


def _absolute(path: Path | str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - a link keeps the name that it was given by


def _holding(folders: Sequence[Path], path: str) -> Path:
    """The innermost of the named folders that ``path`` lies in."""
    holding = [folder for folder in folders if Path(path).is_relative_to(folder)]
    return max(holding, key=lambda folder: len(folder.parts), default=Path(path).parent)
