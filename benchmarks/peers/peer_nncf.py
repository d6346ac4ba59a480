# /// script
# dependencies = ["nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0"]
# ///
"""Peer: NNCF's post-training quantization of ONNX files. Stand-alone, imports nothing of edgerec.

    python peer_nncf.py MODEL CALIBRATION OUTPUT

Defaults, but for two things: all calibration images are used, and a file with layer normalisation is said to be a transformer.
"""

import json
import sys
import time

import numpy as np


def main(model: str, calibration: str, output: str) -> None:
    """Quantize one model."""
    import nncf  # pyright: ignore[reportMissingImports]  # only in its own environment
    import onnx

    loaded = onnx.load(model)
    images = np.load(calibration)
    numbers = sorted({int(name.split("/")[0]) for name in images.files})

    def read(number: int) -> dict[str, np.ndarray]:
        return {name.split("/", 1)[1]: images[name] for name in images.files if name.startswith(f"{number}/")}

    is_transformer = any(node.op_type == "LayerNormalization" for node in loaded.graph.node)
    kind = nncf.ModelType.TRANSFORMER if is_transformer else None
    start = time.perf_counter()
    quantized = nncf.quantize(loaded, nncf.Dataset(numbers, read), subset_size=len(numbers), model_type=kind)
    onnx.save(quantized, output)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(*sys.argv[1:])
