"""Which images are copies of one another: files of one length are compared by their bytes, then decoded pixels are."""

from collections import defaultdict
from collections.abc import Sequence

from anysize.data.index import Progress
from anysize.data.table import ImageTable
from anysize.doctor.data.gather import in_threads
from anysize.doctor.data.look import file_digest, num_bytes_of
from anysize.doctor.data.survey import Copies, Pair, Part, Seen

__all__ = ["find_copies"]

_Key = tuple[str, int]  # part, row


def find_copies(
    parts: Sequence[Part], seen: Sequence[Seen], pairs: Sequence[Pair], progress: Progress
) -> tuple[Copies, ...]:
    """Groups of images of one content.

    All files are compared by their bytes (only those of one length are read); those that were decoded also by their
    pixels, which tells a copy in another format without loss.

    Args:
        parts: the splits.
        seen: images that were decoded.
        pairs: their masks.
        progress: told (files read, files to read).
    """
    tables = {part.name: part.table for part in parts}
    lengths: dict[int, list[_Key]] = defaultdict(list)
    for part in parts:
        for row in range(len(part.table)):
            image = part.table.image(row)
            lengths[num_bytes_of(image)].append((part.name, row))
    candidates = [key for length, keys in lengths.items() if length > 0 and len(keys) > 1 for key in keys]
    digests = in_threads(lambda key: file_digest(tables[key[0]].image(key[1])), candidates)
    of_file: dict[_Key, bytes] = {}
    for done, (key, digest) in enumerate(zip(candidates, digests, strict=True), 1):
        if digest:
            of_file[key] = digest
        progress(done, len(candidates))
    of_pixels = {(item.part, item.row): item.look.digest for item in seen}
    masks = {(pair.part, pair.image): pair.look.digest for pair in pairs}
    return tuple(_copies(keys, tables, of_file, masks) for keys in _joined(of_file, of_pixels))


def _joined(*known: dict[_Key, bytes]) -> list[list[_Key]]:
    """Groups of keys that share a digest in any of the dictionaries, directly or by way of others; two or more."""
    above: dict[_Key, _Key] = {}

    def top(key: _Key) -> _Key:
        while above.setdefault(key, key) != key:
            above[key] = above[above[key]]
            key = above[key]
        return key

    for digests in known:
        first: dict[bytes, _Key] = {}
        for key, digest in digests.items():
            above[top(key)] = top(first.setdefault(digest, key))
    groups: dict[_Key, list[_Key]] = defaultdict(list)
    for key in above:
        groups[top(key)].append(key)
    return [sorted(keys) for keys in groups.values() if len(keys) > 1]


def _copies(
    keys: list[_Key], tables: dict[str, ImageTable], of_file: dict[_Key, bytes], masks: dict[tuple[str, str], bytes]
) -> Copies:
    paths = tuple(tables[part].paths[row] for part, row in keys)
    labels: set[int | bytes] = set()
    for (part, row), path in zip(keys, paths, strict=True):
        known = tables[part].labels
        if known is not None:
            labels.add(int(known[row]))
        elif (part, path) in masks:
            labels.add(masks[part, path])
    return Copies(
        paths=paths,
        parts=tuple(part for part, _ in keys),
        same_file=len({of_file.get(key) for key in keys}) == 1 and keys[0] in of_file,
        same_labels=None if not labels else len(labels) == 1,
    )
