"""Writing files so that a killed process, a failed gate or a full disk leaves the old file or none."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; on success sync it and rename it to `path`.

    The temporary name keeps the suffix, because many writers look at it. Any exception removes it and leaves `path` alone.

    Raises:
        OutputError: The folder is missing or read-only, the target is a folder, or the disk is full.
    """
    import tempfile  # 3 ms that a program which only reads saves

    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise _as_output_error(error, path) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600; other users may read a result as they may read any file
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        # Errors of ours that derive from OSError do not exist; a writer's ENOSPC or EROFS arrives here.
        raise _as_output_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out before hours of work that `path` cannot be written.

    Raises:
        OutputError: The folder is missing, is not a folder, or is read-only, or `path` itself is a folder.
    """
    folder = path.parent
    if path.is_dir():
        raise OutputError("the output is a folder", path, "give a file name")
    if not folder.is_dir():
        raise OutputError("the output folder does not exist", folder, "create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError("the output folder is read-only", folder, "choose another folder or change its permissions")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 through `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """Return the file's SHA-256 as 64 hexadecimal digits."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    # The only portable way to read it is to set it; both calls happen at once.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _as_output_error(error: OSError, path: Path) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("the disk is full", path, "free some space; nothing was written")
    return OutputError("the output cannot be written", f"{path} ({error.strerror or error})", "check the folder and its permissions")
