"""A result file is there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from edgerec.runtime.errors import OutputError
from edgerec.runtime.files import replacing, sha256, write_text


def test_success_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    write_text(target, "new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError("gate"), KeyboardInterrupt()])
def test_any_failure_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_halfway() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), replacing(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this platform")
def test_a_really_full_device_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), replacing(tmp_path / "a.txt"), Path("/dev/full").open("w") as full:
        full.write("x" * 100_000)


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"), replacing(tmp_path / "no" / "a.txt"):
        pytest.fail("must not come here")
    with pytest.raises(OutputError, match="is a folder"), replacing(tmp_path):
        pytest.fail("must not come here")


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="read-only"), replacing(tmp_path / "a.txt"):
        pytest.fail("must not come here")


def test_sha256_of_the_standards_example(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system that refuses files even to root")
def test_a_folder_that_refuses_files_even_to_root() -> None:
    with pytest.raises(OutputError, match=r"read-only|cannot be written"), replacing(Path("/proc/edgerec-test.txt")):
        pytest.fail("must not come here")
