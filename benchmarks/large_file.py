"""Quantize a model beyond protobuf's 2 GiB from start to end, as a user would: seconds and peak memory of the command.

    python -m edgerec.benchmarks.large_file [FOLDER]

The folder needs room for the file and for twice as much while it works.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx.helper
from onnx import ModelProto, NodeProto, TensorProto

WIDTH = 8192  # 256 MiB a layer
LAYERS = 9
_BLOCK = 256  # rows that are made at once
_INPUT, _FEATURES, _ROWS = "features", 768, 256  # of the input: its name, its length, and how many calibrate


def write_model(path: Path, *, width: int = WIDTH, layers: int = LAYERS) -> int:
    """Write a chain of matrix products with random weights, all of them external; return its weights' bytes.

    Args:
        path: The `.onnx` file; its weights lie beside it, written block by block.
        width: Features of every layer.
        layers: How many products, with a Relu behind each but the last.
    """
    random, data = np.random.default_rng(0), path.with_suffix(".data")
    with data.open("wb") as file:
        for number in range(layers):
            inputs = _inputs(number, width)
            for start in range(0, inputs, _BLOCK):
                rows = min(_BLOCK, inputs - start)
                file.write((random.standard_normal((rows, width), np.float32) * np.float32((2 / width) ** 0.5)).tobytes())
    path.write_bytes(_graph(data.name, width, layers).SerializeToString())
    return data.stat().st_size


def _graph(location: str, width: int, layers: int) -> ModelProto:
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    source, offset = _INPUT, 0
    for number in range(layers):
        rows = _inputs(number, width)
        tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=[rows, width], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", location), ("offset", offset), ("length", 4 * rows * width)):
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
        offset += 4 * rows * width
        result = "y" if number == layers - 1 else f"a{number}"
        nodes.append(onnx.helper.make_node("MatMul", [source, tensor.name], [result], f"product_{number}"))
        if result != "y":
            nodes.append(onnx.helper.make_node("Relu", [result], [f"r{number}"], f"relu_{number}"))
        source = f"r{number}"
    features = onnx.helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, ["N", _FEATURES])
    result = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", width])
    graph = onnx.helper.make_graph(nodes, "large", [features], [result], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def _inputs(number: int, width: int) -> int:
    """Return the rows of a layer's weight."""
    return width if number else _FEATURES


def run(folder: Path, *, width: int = WIDTH, layers: int = LAYERS) -> str:
    """Make the model, quantize it, and return a sentence with what that took.

    Raises:
        CalledProcessError: The command failed.
    """
    model, images, output = folder / "large.onnx", folder / "images.npz", folder / "large.int8.onnx"
    size = write_model(model, width=width, layers=layers)
    np.savez(images, features=np.random.default_rng(1).standard_normal((_ROWS, _FEATURES)).astype(np.float32))  # named as the input
    start = time.perf_counter()
    command = [sys.executable, "-P", "-m", "edgerec", "quantize", str(model), "--data", str(images), "-o", str(output), "--force"]
    subprocess.run([*command, "--correct", "none", "--method", "minmax", "-q"], check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    written = sum(one.stat().st_size for one in folder.glob("large.int8*"))
    return f"{size / 1e9:.2f} -> {written / 1e9:.2f} GB in {seconds:.0f} s, peak memory {peak / 1e9:.2f} GB ({peak / size:.1f} of the file)"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        print(run(Path(made)))
