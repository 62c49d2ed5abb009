"""One file from the web: resumed where it was cut, checked before it counts. Names no host itself."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headstart.errors import DownloadError
from headstart.files import file_digest

if TYPE_CHECKING:
    import urllib3

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes there will be, where that is known."""

ATTEMPTS = 5
"""Attempts in a row that bring nothing; one that brings some of the file starts the count again."""

PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one."""

_CHUNK = 2**16
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_HINT = "Try again, or fetch it by other means and give the path of the local file instead."


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch `url` to `target`, unless it is there already and fits.

    What arrives goes to `<target>.part` and is renamed once it is whole and checked. A part that was cut is
    continued, if the server's ETag or Last-Modified (or `sha256`) says that it is still the same file. Proxies
    are taken from the environment.

    Args:
        url: http or https.
        target: the file to write; its folder is made where it is missing.
        sha256: of the whole file, 64 hexadecimal digits.
        size: of the whole file, in bytes.
        progress: called with bytes here and bytes in all (None where the server does not say).

    Returns:
        `target`.

    Raises:
        DownloadError: no connection, an answer other than the file, or another file than promised. At most three
            lines; what arrived of the right file is kept for the next time.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise DownloadError(f"{url} cannot be fetched: only http:// and https:// are.\n{_HINT}")
    wanted = _Wanted(url, target, sha256.lower() if sha256 else None, size)
    if target.is_file() and wanted.fault(target) is None:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(wanted, progress)
        fault = wanted.fault(wanted.part)
        if fault:
            wanted.forget()
            raise DownloadError(f"{url} sent another file than was promised: {fault}.\n{_HINT}")
        with open(wanted.part, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(wanted.part, target)
        wanted.forget()
    except OSError as error:
        raise DownloadError(f"{url} cannot be written to {target}: {error.strerror or error}.\n{_HINT}") from None
    return target


@dataclass(frozen=True)
class _Wanted:
    """What is to be fetched, and where its parts lie meanwhile."""

    url: str
    target: Path
    sha256: str | None
    size: int | None

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def about(self) -> Path:
        """What the server said the part is a part of."""
        return self.target.with_name(self.target.name + ".part.json")

    @property
    def here(self) -> int:
        """How many bytes of the part there are."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def fault(self, path: Path) -> str | None:
        came = path.stat().st_size
        if self.size is not None and came != self.size:
            return f"{came:,} bytes, expected {self.size:,}"
        if self.sha256 is not None and (found := file_digest(path)) != self.sha256:
            return f"SHA-256 {found[:12]}…, expected {self.sha256[:12]}…"
        return None

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def resume(self) -> dict[str, str]:
        """The headers that ask for the rest of the part; none where it cannot be told to be of the same file."""
        here = self.here
        try:
            about = json.loads(self.about.read_text("utf-8"))
            mark = about["mark"] if about["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            mark = None
        if not here or not (mark or self.sha256):
            return {}
        return {"Range": f"bytes={here}-"} | ({"If-Range": mark} if isinstance(mark, str) else {})


def _fetch(wanted: _Wanted, progress: Progress | None) -> None:
    """Get the whole part, in as many attempts as are allowed."""
    import urllib3

    reason, vain, here = "", 0, wanted.here
    with _pool(wanted.url) as pool:
        while vain < ATTEMPTS:
            if reason:
                time.sleep(PAUSE * 2 ** max(vain - 1, 0))
            try:
                reason = _attempt(pool, wanted, progress)
            except urllib3.exceptions.HTTPError as error:
                reason = _plain(error)
            if not reason:
                return
            before, here = here, wanted.here
            vain = 0 if here > before else vain + 1
    kept = f" after {here:,} bytes, which are kept" if here else ""
    raise DownloadError(f"{wanted.url} cannot be fetched{kept}: {reason}.\n{_HINT}")


def _pool(url: str) -> urllib3.PoolManager:
    import urllib3

    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}")
    return urllib3.PoolManager()


def _attempt(pool: urllib3.PoolManager, wanted: _Wanted, progress: Progress | None) -> str:
    """One request. Returns why another attempt is due, or nothing once the part is whole.

    Raises what no further attempt can mend.
    """
    import urllib3

    asked = wanted.resume()
    here = int(asked["Range"][6:-1]) if asked else 0
    response: Any = pool.request(
        "GET",
        wanted.url,
        headers={"Accept-Encoding": "identity", "User-Agent": "headstart", **asked},
        preload_content=False,
        timeout=urllib3.Timeout(connect=15, read=60),
        retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=10),
    )
    try:
        if response.status == 416 or (response.status == 206 and _start(response) != here):
            whole = wanted.size == here or response.headers.get("Content-Range") == f"bytes */{here}"
            if not whole:
                wanted.forget()
            return "" if whole else "the server has no such part of the file"
        if response.status in _PASSING:
            return f"the server answered {response.status}"
        if response.status not in (200, 206):
            raise DownloadError(f"{wanted.url} cannot be fetched: the server answered {response.status}.\n{_HINT}")
        if wanted.url.startswith("https:") and str(response.url or "").startswith("http:") and not wanted.sha256:
            raise DownloadError(f"{wanted.url} leads to an unprotected address; it was not followed.\n{_HINT}")
        _receive(response, wanted, here if response.status == 206 else 0, progress)
        return ""
    finally:
        response.close()


def _receive(response: Any, wanted: _Wanted, here: int, progress: Progress | None) -> None:
    left = response.headers.get("Content-Length", "")
    total = here + int(left) if left.isdecimal() else wanted.size
    if wanted.size is not None and total != wanted.size:
        wanted.forget()
        raise DownloadError(
            f"{wanted.url} is another file than was promised: {total:,} bytes, expected {wanted.size:,}.\n{_HINT}"
        )
    tag = response.headers.get("ETag", "")
    mark = response.headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
    wanted.about.write_text(json.dumps({"url": wanted.url, "mark": mark}), "utf-8")
    with open(wanted.part, "ab" if here else "wb") as handle:
        for chunk in response.stream(_CHUNK):
            handle.write(chunk)
            here += len(chunk)
            if wanted.size is not None and here > wanted.size:
                break  # more than promised: the size check names it
            if progress:
                progress(here, total)


def _start(response: Any) -> int | None:
    """Where the part begins that the server sent."""
    said = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return int(said) if said.isdecimal() else None


def _plain(error: Exception) -> str:
    """The root of a connection error in one line."""
    import urllib3.exceptions as known

    reason: Any = getattr(error, "reason", None) or error
    plain = {
        known.ProtocolError: "the connection broke off",
        known.NameResolutionError: "the host is not known here, or there is no network",
        known.ConnectTimeoutError: "the host did not answer",
        known.ReadTimeoutError: "the server stopped sending",
    }
    if type(reason) in plain:
        return plain[type(reason)]
    text = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    return text.rsplit(": ", 1)[-1].rstrip(".")[:200]
