"""The house rules: which folder may import which, what the wheel holds, and what importing costs."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"runtime": 1, "data": 2, "graph": 2, "benchmarks": 3, "train": 4, "export": 5, "compress": 6, "cli": 7}
WITHOUT_TORCH = ["edgerec.data", "edgerec.graph", "edgerec.benchmarks", "edgerec.compress.quantization"]
PUBLIC = {
    "edgerec.benchmarks.report": ["to_csv", "to_html", "to_markdown", "write_charts", "write_html"],
    "edgerec.benchmarks": [
        "Accuracy",
        "Audit",
        "Beside",
        "Candidate",
        "Comparison",
        "Configuration",
        "Corruptions",
        "Counter",
        "Difference",
        "Document",
        "DutyCycle",
        "Extras",
        "Failed",
        "Finding",
        "History",
        "Images",
        "KernelTimes",
        "Latency",
        "Machine",
        "Measured",
        "Measurements",
        "Record",
        "Row",
        "Rule",
        "Rules",
        "Schedule",
        "Scored",
        "Speedup",
        "Timing",
        "Verdict",
        "as_candidate",
        "audit",
        "bench_files",
        "compare_tensors",
        "count_answers",
        "decide",
        "has_int8_dot",
        "images_per_second",
        "judge",
        "machine",
        "matrix",
        "measure",
        "measure_duty_cycle",
        "measure_files",
        "measure_interleaved",
        "open_candidate",
        "open_row",
        "parse_rule",
        "profile_nodes",
        "read_document",
        "read_history",
        "score",
        "score_files",
        "series_of",
        "time_kernels",
        "versions",
        "wilson",
    ],
    "edgerec.cli": ["main"],
    "edgerec.compress": [
        "ChannelPruning",
        "Distillation",
        "Distilled",
        "Pruned",
        "Quantization",
        "Quantized",
        "distill",
        "prune",
        "quantize",
    ],
    "edgerec.compress.quantization": [
        "Budget",
        "Corrections",
        "Layer",
        "LayerReport",
        "Limit",
        "Quantization",
        "QuantizationReport",
        "Quantized",
        "Rules",
        "Statistics",
        "calibrate",
        "load_statistics",
        "merge",
        "quantize",
        "save_statistics",
    ],
    "edgerec.data": ["Batch", "DataSet", "Split", "from_arrays", "open_data"],
    "edgerec.export": ["Exported", "PackedFile", "Packing", "Program", "load_program", "pack", "to_onnx"],
    "edgerec.graph": [
        "HalfPrecision",
        "Normalised",
        "Parity",
        "Tolerance",
        "check",
        "clean",
        "compare",
        "count_macs",
        "files_of",
        "half_precision",
        "infer_shapes",
        "load_onnx",
        "normalise",
        "open_model",
        "read_spec",
        "save_onnx",
        "to_fp16",
        "with_spec",
    ],
    "edgerec.runtime": [
        "ConfigError",
        "DataError",
        "EdgerecError",
        "GateError",
        "InputSpec",
        "ModelError",
        "ModelSpec",
        "OutputError",
        "Prediction",
        "Provenance",
        "ProviderError",
        "Recognizer",
        "Session",
        "open_session",
    ],
    "edgerec.train": [
        "Augment",
        "Checkpoint",
        "Epoch",
        "Fitted",
        "LoadedWeights",
        "Loss",
        "Optimizer",
        "Output",
        "Policy",
        "PruningPlan",
        "Schedule",
        "Settings",
        "Step",
        "TrainBatch",
        "apply_plan",
        "cross_entropy",
        "fit",
        "fresh_checkpoint",
        "load_checkpoint",
        "load_weights",
        "policy_for",
        "predict_fn",
        "recipe_for",
        "save_checkpoint",
    ],
    "edgerec.train.models": ["Architecture", "MODELS", "create", "load_factory"],
}
SOURCES = sorted(path for folder in FLOORS for path in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Return the top folders of edgerec that a module imports, anywhere in it."""
    package = ["edgerec", *path.relative_to(ROOT).parent.parts]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            found |= {".".join([*module, name.name]) for name in node.names}
    return {name.split(".")[1] for name in found if name.startswith("edgerec.") and name.count(".") >= 1}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_imports_only_from_lower_floors(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    above = {name for name in imports_of(path) & FLOORS.keys() if name != own and FLOORS[name] >= FLOORS[own]}
    assert not above, f"{own} stands on floor {FLOORS[own]} and imports {above}"


def test_the_walk_sees_relative_imports(tmp_path: Path) -> None:
    module = ROOT / "train" / "models" / "registry.py"
    assert "runtime" in imports_of(module), "train/models/registry.py raises errors of runtime, so the walk must find that import"


def test_setuptools_lists_every_package_on_disk() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    on_disk = {
        "edgerec." + ".".join(path.parent.relative_to(ROOT).parts) for folder in FLOORS for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(settings["packages"]) == on_disk | {"edgerec"}
    assert set(settings["package-dir"]) == {"edgerec", *(f"edgerec.{folder}" for folder in FLOORS)}


def test_every_folder_with_code_is_a_package() -> None:
    assert {path.parent for path in SOURCES} == {path.parent for path in SOURCES if path.name == "__init__.py"}


def loaded_by(code: str) -> set[str]:
    """Run `code` in a fresh interpreter; return the third-party modules it loaded."""
    script = f"{code}; import sys; print(*{{m.partition('.')[0] for m in sys.modules}})"
    out = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    ours = {"edgerec", "_distutils_hack"}
    return {name for name in out.stdout.split() if not name.startswith("__")} - sys.stdlib_module_names - ours


def test_importing_edgerec_loads_the_standard_library_only() -> None:
    assert loaded_by("import edgerec, edgerec.runtime, edgerec.runtime.errors, edgerec.runtime.spec") == set()


def test_the_runtime_loads_numpy_and_onnxruntime_only() -> None:
    pytest.importorskip("onnxruntime", reason="no onnxruntime here: the runtime cannot be loaded whole")
    code = "from edgerec.runtime import Recognizer, open_session; import edgerec.runtime.providers as p; p.load_onnxruntime()"
    # onnxruntime's own imports, whatever they are in this release, are its business.
    assert loaded_by(code) <= {"numpy", "onnxruntime"} | loaded_by("import onnxruntime")


def test_a_plain_start_loads_no_part_of_the_runtime_that_it_does_not_use() -> None:
    """Each of these modules costs a start about a millisecond (docs/log.md, 2026-11-25)."""
    code = (
        "import sys; from edgerec.runtime import Recognizer; print(*(name.rpartition('.')[2] for name in sys.modules if 'edgerec' in name))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    assert "recognizer" in loaded
    assert not loaded & {"auto", "diagnosis", "flavours", "line", "packed", "packed_spec", "random_feeds", "stream"}


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_the_lower_floors_never_load_torch(package: str) -> None:
    folder = ROOT / Path(*package.split(".")[1:])
    modules = [f"{package}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"]
    assert modules
    assert "torch" not in loaded_by(f"import {', '.join(modules)}")


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_surface_is_this_list(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == PUBLIC[package]
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_and_classes_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says what it is"
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= 300, "cut it by topic"
