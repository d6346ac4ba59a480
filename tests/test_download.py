"""Downloads against a server on loopback that can cut, refuse ranges, or serve something else."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgerec.data.download import BLOCK_BYTES, download
from edgerec.runtime.errors import DataError, OutputError

CONTENT = bytes(range(256)) * 1500  # 384,000 bytes, six blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server does, and the ranges it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    status: int = 0
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("edgerec.data.download.FIRST_PAUSE_S", 0.001)
    does = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            does.asked.append(asked)
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and does.ranges else 0
            if does.status or (asked and does.ranges and start >= len(does.content)):
                self.send_error(does.status or 416)
                return
            body = does.content[start:]
            self.send_response(206 if asked and does.ranges else 200)
            if asked and does.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(does.content) - 1}/{len(does.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: does.cut_after.pop(0)] if does.cut_after else body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        does.url = f"http://127.0.0.1:{listening.server_address[1]}/set.gz"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield does
        listening.shutdown()
        thread.join()


def test_a_file_arrives_whole_and_once(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = download(server.url, DIGEST, tmp_path / "set.gz", progress=lambda present, total: seen.append((present, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [present for present, _ in seen] == sorted(present for present, _ in seen)
    download(server.url, DIGEST, path)
    assert server.asked == [None]
    assert not (tmp_path / "set.gz.part").exists()


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    assert download(server.url, DIGEST, tmp_path / "set.gz").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(CONTENT[:12345])
    assert download(server.url, DIGEST, tmp_path / "set.gz").read_bytes() == CONTENT
    assert server.asked == ["bytes=12345-"]


def test_a_part_that_was_complete_is_renamed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.gz.part").write_bytes(CONTENT)
    assert download(server.url, DIGEST, tmp_path / "set.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("stale", [b"another version" * 100, b"x" * (len(CONTENT) + 5)])
def test_a_part_of_another_version_is_thrown_away(server: Server, tmp_path: Path, stale: bytes) -> None:
    (tmp_path / "set.gz.part").write_bytes(stale)
    assert download(server.url, DIGEST, tmp_path / "set.gz").read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(stale)}-", None]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [200_000]
    assert download(server.url, DIGEST, tmp_path / "set.gz").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=200000-"]


def test_an_interrupt_keeps_the_part_for_the_next_call(server: Server, tmp_path: Path) -> None:
    def interrupt(present: int, _: int | None) -> None:
        if present >= 2 * BLOCK_BYTES:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, DIGEST, tmp_path / "set.gz", progress=interrupt)
    assert not (tmp_path / "set.gz").exists()
    kept = (tmp_path / "set.gz.part").stat().st_size
    assert kept >= 2 * BLOCK_BYTES
    assert download(server.url, DIGEST, tmp_path / "set.gz").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


def test_the_wrong_file_is_never_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.gz").write_bytes(b"old")
    server.content = b"changed at its source"
    with pytest.raises(DataError, match=f"not the expected file: {server.url}: SHA-256 .*, expected {DIGEST}"):
        download(server.url, DIGEST, tmp_path / "set.gz")
    assert (tmp_path / "set.gz").read_bytes() == b"old"
    assert not (tmp_path / "set.gz.part").exists()


def test_a_connection_that_is_always_cut_says_so(server: Server, tmp_path: Path) -> None:
    server.cut_after = [10] * 5
    with pytest.raises(DataError, match=r"cut 5 times.*50 of 384,000 bytes.*run again"):
        download(server.url, DIGEST, tmp_path / "set.gz")
    assert (tmp_path / "set.gz.part").stat().st_size == 50


def test_a_refusing_server(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(DataError, match=r"server refuses.*HTTP 404.*save it as .*set\.gz"):
        download(server.url, DIGEST, tmp_path / "set.gz")


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/x", "nonsense"])
def test_no_network(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataError, match=r"cannot download.*check the network.*save it as"):
        download(url, DIGEST, tmp_path / "x")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        download("http://127.0.0.1:9/x", DIGEST, tmp_path / "missing" / "x")


def test_two_at_once_give_one_download(server: Server, tmp_path: Path) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(download(server.url, DIGEST, tmp_path / "set.gz"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 3
    assert server.asked == [None]
    assert (tmp_path / "set.gz").read_bytes() == CONTENT
