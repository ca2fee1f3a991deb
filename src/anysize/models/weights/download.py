"""One file over HTTPS: whole and as announced, or not at all."""

import hashlib
import http.client
import importlib
import ipaddress
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from anysize.atomic import atomic_path
from anysize.errors import CheckpointError, UsageError
from anysize.version import __version__

__all__ = ["MAX_BYTES", "Address", "ascii_url", "check_scheme", "download", "sha256_of"]

MAX_BYTES = 16 << 30
"""The largest file that is accepted."""

_TIMEOUT_SECONDS = 30.0
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 20
_THIS_MACHINE = ("localhost", "127.0.0.1")
_NOT_QUOTED = "%/:=&?~#+!$,;'@()*[]"  # what has a meaning in a URL, or is quoted already
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

    def http_error_302(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing, and do not even look where it leads: urllib stumbles over what is no URL."""

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def check_scheme(url: str) -> None:
    """Allow https, and http on this machine.

    Raises:
        UsageError: any other scheme or form of URL.
    """
    parts = _split(url)
    if "%" in parts.netloc:  # urllib would decode it, to a host that nobody has checked
        raise _no_url(_shown(url), "its host holds a %")
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


def ascii_url(url: str) -> str:
    """Return a URL as it is sent: the host in IDNA, all else that is not ASCII in percent signs.

    Raises:
        UsageError: there can be no such host.
    """
    parts = _split(url)
    host = parts.hostname or ""
    if not parts.netloc.isascii():
        try:
            named = host.encode("idna").decode()
        except UnicodeError as error:
            raise _no_url(url, f"no host can be called {host!r}") from error
        url = parts._replace(netloc=f"{named}:{parts.port}" if parts.port else named).geturl()
    return quote(url, safe=_NOT_QUOTED, errors="surrogateescape")


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
    url, num_bytes, sha256 = ascii_url(address.url), None, address.sha256
    home = _origin(url)
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
        _check_encoding(address, response)
        length = _number(response.headers, "Content-Length")
        return response, _Announced(length if num_bytes is None else num_bytes, sha256)
    raise CheckpointError(f"{_shown(address.url)} redirects more than {_MAX_REDIRECTS} times")


def _next_url(address: Address, url: str, location: str | None) -> str:
    """Check where a redirect leads: from the network to this machine's own servers it may not."""
    try:
        # Headers come as Latin-1, whatever the server wrote: so quoted, the bytes are the same.
        following = urljoin(url, quote(location or "", safe=_NOT_QUOTED, encoding="latin-1"))
        _ = urlsplit(following).port
    except ValueError as error:
        raise CheckpointError(f"{_shown(address.url)} redirects to what is no URL: {error}") from error
    check_scheme(following)
    first, then = _split(address.url), _split(following)
    if then.scheme != "https" and first.scheme == "https":
        raise CheckpointError(f"{_shown(address.url)} redirects to {_shown(following)}, which is not https")
    if _is_here(then.hostname) and not _is_here(first.hostname):
        raise CheckpointError(f"{_shown(address.url)} redirects to {_shown(following)}, which is on this machine")
    return following


def _is_here(host: str | None) -> bool:
    """Whether a host is this machine, however it is written: 127.1 and 2130706433 are 127.0.0.1, too."""
    name = (host or "").rstrip(".")
    try:
        numbers = socket.inet_pton(socket.AF_INET6, name) if ":" in name else socket.inet_aton(name)
    except (OSError, ValueError):
        return name in _THIS_MACHINE or name.endswith(".localhost")
    number = ipaddress.ip_address(numbers)
    number = getattr(number, "ipv4_mapped", None) or number
    return number.is_loopback or number.is_unspecified


def _check_encoding(address: Address, response: Any) -> None:
    encoding = response.headers.get("Content-Encoding") or "identity"
    if encoding.strip().lower() != "identity":
        response.close()
        raise CheckpointError(
            f"{_shown(address.url)} is sent with the Content-Encoding {encoding!r}, and was asked for as it is",
            hint="download it elsewhere and pass the path of the file",
        )


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
        raise _no_url(url, error) from error
    return parts


def _no_url(url: str, why: object) -> UsageError:
    return UsageError(f"{url!r} is no URL: {why}", hint="use https:// and the address of a file")


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
