"""Where weights come from: a path, a URL or a hub name, each turned into a file on this machine."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from anysize.cache_folder import cache_folder
from anysize.errors import CheckpointError, UsageError
from anysize.models.weights.download import Address, check_scheme, download, sha256_of
from anysize.models.weights.published import PUBLISHED
from anysize.models.weights.torch_files import DamagedFileError

__all__ = ["HUB_FILE", "local_file", "removed_if_damaged"]

HUB_FILE = "model.safetensors"
"""What a hub name without a file means; timm and transformers write it."""

_HUB_PREFIX = "hf-hub:"
_HUB_ENDPOINT = "https://huggingface.co"
_FORMS = f"a path, an https:// URL (with #sha256=... to check it), or {_HUB_PREFIX}OWNER/NAME[/FILE][@REVISION]"
_HEX_64 = re.compile(r"[0-9a-f]{64}")
# PyTorch's own server names each file after the first characters of its checksum: resnet50-0676ba61.pth.
_PYTORCH_HOST = "download.pytorch.org"
_HEX_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")
_MAX_NAME = 80


@dataclass(frozen=True, kw_only=True)
class _HubName:
    owner: str
    name: str
    file: str
    revision: str


def local_file(source: str | os.PathLike[str]) -> Path:
    """Turn a source of weights into a file on this machine, downloading it once.

    Downloads are kept in ``$ANYSIZE_CACHE/weights`` (or ``~/.cache/anysize/weights``) and used again without asking the
    server, so a branch such as ``main`` stays as it was at first; a ``@REVISION`` says what it is.

    Args:
        source: a name in `PUBLISHED`; a path; an ``https://`` URL (``http://`` for this machine only), which may end in
            ``#sha256=`` and 64 hexadecimal digits; or ``hf-hub:OWNER/NAME[/FILE][@REVISION]``: ``model.safetensors`` on
            ``main`` where nothing else is named. ``$HF_ENDPOINT`` is the hub that is asked, and ``$HF_TOKEN`` is sent
            to it and nowhere else.

    Raises:
        UsageError: the source has none of these forms, or ``$HF_TOKEN`` is no token.
        CheckpointError: there is no such file, it cannot be downloaded, or it is not the one that was announced.
    """
    text = os.fspath(source)
    if text in PUBLISHED:
        text = PUBLISHED[text].source
    if text.startswith(_HUB_PREFIX):
        return _from_hub(text)
    if "://" in text:
        return _from_url(text)
    return _from_path(Path(text))


@contextmanager
def removed_if_damaged(path: Path) -> Iterator[None]:
    """Remove a download that turns out to be unreadable: a page to log in, say, which would stay there for good.

    Raises:
        CheckpointError: for the `DamagedFileError` of what runs in here, where the file was a download.
    """
    try:
        yield
    except DamagedFileError as error:
        if path.parent == _downloads():
            with suppress(OSError):
                path.unlink()
        if path.exists():
            raise
        hint = "what the server sent was removed from the cache: check the address, and try again"
        raise CheckpointError(error.message, hint=hint) from error


def _from_path(path: Path) -> Path:
    path = path.expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        inside = sorted(str(found) for found in path.glob("**/*.safetensors"))
        raise CheckpointError(
            f"{path} is a folder; weights are one file",
            hint=f"use {inside[0]}" if inside else "it holds no .safetensors file",
        )
    raise CheckpointError(f"there are no weights at {path}", hint=f"weights come from {_FORMS}")


def _from_hub(text: str) -> Path:
    hub = _parse_hub(text)
    endpoint = (os.environ.get("HF_ENDPOINT") or _HUB_ENDPOINT).rstrip("/")
    path = "/".join(quote(part, safe="") for part in (hub.owner, hub.name, "resolve", hub.revision))
    address = Address(
        url=f"{endpoint}/{path}/{quote(hub.file)}",
        token=_token(),
        of_hub=True,
    )
    check_scheme(address.url)
    target = _cached(address.url, f"{hub.owner}--{hub.name}--{hub.file.replace('/', '--')}")
    return target if target.is_file() else download(address, target)


def _token() -> str | None:
    token = (os.environ.get("HF_TOKEN") or "").strip()  # files that it is read from end in a new line
    if token and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(  # which never shows it
            "HF_TOKEN holds characters that no token has",
            hint="set it to the token alone: one word of ASCII characters",
        )
    return token or None


def _parse_hub(text: str) -> _HubName:
    place, at, revision = text.removeprefix(_HUB_PREFIX).partition("@")
    owner, name, *rest = [*place.split("/", 2), ""][:3] if "/" in place else ("", "", "")
    file = rest[0] or HUB_FILE
    parts = (owner, name, *file.split("/"), *(revision.split("/") if at else ["main"]))
    if not all(re.fullmatch(r"[\w.-]+", part) and part not in (".", "..") for part in parts):
        raise UsageError(f"{text!r} is no name on a hub", hint=f"weights come from {_FORMS}")
    return _HubName(owner=owner, name=name, file=file, revision=revision or "main")


def _from_url(text: str) -> Path:
    url, _, fragment = text.partition("#")
    check_scheme(url)
    key, equals, digits = fragment.lower().partition("=")
    if fragment and not (key == "sha256" and equals and _HEX_64.fullmatch(digits)):
        raise UsageError(
            f"the URL ends in #{fragment}, which is no checksum", hint="#sha256= and 64 hexadecimal digits"
        )
    parts = urlsplit(url)
    name = parts.path.rpartition("/")[2]
    if not Path(name).suffix:
        raise UsageError(f"the URL {url} ends in no file name", hint="name the file itself, a .safetensors for example")
    in_name = _HEX_IN_NAME.search(name) if parts.hostname == _PYTORCH_HOST else None
    sha256 = digits or (in_name[1] if in_name else "")
    target = _cached(url, name)
    # The checksum is no part of the name in the cache: whoever asks for one later gets the file that has it.
    if target.is_file() and (not sha256 or sha256_of(target).startswith(sha256)):
        return target
    return download(Address(url=url, sha256=sha256), target)


def _cached(url: str, name: str) -> Path:
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    stem, suffix = Path(plain).stem[:_MAX_NAME], Path(plain).suffix
    if stem.endswith(".weights"):  # Keras tells .weights.h5 from .h5
        stem, suffix = stem.removesuffix(".weights"), f".weights{suffix}"
    digits = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()[:16]
    return _downloads() / f"{stem}-{digits}{suffix}"


def _downloads() -> Path:
    return cache_folder() / "weights"
