"""Reading the headers of an uncompressed tar file, strictly: what is damaged is an error, never the end.

Python's tarfile takes a damaged header for the end of the archive, and would lose all images behind it in
silence. The format: POSIX.1-2001 (pax), with GNU tar's long names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import BinaryIO

from anysize.data.problems import printable

__all__ = ["BLOCK_BYTES", "Member", "TarError", "parse_member", "read_members"]

BLOCK_BYTES = 512

_MOST_EXTENDED_BYTES = 1 << 20
_MOST_EXTENDED_HEADERS = 16
_MOST_LENGTH_DIGITS = 7  # of a record within one
_DIRECTORY = b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"D": "a GNU dump directory",
    b"M": "a piece of a file that began on another volume",
    b"S": "a sparse file",
    b"V": "a volume label",
}


class TarError(Exception):
    """The tar file is damaged, cut off, or holds what is not read; a plain phrase without the file's name."""


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file within a tar file.

    Args:
        name: as it is written there; data, never a path to follow.
        start: offset of its first header (an extended one, if it has any), in bytes.
        data: offset of its content, in bytes; a multiple of `BLOCK_BYTES`.
        num_bytes: length of its content.
    """

    name: str
    start: int
    data: int
    num_bytes: int


def read_members(file: BinaryIO, num_bytes: int) -> Iterator[Member]:
    """All regular files of a tar file, in order, seeking over their contents. Folders are passed over.

    Args:
        file: opened for reading in binary; it may be moved about between two members.
        num_bytes: length of the file.

    Raises:
        TarError: a damaged or cut-off archive, no end mark, data behind the end mark, or a link, a sparse file or
            another member that is no regular file.
    """
    position = 0
    while True:
        file.seek(position)
        head = file.read(BLOCK_BYTES)
        if len(head) < BLOCK_BYTES:
            raise TarError(
                f"it has no end mark: it was cut off at byte {num_bytes:,}, or its writer was never closed"
                if position
                else f"it has {num_bytes:,} bytes, which is no tar file"
            )
        if not head.strip(b"\0"):
            _require_nothing_behind(file, position)
            return
        file.seek(position)
        member = parse_member(file)
        end = member.data + _padded(member.num_bytes)
        if end > num_bytes:
            raise TarError(
                f"it was cut off: {printable(member.name)} should end at byte {end:,}, and the file has {num_bytes:,}"
            )
        if not member.name.endswith("/"):
            yield member
        position = end


def parse_member(file: BinaryIO) -> Member:
    """The member whose first header stands where ``file`` does; the name of a folder ends in a slash.

    Raises:
        TarError: as `read_members`.
    """
    start = position = file.tell()
    name: str | None = None
    num_bytes: int | None = None
    for number in count():
        head = file.read(BLOCK_BYTES)
        _require_header(head, position)
        kind, length = head[156:157], _number(head[124:136], position)
        position += BLOCK_BYTES
        if kind not in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
            break
        if number == _MOST_EXTENDED_HEADERS:
            raise TarError(f"damaged: more than {number} extended headers before the member at byte {start:,}")
        if length > _MOST_EXTENDED_BYTES:
            raise TarError(f"damaged: an extended header of {length:,} bytes at byte {position - BLOCK_BYTES:,}")
        content = file.read(_padded(length))[:length]
        if len(content) < length:
            raise TarError(f"it was cut off within a header, at byte {position:,}")
        position += _padded(length)
        if kind == _LONG_NAME:
            name = _text(content.rstrip(b"\0"))
        elif kind in (_PAX, _PAX_GLOBAL):
            fields = _pax_fields(content, position)
            if any(key.startswith("GNU.sparse") for key in fields):
                raise _refused("a sparse file", fields.get("GNU.sparse.name") or fields.get("path") or _name(head))
            if kind == _PAX:
                name = fields.get("path", name)
                if "size" in fields:
                    num_bytes = _pax_size(fields["size"], position)
            elif {"path", "size"} & fields.keys():
                raise TarError("a global header gives one name or size to all members")
    name = _name(head) if name is None else name
    if kind in _REFUSED:
        raise _refused(_REFUSED[kind], name)
    if kind == _DIRECTORY:
        return Member(name.rstrip("/") + "/", start, position, 0)
    if kind not in (b"0", b"\0", b"7"):
        raise _refused(f"a member of the unknown type {printable(_text(kind))}", name)
    return Member(name, start, position, length if num_bytes is None else num_bytes)


def _refused(what: str, name: str) -> TarError:
    return TarError(f"{printable(name)} is {what}, and only regular files are read")


def _require_header(head: bytes, position: int) -> None:
    if len(head) < BLOCK_BYTES:
        raise TarError(f"it was cut off within a header, at byte {position:,}")
    # The checksum's own field counts as spaces.
    stated = _number(head[148:156], position)
    unsigned = sum(head) - sum(head[148:156]) + 8 * 32
    # Some old writers summed signed bytes.
    if stated != unsigned and stated != unsigned - 256 * sum(byte > 127 for byte in head[:148] + head[156:]):
        raise TarError(f"damaged, or no tar file: no valid header at byte {position:,}")


def _require_nothing_behind(file: BinaryIO, position: int) -> None:
    """Tar files that were joined by cat have members behind the first end mark."""
    file.seek(position)
    while content := file.read(1 << 16):
        if content.strip(b"\0"):
            raise TarError(f"there is more behind its end mark at byte {position:,}: were several tar files joined?")


def _number(field: bytes, position: int) -> int:
    if field[0] & 0x80:  # GNU: the number itself, big-endian
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError as error:
        raise TarError(f"damaged, or no tar file: no valid header at byte {position:,}") from error


def _name(head: bytes) -> str:
    name = head[:100].split(b"\0")[0]
    # Only POSIX headers have a prefix; GNU's keep times in its place.
    prefix = head[345:500].split(b"\0")[0] if head[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _pax_fields(content: bytes, position: int) -> dict[str, str]:
    """The records "LENGTH KEY=VALUE\\n" of an extended header."""
    fields: dict[str, str] = {}
    start = 0
    while start < len(content):  # by offset: to cut off each record would copy all that is left
        digits, _, _ = content[start : start + _MOST_LENGTH_DIGITS + 1].partition(b" ")
        end = start + (int(digits) if digits.isdigit() and len(digits) <= _MOST_LENGTH_DIGITS else 0)
        first = start + len(digits) + 1
        record = content[first : end - 1]
        if not first < end <= len(content) or content[end - 1] != ord("\n") or b"=" not in record:
            raise TarError(f"damaged: an extended header before byte {position:,} cannot be read")
        key, _, value = record.partition(b"=")
        fields[_text(key)] = _text(value)
        start = end
    return fields


def _pax_size(text: str, position: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise TarError(f"damaged: an extended header before byte {position:,} gives the size {printable(text[:20])}")
    return int(text)


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES
