"""Refusals: what is computed on integers, and what nobody defines, wherever in the model it stands."""

import onnx
import pytest

from edgerec.graph.refusals import refuse_quantized, refuse_unknown_domains
from edgerec.runtime.errors import ModelError

HEAD = '<ir_version: 8, opset_import: ["" : 17, "acme" : 1, "com.microsoft" : 1]> g (float[2] x, bool c) => (float[2] y) <float s = {0.1}>'
INSIDE = "y = If (c) <then_branch = a () => (float[2] p) {{ {} }}, else_branch = b () => (float[2] q) {{ q = Relu (x) }}>"


@pytest.mark.parametrize(
    "body",
    ["q = QuantizeLinear (x, s) y = DequantizeLinear (q, s)", INSIDE.format("q0 = QuantizeLinear (x, s) p = DequantizeLinear (q0, s)")],
)
def test_a_quantized_model_is_refused(body: str) -> None:
    with pytest.raises(ModelError, match="quantized already: it contains DequantizeLinear, QuantizeLinear; give the float model"):
        refuse_quantized(onnx.parser.parse_model(f"{HEAD} {{ {body} }}"))


@pytest.mark.parametrize("body", ["y = acme.Blur (x)", INSIDE.format("p = acme.Blur (x)")])
def test_an_operator_that_nobody_defines_is_refused(body: str) -> None:
    with pytest.raises(ModelError, match="acme::Blur"):
        refuse_unknown_domains(onnx.parser.parse_model(f"{HEAD} {{ {body} }}"))


def test_an_operator_inside_a_function_of_the_file_is_refused() -> None:
    function = '<domain: "acme", opset_import: ["" : 17]> Blur (a) => (b) { b = other.Blur (a) }'
    with pytest.raises(ModelError, match="other::Blur"):
        refuse_unknown_domains(onnx.parser.parse_model(f"{HEAD} {{ y = acme.Blur (x) }} {function}"))


def test_functions_of_the_file_and_onnx_runtimes_own_operators_pass() -> None:
    function = '<domain: "acme", opset_import: ["" : 17]> Blur (a) => (b) { b = Relu (a) }'
    one = onnx.parser.parse_model(f"{HEAD} {{ t = acme.Blur (x) y = com.microsoft.Gelu (t) }} {function}")
    refuse_unknown_domains(one)
    refuse_quantized(one)
