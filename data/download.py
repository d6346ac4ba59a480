"""Downloads that survive being cut, and never give a file that is not the one asked for."""

import contextlib
import errno
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from ..runtime.cache import lock_of
from ..runtime.errors import DataError, OutputError
from ..runtime.files import check_writable, sha256

# Told after each block: bytes present so far, and bytes in all or None when the server does not say.
Progress = Callable[[int, int | None], None]

BLOCK_BYTES = 1 << 16
TIMEOUT_S = 30.0
ATTEMPTS = 5
FIRST_PAUSE_S = 0.2  # doubled after each cut
LOCK_PAUSE_S = 0.2  # between two looks at another process's lock, on Windows


class _CutError(Exception):
    """The connection ended before the file did."""


def download(url: str, digest: str, path: Path, *, progress: Progress | None = None) -> Path:
    """Bring a file from the network, once.

    The bytes gather in `<path>.part`; a later call goes on where an earlier one was cut, if the server can (HTTP Range). Only a file with
    the right hash gets the name `path`. Other processes that want the same file wait and then use it. The lock file that stays beside it
    also tells `edgerec cache --clear` that the file came from here.

    Args:
        url: Where the file is.
        digest: Its SHA-256, 64 hexadecimal digits.
        path: Where to put it; a file that is there with the right hash is taken as it is.
        progress: Called after each block of 64 KiB.

    Returns:
        `path`.

    Raises:
        DataError: No network, the server refuses, or the file has another hash.
        OutputError: The folder is missing or read-only, or the disk is full.
    """
    check_writable(path)
    with _alone(path):
        if not (path.is_file() and sha256(path) == digest):
            part = path.with_name(path.name + ".part")
            _gather(url, digest, part, path, progress)
            part.replace(path)
    return path


def _gather(url: str, digest: str, part: Path, path: Path, progress: Progress | None) -> None:
    """Leave the right bytes in `part`."""
    resumed = part.exists()
    _fetch(url, part, path, progress)
    if resumed and sha256(part) != digest:
        # What was there came from another version of the file; once more from the start.
        part.unlink()
        _fetch(url, part, path, progress)
    found = sha256(part)
    if found != digest:
        part.unlink()
        raise DataError(
            "the download is not the expected file",
            f"{url}: SHA-256 {found}, expected {digest}",
            f"the file was changed at its source or on its way; if you have the right one, save it as {path}",
        )


def _fetch(url: str, part: Path, path: Path, progress: Progress | None) -> None:
    for attempt in range(ATTEMPTS):
        try:
            _go_on(url, part, path, progress)
        except _CutError as error:
            if attempt == ATTEMPTS - 1:
                raise DataError(
                    f"the download was cut {ATTEMPTS} times", f"{url} ({error})", "run again: it goes on where it stopped"
                ) from error
            time.sleep(FIRST_PAUSE_S * 2**attempt)
        else:
            return


def _go_on(url: str, part: Path, path: Path, progress: Progress | None) -> None:
    """Ask for what is missing in `part` and append it."""
    present = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "edgerec", **({"Range": f"bytes={present}-"} if present else {})}
    try:
        request = urllib.request.Request(url, headers=headers)
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and present:
            return  # nothing follows what is there; the hash decides whether it is the file
        raise DataError(
            "the server refuses the download", f"{url} (HTTP {error.code})", f"bring the file by other means and save it as {path}"
        ) from error
    except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _CutError(error) from error
    except (OSError, ValueError) as error:
        raise DataError(
            "cannot download", f"{url} ({error})", f"check the network, or bring the file by other means and save it as {path}"
        ) from error
    with response:
        resuming = _starts_at(response, present)
        with _writing(part, "ab" if resuming else "wb") as file:
            _receive(response, file, present if resuming else 0, progress)


def _starts_at(response: http.client.HTTPResponse, present: int) -> bool:
    """Tell whether the server sends what follows `present`, rather than everything."""
    return response.status == http.HTTPStatus.PARTIAL_CONTENT and response.headers.get("Content-Range", "").startswith(f"bytes {present}-")


def _receive(response: http.client.HTTPResponse, file: IO[bytes], present: int, progress: Progress | None) -> None:
    length = response.headers.get("Content-Length")
    total = present + int(length) if length else None
    while block := _block(response):
        file.write(block)
        present += len(block)
        if progress:
            progress(present, total)
    file.flush()
    os.fsync(file.fileno())
    if total is not None and present < total:
        raise _CutError(f"{present:,} of {total:,} bytes")


def _block(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(error) from error


@contextlib.contextmanager
def _writing(part: Path, mode: str) -> Generator[IO[bytes]]:
    """Open `part`; a full disk is an error of ours."""
    try:
        with part.open(mode) as file:
            yield file
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutputError(
            "the disk is full" if full else "the download cannot be written",
            f"{part} ({error.strerror})",
            "choose another folder with EDGEREC_CACHE",
        ) from error


@contextlib.contextmanager
def _alone(path: Path) -> Generator[None]:
    """Let one process at a time download `path`; the lock file stays, because removing it would let two in."""
    with lock_of(path).open("ab") as file:
        with contextlib.suppress(OSError):  # a file system without locks: two downloads spoil each other, and the hash tells
            _lock(file)
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        # The waiting kind, LK_LOCK, gives up after ten seconds: too soon for a download.
        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            except PermissionError:  # another process has it
                time.sleep(LOCK_PAUSE_S)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)
