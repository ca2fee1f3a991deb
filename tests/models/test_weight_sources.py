"""Where weights come from: paths, URLs and hub names, with a server on this machine that does what servers do."""

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

import anysize
from anysize.errors import AnysizeError, CheckpointError, UsageError
from anysize.models.named import import_zoo
from anysize.models.weights import sources
from anysize.models.weights.download import Address, _next_url, ascii_url, download
from anysize.models.weights.sources import local_file

CONTENT = bytes(range(256)) * 5000  # more than one chunk of a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FORMS = "a path, an https:// URL (with #sha256=... to check it), or hf-hub:OWNER/NAME[/FILE][@REVISION]"

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """What it answers to a path, and what it was asked."""

    port: int = 0
    answers: dict[str, Callable[[], Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def put(self, path: str, content: bytes = CONTENT, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = lambda: (status, {"Content-Length": str(len(content))} | named, content)

    def redirect(self, path: str, target: str, status: int = 302, **headers: str) -> None:
        self.put(path, b"", status, Location=target, **headers)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append((self.path, dict(self.headers)))
            path = urlsplit(self.path).path
            status, headers, content = state.answers.get(path, lambda: (404, {"Content-Length": "0"}, b""))()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.port = running.server_address[1]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYSIZE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def failure(source: str, kind: type[AnysizeError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        local_file(source)
    return str(caught.value)


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    assert failure(str(path)) == f"there are no weights at {path}\nhint: weights come from {FORMS}"
    assert failure(str(tmp_path)) == (
        f"{tmp_path} is a folder; weights are one file\nhint: it holds no .safetensors file"
    )
    path.write_bytes(CONTENT)
    assert local_file(path) == local_file(str(path)) == path
    assert failure(str(tmp_path)) == f"{tmp_path} is a folder; weights are one file\nhint: use {path}"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_file("~/a.safetensors") == path


def test_a_download_is_kept(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.put("/some/model.weights.h5")
    url = server.url("/some/model.weights.h5?signature=secret")
    path = local_file(url)
    assert path.read_bytes() == CONTENT
    assert path.parent == cache
    assert path.name.startswith("model-")
    assert path.name.endswith(".weights.h5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"downloading {server.url('/some/model.weights.h5')} (1.2 MiB)\n"
    assert local_file(url) == path
    assert len(server.requests) == 1, "the cache was asked, not the server"
    assert local_file(server.url("/some/model.weights.h5?signature=other")) != path
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


def test_an_unknown_length(server: Server, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["/a.pth"] = lambda: (200, {}, CONTENT)
    assert local_file(server.url("/a.pth")).read_bytes() == CONTENT
    assert capsys.readouterr().err == f"downloading {server.url('/a.pth')} (unknown length)\n"


def test_checksums(server: Server, cache: Path) -> None:
    server.put("/a.pth")
    url = server.url("/a.pth")
    wrong = "0" * 64
    message = (
        f"{url} has the SHA-256 {SHA256}, announced was {wrong}; nothing was kept\n"
        "hint: try again; if it happens twice, the file is not the one that was meant"
    )
    assert failure(f"{url}#sha256={wrong}") == message
    assert files(cache) == []
    path = local_file(f"{url}#sha256={SHA256.upper()}")
    assert path == local_file(url) == local_file(f"{url}#sha256={SHA256}")
    assert len(server.requests) == 2
    path.write_bytes(b"damaged")
    assert failure(f"{url}#sha256={wrong}") == message
    assert local_file(f"{url}#sha256={SHA256}").read_bytes() == CONTENT, "downloaded anew: what lay there was not it"
    assert failure(f"{url}#sha1=12", UsageError) == (
        "the URL ends in #sha1=12, which is no checksum\nhint: #sha256= and 64 hexadecimal digits"
    )


def test_downloads_that_fail_leave_nothing(server: Server, cache: Path) -> None:
    url = server.url("/a.pth")
    assert failure(url) == f"{url} answers 404 Not Found\nhint: check the address, or try later"
    server.put("/a.pth", b"", 503)
    assert failure(url) == f"{url} answers 503 Service Unavailable\nhint: check the address, or try later"
    server.answers["/a.pth"] = lambda: (200, {"Content-Length": str(len(CONTENT) + 7)}, CONTENT)
    assert failure(url) == f"the download of {url} ended after 1,280,000 of 1,280,007 bytes\nhint: try again"
    assert files(cache) == []
    server.put("/a.pth")
    assert local_file(url).read_bytes() == CONTENT


def test_files_that_are_too_large(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "kept" / "a.pth"
    hint = "hint: download it yourself and pass the path of the file"
    for answer, what in (({"Content-Length": "1280000"}, "has 1,280,000 bytes"), ({}, "sends more")):
        server.answers["/a.pth"] = lambda answer=answer: (200, answer, CONTENT)  # type: ignore[misc]
        with pytest.raises(CheckpointError) as caught:
            download(Address(url=server.url("/a.pth")), target, max_bytes=1_279_999)
        assert str(caught.value) == f"{server.url('/a.pth')} {what}; at most 1,279,999 are accepted\n{hint}"
        assert files(target.parent) == []
    assert download(Address(url=server.url("/a.pth")), target, max_bytes=1_280_000).read_bytes() == CONTENT


def test_offline(server: Server, cache: Path) -> None:
    port = server.port
    server.port = 1  # where nothing listens
    assert failure(server.url("/a.pth")) == (
        "cannot download http://127.0.0.1:1/a.pth: [Errno 111] Connection refused\n"
        "hint: offline, download it elsewhere and pass the path of the file; through a proxy, set HTTPS_PROXY"
    )
    server.port = port


def test_redirects(server: Server, cache: Path) -> None:
    server.put("/real.pth")
    server.redirect("/0.pth", "/real.pth", 307)
    for turn in range(1, 7):
        server.redirect(f"/{turn}.pth", server.url(f"/{turn - 1}.pth"), (301, 302, 303, 307, 308)[turn % 5])
    assert local_file(server.url("/4.pth")).read_bytes() == CONTENT
    assert failure(server.url("/5.pth")) == f"{server.url('/5.pth')} redirects more than 5 times"
    server.redirect("/away.pth", "ftp://example.org/a.pth")
    assert failure(server.url("/away.pth"), UsageError) == (
        "weights are not taken from ftp://example.org/a.pth\nhint: use https:// (http:// is for this machine only)"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "http://a.org/a.pth",
            "weights are not taken from http://a.org/a.pth\nhint: use https:// (http:// is for this machine only)",
        ),
        (
            "file:///etc/passwd",
            "weights are not taken from file:///etc/passwd\nhint: use https:// (http:// is for this machine only)",
        ),
        (
            "https://me:word@example.org/a.pth",
            "the URL to example.org holds a name or a password, which would end in logs\n"
            "hint: download the file yourself and pass its path",
        ),
        (
            "https://example.org:port/a.pth",
            "'https://example.org:port/a.pth' is no URL: Port could not be cast to integer value as 'port'\n"
            "hint: use https:// and the address of a file",
        ),
        (
            "https://example.org/weights",
            "the URL https://example.org/weights ends in no file name\n"
            "hint: name the file itself, a .safetensors for example",
        ),
        ("hf-hub:timm", f"'hf-hub:timm' is no name on a hub\nhint: weights come from {FORMS}"),
        ("hf-hub:timm/../etc", f"'hf-hub:timm/../etc' is no name on a hub\nhint: weights come from {FORMS}"),
        ("hf-hub:timm/a@", f"'hf-hub:timm/a@' is no name on a hub\nhint: weights come from {FORMS}"),
        ("hf-hub:timm/a?b", f"'hf-hub:timm/a?b' is no name on a hub\nhint: weights come from {FORMS}"),
        ("hf-hub:a/b/../../c@main", f"'hf-hub:a/b/../../c@main' is no name on a hub\nhint: weights come from {FORMS}"),
    ],
)
def test_sources_that_are_refused(source: str, message: str) -> None:
    assert failure(source, UsageError) == message


HUB_PATHS = {
    "resnet18.a1_in1k": "/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
    "hf-hub:timm/resnet18.a1_in1k": "/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
    "hf-hub:timm/resnet18.a1_in1k@v1.0": "/timm/resnet18.a1_in1k/resolve/v1.0/model.safetensors",
    "hf-hub:me/net/sub/last.pth@refs/pr/1": "/me/net/resolve/refs%2Fpr%2F1/sub/last.pth",
}


@pytest.mark.parametrize("source", HUB_PATHS)
def test_hub_names(source: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url("/"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # Another name of the same machine is another host: the token stays away from it.
    away = server.url("/bucket/1234?signature=x", host="localhost")
    server.redirect(HUB_PATHS[source], away, X_Linked_ETag=f'"{SHA256}"', X_Linked_Size=str(len(CONTENT)))
    server.put("/bucket/1234", ETag='"1234567890abcdef"')
    path = local_file(source)
    assert path.read_bytes() == CONTENT
    assert [asked for asked, _ in server.requests] == [HUB_PATHS[source], "/bucket/1234?signature=x"]
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Bearer hf_secret", None]
    assert local_file(source) == path
    assert len(server.requests) == 2
    assert files(cache) == [path.name]


def test_hubs_announce_what_they_send(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url(""))
    place = HUB_PATHS["hf-hub:timm/resnet18.a1_in1k"]
    server.put("/file", CONTENT[:-1] + b"x")
    server.redirect(place, "/file", X_Linked_ETag=f'"{SHA256}"', X_Linked_Size=str(len(CONTENT)))
    message = failure("hf-hub:timm/resnet18.a1_in1k")
    assert message.startswith(f"{server.url(place)} has the SHA-256 ")
    assert f", announced was {SHA256}; nothing was kept\n" in message
    server.redirect(place, "/file", X_Linked_Size=str(len(CONTENT) + 1))
    assert failure("hf-hub:timm/resnet18.a1_in1k") == (
        f"the download of {server.url(place)} ended after 1,280,000 of 1,280,001 bytes\nhint: try again"
    )
    # Small files are kept in git: their ETag is no SHA-256, and nothing is checked but the length.
    server.put(place, ETag='"da39a3ee5e6b4b0d3255bfef95601890afd80709"')
    assert local_file("hf-hub:timm/resnet18.a1_in1k").read_bytes() == CONTENT
    # Whatever another server's ETag is a hash of.
    server.put("/a.pth", ETag=f'"{"0" * 64}"')
    assert local_file(server.url("/a.pth")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "it does not exist, or set HF_TOKEN to a token that may read it"),
        (403, "ask its owner for access"),
        (404, "name the file and the revision: hf-hub:OWNER/NAME/FILE@REVISION"),
    ],
)
def test_hubs_that_refuse(status: int, hint: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url(""))
    place = HUB_PATHS["hf-hub:timm/resnet18.a1_in1k"]
    server.put(place, b"", status)
    reason = {401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}[status]
    assert failure("hf-hub:timm/resnet18.a1_in1k") == f"{server.url(place)} answers {status} {reason}\nhint: {hint}"


def test_endpoints_need_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example.org")
    assert failure("hf-hub:timm/resnet18.a1_in1k", UsageError) == (
        "weights are not taken from http://mirror.example.org/timm/resnet18.a1_in1k/resolve/main/model.safetensors\n"
        "hint: use https:// (http:// is for this machine only)"
    )


def test_what_is_asked_of_servers_elsewhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Address, Path]] = []

    def note(address: Address, target: Path) -> Path:
        asked.append((address, target))
        return target

    monkeypatch.setattr(sources, "download", note)
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    models = import_zoo("torchvision").models
    local_file(models.ResNet18_Weights.IMAGENET1K_V1.url)
    local_file("https://example.org/resnet18-f37072fd.pth")
    local_file("resnet18.a1_in1k")
    assert [address for address, _ in asked] == [
        # PyTorch's server puts the beginning of the checksum into the name; elsewhere such digits mean anything.
        Address(url="https://download.pytorch.org/models/resnet18-f37072fd.pth", sha256="f37072fd"),
        Address(url="https://example.org/resnet18-f37072fd.pth"),
        Address(url="https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors", of_hub=True),
    ]
    assert {target.parent for _, target in asked} == {cache}
    assert asked[2][1].name.startswith("timm--resnet18.a1_in1k--model-")


def test_nobody_is_led_from_the_network_to_this_machine() -> None:
    address = Address(url="https://example.org/a.pth")
    with pytest.raises(CheckpointError) as caught:
        _next_url(address, address.url, "http://127.0.0.1:631/admin")
    assert str(caught.value) == (
        "https://example.org/a.pth redirects to http://127.0.0.1:631/admin, which is not https"
    )
    assert _next_url(address, address.url, "../b?c=d") == "https://example.org/b?c=d"
    names = ("127.0.0.1", "localhost", "localhost.", "127.1", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]")
    for host in names:
        with pytest.raises(CheckpointError) as caught:
            _next_url(address, address.url, f"https://{host}/admin")
        shown = host.strip("[]")
        assert str(caught.value) == (
            f"https://example.org/a.pth redirects to https://{shown}/admin, which is on this machine"
        )
    with pytest.raises(UsageError, match="'https://%6cocalhost/a' is no URL: its host holds a %"):
        _next_url(address, address.url, "https://%6cocalhost/a")
    here = Address(url="https://localhost/a.pth")
    assert _next_url(here, here.url, "https://127.0.0.1/b.pth") == "https://127.0.0.1/b.pth"


def test_addresses_that_are_not_ascii(server: Server, cache: Path) -> None:
    server.put("/mod%C3%A8le%20a.pth")
    assert local_file(server.url("/modèle a.pth?c=ü")).read_bytes() == CONTENT
    assert local_file(server.url("/mod%C3%A8le%20a.pth")).read_bytes() == CONTENT
    server.redirect("/a.pth", "/modèle a.pth".encode().decode("latin-1"))  # bytes of UTF-8, as the server writes them
    assert local_file(server.url("/a.pth")).read_bytes() == CONTENT
    asked = "/mod%C3%A8le%20a.pth"
    assert [path for path, _ in server.requests] == [f"{asked}?c=%C3%BC", asked, "/a.pth", asked]
    server.redirect("/b.pth", "https://[bad/a?signature=secret")
    assert failure(server.url("/b.pth")) == f"{server.url('/b.pth')} redirects to what is no URL: Invalid IPv6 URL"
    assert ascii_url("https://bücher.example:8080/ü?a=%20#b") == "https://xn--bcher-kva.example:8080/%C3%BC?a=%20#b"
    assert failure("https://ü..example/a.pth", UsageError) == (
        "'https://ü..example/a.pth' is no URL: no host can be called 'ü..example'\n"
        "hint: use https:// and the address of a file"
    )


def test_tokens_that_are_none(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url(""))
    server.put(HUB_PATHS["resnet18.a1_in1k"])
    for token in ("hf_SEC\nRET", "hf_SECRET hf_SECRET", "hf_SECRÊT"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert failure("resnet18.a1_in1k", UsageError) == (
            "HF_TOKEN holds characters that no token has\nhint: set it to the token alone: one word of ASCII characters"
        )
    assert server.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET\n")
    local_file("resnet18.a1_in1k")
    assert server.requests[0][1]["Authorization"] == "Bearer hf_SECRET"


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.h5", "a.keras"])
def test_what_cannot_be_read_is_not_kept(name: str, server: Server, cache: Path, tmp_path: Path) -> None:
    if name.endswith(("h5", "keras")):
        pytest.importorskip("h5py")
    model = anysize.models.create_model("fcn_small", num_classes=2, in_channels=1)
    server.put(f"/{name}", b"<html>log in</html>")
    for turn in (1, 2):
        with pytest.raises(CheckpointError) as caught:
            anysize.load_weights(model, server.url(f"/{name}"))
        assert str(caught.value).endswith(
            "\nhint: what the server sent was removed from the cache: check the address, and try again"
        )
        assert files(cache) == []
        assert len(server.requests) == turn
    mine = tmp_path / name
    mine.write_bytes(b"<html>log in</html>")
    with pytest.raises(CheckpointError, match="a"):
        anysize.load_weights(model, mine)
    assert mine.exists(), "only what was downloaded is removed"


@pytest.mark.parametrize(("stored", "message"), [({"a": torch.zeros(1)}, "missing"), ([1], "not tensors by name")])
def test_what_can_be_read_is_kept(stored: object, message: str, server: Server, cache: Path) -> None:
    content = io.BytesIO()
    torch.save(stored, content)
    server.put("/a.pth", content.getvalue())
    for _ in range(2):
        with pytest.raises(CheckpointError, match=message):
            anysize.load_weights(torch.nn.Linear(1, 1), server.url("/a.pth"))
    assert len(files(cache)) == len(server.requests) == 1


def test_encoded_answers_are_refused(server: Server, cache: Path) -> None:
    server.put("/a.pth", Content_Encoding="gzip")
    assert failure(server.url("/a.pth")) == (
        f"{server.url('/a.pth')} is sent with the Content-Encoding 'gzip', and was asked for as it is\n"
        "hint: download it elsewhere and pass the path of the file"
    )
    assert files(cache) == []
    server.put("/a.pth", Content_Encoding="Identity")
    assert local_file(server.url("/a.pth")).read_bytes() == CONTENT


def test_only_what_has_a_checksum_is_hashed(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.put("/a.pth")
    path = local_file(server.url("/a.pth"))
    hashed: list[Path] = []
    monkeypatch.setattr(sources, "sha256_of", lambda path: hashed.append(path) or SHA256)
    assert local_file(server.url("/a.pth")) == path
    assert hashed == []
    assert local_file(f"{server.url('/a.pth')}#sha256={SHA256}") == path
    assert hashed == [path]
