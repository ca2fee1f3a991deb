"""One file over HTTPS: whole and as announced, or not at all."""

import hashlib
import http.client
import importlib
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from anysize.atomic import atomic_path
from anysize.errors import CheckpointError, UsageError
from anysize.version import __version__

__all__ = ["MAX_BYTES", "Address", "check_scheme", "download", "sha256_of"]

MAX_BYTES = 16 << 30
"""The largest file that is accepted."""

_TIMEOUT_SECONDS = 30.0
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 20
_THIS_MACHINE = ("localhost", "127.0.0.1")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


@dataclass(frozen=True, kw_only=True)
class Address:
    """What is asked for, and what is known of it beforehand."""

    url: str
    sha256: str = ""
    """The checksum in hexadecimal digits, or how it begins; empty: the server's word, where it gives one."""
    token: str | None = None
    """Sent to the scheme, host and port of ``url`` only, wherever they redirect to."""
    of_hub: bool = False
    """The server is a hub of Hugging Face, which announces length and checksum in headers of its own."""


@dataclass(frozen=True)
class _Announced:
    """What the headers say the file will be."""

    num_bytes: int | None
    sha256: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects come back as answers: each hop is checked, and the token stays at home."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing."""


def check_scheme(url: str) -> None:
    """Allow https, and http on this machine.

    Raises:
        UsageError: any other scheme or form of URL.
    """
    parts = _split(url)
    plain = parts.scheme == "http" and parts.hostname in _THIS_MACHINE
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise UsageError(
            f"weights are not taken from {_shown(url)}", hint="use https:// (http:// is for this machine only)"
        )
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"the URL to {parts.hostname} holds a name or a password, which would end in logs",
            hint="download the file yourself and pass its path",
        )


def sha256_of(path: Path) -> str:
    """Return the checksum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(address: Address, target: Path, *, max_bytes: int = MAX_BYTES) -> Path:
    """Download to ``target``, which appears only when it is whole and its checksum is right.

    A bar on standard error shows how far it is. A download that was cut begins anew the next time.

    Raises:
        CheckpointError: no connection, no such file, more than ``max_bytes``, or not what was announced.
    """
    try:
        response, announced = _open(address)
        with response, atomic_path(target) as temporary:
            _receive(response, temporary, address, announced, max_bytes)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise CheckpointError(
            f"cannot download {_shown(address.url)}: {reason or type(error).__name__}",
            hint="offline, download it elsewhere and pass the path of the file; through a proxy, set HTTPS_PROXY",
        ) from error
    return target


def _open(address: Address) -> tuple[Any, _Announced]:
    """Follow redirects to the file itself, and collect what is said of it on the way."""
    opener = urllib.request.build_opener(_NoRedirects)
    home = _origin(address.url)
    url, num_bytes, sha256 = address.url, None, address.sha256
    for _ in range(_MAX_REDIRECTS + 1):
        headers = {"User-Agent": f"anysize/{__version__}", "Accept-Encoding": "identity"}
        at_home = _origin(url) == home
        if address.token and at_home:
            headers["Authorization"] = f"Bearer {address.token}"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - check_scheme has seen it
        try:
            response = opener.open(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            response = error
        if address.of_hub and at_home:
            num_bytes = _number(response.headers, "X-Linked-Size") or num_bytes
            # An ETag of 64 digits is a SHA-256 on a hub only; other servers hash what they like.
            given = _SHA256.fullmatch(response.headers.get("X-Linked-ETag") or response.headers.get("ETag") or "")
            sha256 = given[1] if given else sha256
        if response.status in _REDIRECTS:
            response.close()
            url = _next_url(address, url, response.headers.get("Location"))
            continue
        if response.status != http.client.OK:
            response.close()
            raise _refused(address, response.status, response.reason)
        length = _number(response.headers, "Content-Length")
        return response, _Announced(length if num_bytes is None else num_bytes, sha256)
    raise CheckpointError(f"{_shown(address.url)} redirects more than {_MAX_REDIRECTS} times")


def _next_url(address: Address, url: str, location: str | None) -> str:
    """Check where a redirect leads: from the network to this machine's own servers it may not."""
    following = urljoin(url, location or "")
    check_scheme(following)
    if _split(following).scheme != "https" and _split(address.url).scheme == "https":
        raise CheckpointError(f"{_shown(address.url)} redirects to {_shown(following)}, which is not https")
    return following


def _receive(response: IO[bytes], target: Path, address: Address, announced: _Announced, max_bytes: int) -> None:
    total = announced.num_bytes
    if total is not None and total > max_bytes:
        raise _too_large(address, f"has {total:,} bytes", max_bytes)
    # Imported here: rich takes a fifth of a second to load, and most runs download nothing.
    console = importlib.import_module("anysize.console").Console()
    digest, done = hashlib.sha256(), 0
    shown = "unknown length" if total is None else f"{total / 2**20:,.1f} MiB"
    console.say(f"downloading {_shown(address.url)} ({shown})")
    with target.open("wb") as file, console.bar("MiB", _mib(total or 0)) as bar:
        while chunk := response.read(_CHUNK):
            done += len(chunk)
            if done > max_bytes:
                raise _too_large(address, "sends more", max_bytes)
            digest.update(chunk)
            file.write(chunk)
            bar.set(_mib(done), _mib(total or done))
    if total is not None and done != total:
        raise CheckpointError(
            f"the download of {_shown(address.url)} ended after {done:,} of {total:,} bytes", hint="try again"
        )
    if not digest.hexdigest().startswith(announced.sha256):
        raise CheckpointError(
            f"{_shown(address.url)} has the SHA-256 {digest.hexdigest()}, announced was {announced.sha256}; "
            "nothing was kept",
            hint="try again; if it happens twice, the file is not the one that was meant",
        )


def _refused(address: Address, status: int, reason: str) -> CheckpointError:
    # Hubs answer 401 for what does not exist, so as not to tell what does.
    hints = {401: "it does not exist, or set HF_TOKEN to a token that may read it"} if address.of_hub else {}
    hints |= {403: "ask its owner for access"}
    hints |= {404: "name the file and the revision: hf-hub:OWNER/NAME/FILE@REVISION"} if address.of_hub else {}
    return CheckpointError(
        f"{_shown(address.url)} answers {status} {reason}", hint=hints.get(status, "check the address, or try later")
    )


def _too_large(address: Address, what: str, max_bytes: int) -> CheckpointError:
    return CheckpointError(
        f"{_shown(address.url)} {what}; at most {max_bytes:,} are accepted",
        hint="download it yourself and pass the path of the file",
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed when it is asked for
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}", hint="use https:// and the address of a file") from error
    return parts


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = _split(url)
    return parts.scheme, parts.hostname, parts.port


def _shown(url: str) -> str:
    """Return the URL without its query: signatures are no business of a log."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return f"{parts.scheme}://{host}{parts.path}"


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name) or ""
    return int(text) if text.isdecimal() else None


def _mib(num_bytes: int) -> int:
    return -(-num_bytes >> 20)
