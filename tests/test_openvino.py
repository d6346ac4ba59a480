"""OpenVINO, really run: in an environment of its own, whose Python `EDGEREC_TEST_OPENVINO` names (`.ci/run` builds one)."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerec.runtime import InputSpec, ModelSpec

ROOT = Path(__file__).resolve().parents[1]
PYTHON = os.environ.get("EDGEREC_TEST_OPENVINO", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="did not run: EDGEREC_TEST_OPENVINO names no Python with onnxruntime-openvino")

CODE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
import numpy as np
from edgerec.runtime import EdgerecError, Recognizer, open_session
file, x = Path(sys.argv[1]), np.load(sys.argv[2])
cpu, openvino = (open_session(file, provider=name, threads=1) for name in ("cpu", "openvino"))
auto = open_session(file, provider="auto", threads=1)
a, b = (one.run({"x": x})["y"] for one in (cpu, openvino))
refused = {}
for name, options in {"device": {"device_type": "NPU"}, "option": {"nonsense": "1"}}.items():
    try:
        open_session(file, provider="openvino", options=options)
    except EdgerecError as error:
        refused[name] = [type(error).__name__, error.exit_code, str(error)]
best = Recognizer.load(file, provider="openvino").predict(np.zeros((16, 16, 3), np.uint8))[0]
print(json.dumps({
    "difference": float(np.abs(a - b).max()), "scale": float(np.abs(a).max()), "share": openvino.placement.share("OpenVINOExecutionProvider"),
    "spec": openvino.spec == cpu.spec, "auto": [auto.provider, *sorted(auto.choice.p50_ms)], "refused": refused, "label": best.label}))
"""


def test_openvino_gives_the_cpus_answers_and_proves_its_placement(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 2)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "v"], ["y"]),
    ]
    declared = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", declared[:1], declared[1:], weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, {"edgerec": ModelSpec((InputSpec(16, 16, name="x"),), labels=("a", "b")).to_json()})
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", rng.standard_normal((2, 3, 16, 16)).astype(np.float32))
    package = tmp_path / "path" / "edgerec"  # this checkout's runtime, in an environment that may hold another edgerec or none
    package.mkdir(parents=True)
    (package / "__init__.py").symlink_to(ROOT / "edgerec" / "__init__.py")
    (package / "runtime").symlink_to(ROOT / "runtime", target_is_directory=True)
    command = [PYTHON, "-c", CODE, str(tmp_path / "m.onnx"), str(tmp_path / "x.npy")]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["difference"] <= 1e-3 * found["scale"]
    assert found["share"] == 1
    assert found["spec"]
    assert found["auto"][1:] == ["cpu", "openvino"]
    assert found["label"] in ("a", "b")
    assert found["refused"]["device"][:2] == ["ProviderError", 1]
    assert "NPU" in found["refused"]["device"][2]
    assert found["refused"]["option"][:2] == ["ProviderError", 1]
    assert "nonsense" in found["refused"]["option"][2]
