"""Downloads from a server on this machine that cuts, lies, redirects and ignores."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headstart import downloads
from headstart.downloads import download
from headstart.errors import DownloadError

DATA = bytes(range(256)) * 4000
CUT = 4 * downloads._CHUNK
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class Site:
    """What the server does, and what it was asked."""

    url: str = ""
    data: bytes = DATA
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    after_cut: list[int] = field(default_factory=list)  # refusals after an answer that broke off
    statuses: list[int] = field(default_factory=list)  # refusals before the first answer
    with_length: bool = True
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(dict(handler.headers))
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        if handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", "/file")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = self.start(handler)
        if start is not None and start >= len(self.data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.data)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = self.data[start or 0 :]
        handler.send_response(200 if start is None else 206)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if start is not None:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        if self.with_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else len(body)
        if cut < len(body):
            self.statuses, self.after_cut = self.after_cut, []
        handler.wfile.write(body[:cut])
        handler.close_connection = True

    def start(self, handler: http.server.BaseHTTPRequestHandler) -> int | None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        if not asked or not self.ranges or (condition and condition not in self.headers.values()):
            return None
        return int(asked.removeprefix("bytes=").rstrip("-"))


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    site = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that has seen enough hangs up; that is no news."""

    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}/file"
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "new" / "file.zip"


def refused(site: Site, target: Path, **promised) -> str:
    """The message with which a download ends; nothing may stand at the target."""
    with pytest.raises(DownloadError) as caught:
        download(site.url, target, **promised)
    assert not target.exists()
    assert len(str(caught.value).splitlines()) <= 3
    assert "local file" in str(caught.value)
    return str(caught.value)


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_whole_file(site, target):
    steps = []
    assert (
        download(site.url, target, sha256=SHA256.upper(), size=len(DATA), progress=lambda *s: steps.append(s)) == target
    )
    assert target.read_bytes() == DATA
    assert left(target) == ["file.zip"]
    assert steps[-1] == (len(DATA), len(DATA))
    assert steps == sorted(steps)


def test_what_is_here_and_fits_is_not_fetched(site, target):
    for _ in range(2):
        download(site.url, target, sha256=SHA256)
    assert len(site.asked) == 1
    target.write_bytes(b"changed")
    download(site.url, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert len(site.asked) == 2


@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"Last-Modified": "Sat, 01 Nov 2025 10:00:00 GMT"}])
def test_cut_connections_are_continued(site, target, headers):
    site.headers, site.cuts = headers, [CUT, CUT // 2]
    steps = []
    download(site.url, target, size=len(DATA), progress=lambda *s: steps.append(s))
    assert target.read_bytes() == DATA
    assert [asked.get("Range") for asked in site.asked] == [None, f"bytes={CUT}-", f"bytes={CUT + CUT // 2}-"]
    assert site.asked[1]["If-Range"] == next(iter(headers.values()))
    assert steps[-1] == (len(DATA), len(DATA))


def test_a_part_is_continued_in_a_later_run(site, target):
    site.cuts, site.after_cut = [CUT], [503] * downloads.ATTEMPTS
    assert f"{CUT:,} bytes, which are kept: the server answered 503" in refused(site, target)
    download(site.url, target)
    assert target.read_bytes() == DATA
    assert site.asked[-1]["Range"] == f"bytes={CUT}-"


def test_a_part_of_another_version_is_not_continued(site, target):
    site.cuts, site.after_cut = [CUT], [404]
    refused(site, target)
    site.data, site.headers = DATA[::-1], {"ETag": '"two"'}
    download(site.url, target)
    assert target.read_bytes() == DATA[::-1]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_mark_a_part_starts_again(site, target, headers):
    site.headers, site.cuts = headers, [CUT]
    download(site.url, target)
    assert target.read_bytes() == DATA
    assert "Range" not in site.asked[1]


def test_without_a_mark_a_digest_lets_a_part_go_on(site, target):
    site.headers, site.cuts = {}, [CUT]
    download(site.url, target, sha256=SHA256)
    assert site.asked[1]["Range"] == f"bytes={CUT}-"
    assert target.read_bytes() == DATA


def test_a_server_that_ignores_ranges(site, target):
    site.ranges, site.cuts = False, [CUT]
    download(site.url, target, size=len(DATA))
    assert site.asked[1]["Range"] == f"bytes={CUT}-"
    assert target.read_bytes() == DATA


def test_a_part_that_is_whole_already(site, target):
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(DATA)
    download(site.url, target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert left(target) == ["file.zip"]


def test_a_part_that_is_too_long_starts_again(site, target):
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(DATA + b"more")
    download(site.url, target, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_wrong_digest_keeps_nothing(site, target):
    assert "SHA-256" in refused(site, target, sha256="0" * 64)
    assert left(target) == []


@pytest.mark.parametrize("with_length", [True, False])
def test_wrong_size_keeps_nothing(site, target, with_length):
    site.with_length = with_length
    message = refused(site, target, size=1000)
    assert "expected 1,000" in message
    assert left(target) == []
    assert "expected 2,000,000" in refused(site, target, size=2_000_000)


def test_a_cut_without_a_length_is_seen_by_size(site, target):
    site.with_length, site.cuts = False, [CUT]
    assert f"{CUT:,} bytes, expected 1,024,000" in refused(site, target, size=len(DATA))


def test_passing_trouble_is_waited_out(site, target, monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(downloads, "PAUSE", 0.5)
    site.statuses = [503, 429, 500]
    download(site.url, target)
    assert target.read_bytes() == DATA
    assert pauses == [0.5, 1.0, 2.0]


def test_many_cuts_do_not_end_it_while_bytes_arrive(site, target):
    site.cuts = [downloads._CHUNK] * (2 * downloads.ATTEMPTS)
    download(site.url, target, sha256=SHA256)
    assert len(site.asked) == 2 * downloads.ATTEMPTS + 1


def test_lasting_trouble_ends(site, target):
    site.statuses = [503] * 20
    assert "answered 503" in refused(site, target)
    assert len(site.asked) == downloads.ATTEMPTS


@pytest.mark.parametrize("status", [404, 403])
def test_refusals_are_not_repeated(site, target, status):
    site.statuses = [status]
    assert f"answered {status}" in refused(site, target)
    assert len(site.asked) == 1


def test_redirects_are_followed(site, target):
    download(site.url.replace("/file", "/moved"), target, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_no_connection(site, target):
    site.url = "http://127.0.0.1:1/x"
    assert "refused" in refused(site, target)


@pytest.mark.parametrize("url", ["ftp://example.org/x", "file:///etc/passwd", "http:///x", "x.zip"])
def test_other_schemes_are_refused(site, target, url):
    site.url = url
    assert "only http:// and https://" in refused(site, target)


def test_a_target_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(site.url, tmp_path / "file" / "x.zip")
