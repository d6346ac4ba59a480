"""Headers of `.safetensors` files that lie: each is refused, without a traceback."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgerec.runtime.errors import ModelError
from edgerec.train.tensors import read_tensors


def tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def write(path: Path, header: object, data: bytes, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


GOOD = {"a": tensor(0, 16, [4]), "b": tensor(16, 32, [4])}
DATA = np.arange(8, dtype=np.float32).tobytes()
ONE = json.dumps(tensor(0, 16, [4]))

HOSTILE = {
    "data beyond the file": {**GOOD, "b": tensor(16, 1 << 40, [1 << 38])},
    "overlapping data": {**GOOD, "b": tensor(8, 24, [4])},
    "a hole between data": {**GOOD, "b": tensor(20, 32, [3])},
    "backward offsets": {**GOOD, "b": tensor(32, 16, [4])},
    "a negative offset": {**GOOD, "a": tensor(-16, 0, [4])},
    "a shape that is larger than its data": {**GOOD, "b": tensor(16, 32, [1 << 20, 1 << 20])},
    "a shape whose size overflows": {**GOOD, "b": tensor(16, 32, [1 << 62, 4, 1 << 62])},
    "a negative size": {**GOOD, "b": tensor(16, 32, [-4])},
    "a size that is no integer": {**GOOD, "b": tensor(16, 32, ["4"])},
    "an unknown type": {**GOOD, "b": tensor(16, 32, [4], "F31")},
    "a tensor without offsets": {"a": {"dtype": "F32", "shape": [4]}},
    "metadata that are no text": {**GOOD, "__metadata__": {"edgerec": 3}},
    "a list": [1, 2],
    "no JSON": b"{'a': 1}",
    "no UTF-8": b'{"\xff\xfe": 1}',
    "deep nesting": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a key that comes twice, with other data": f'{{"a": {ONE}, "a": {json.dumps(tensor(16, 32, [4]))}}}'.encode(),
    "nothing": b"",
}


def test_an_honest_header_is_read(tmp_path: Path) -> None:
    tensors, _ = read_tensors(write(tmp_path / "good.safetensors", GOOD, DATA))
    assert {name: one.tolist() for name, one in tensors.items()} == {"a": [0, 1, 2, 3], "b": [4, 5, 6, 7]}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a whole \.safetensors"):
        read_tensors(write(tmp_path / "bad.safetensors", HOSTILE[name], DATA))


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 63) - 1, (1 << 64) - 1])
def test_a_header_of_another_length_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a whole \.safetensors"):
        read_tensors(write(tmp_path / "bad.safetensors", GOOD, DATA, length))
