# /// script
# dependencies = ["onnxruntime==1.32.0", "onnx==1.23.2", "sympy==1.14.0"]
# ///
"""Peer: onnxruntime's `quantize_static`. Stand-alone, imports nothing of edgerec.

    python peer_onnxruntime.py MODEL CALIBRATION OUTPUT MinMax|Entropy|Percentile

U8 activations and S8 weights per channel, after `quant_pre_process`, as its documentation advises for x86 and ARM.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


class Images:
    """A `CalibrationDataReader`: one image at a time, so that not all of them lie in memory."""

    def __init__(self, path: str) -> None:
        self._file = np.load(path)
        numbers = sorted({int(name.split("/")[0]) for name in self._file.files})
        self._names = [[name for name in self._file.files if name.startswith(f"{number}/")] for number in numbers]
        self._at = 0

    def __len__(self) -> int:
        return len(self._names)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next image's arrays by input name; None behind the last."""
        if self._at == len(self._names):
            return None
        self._at += 1
        return {name.split("/", 1)[1]: self._file[name] for name in self._names[self._at - 1]}


def main(model: str, calibration: str, output: str, method: str) -> None:
    """Quantize one model."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        try:
            quant_pre_process(model, prepared)
        except Exception:  # its symbolic shape inference stops at some files, with an AssertionError; the tool itself may take them
            prepared = model
        quantize_static(
            prepared,
            output,
            Images(calibration),  # pyright: ignore[reportArgumentType]  # it asks for a subclass, and only calls these methods
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod[method],
        )
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(*sys.argv[1:])
