"""Names: every node has its own, and no two free sizes are taken for equal that a file does not call equal."""

import onnx
import onnx_ir as ir

from edgerec.graph.naming import name_free_sizes_, name_nodes_


def graph(body: str) -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, H, W] x) => (float[A, B, C] y) {{ {body} }}'
    return ir.from_proto(onnx.parser.parse_model(text))


def named(model: ir.Model) -> list[str]:
    return [node.name or "" for node in model.graph.all_nodes()]


def test_nodes_without_a_name_and_with_a_taken_one_get_their_own() -> None:
    model = graph("a = Relu (x) b = Relu (a) c = Neg (b) d = Abs (c) y = Abs (d)")
    for node, name in zip(model.graph, ["", "Relu_0", "same", "same", ""], strict=True):
        node.name = name
    assert name_nodes_(model)
    assert named(model) == ["Relu_1", "Relu_0", "same", "same_0", "Abs_0"]
    assert not name_nodes_(model)


def test_nodes_inside_nodes_are_named_as_well() -> None:
    model = graph(
        "c = Cast <to = 9> (x) y = If (c) <then_branch = t () => (float[N, H, W] p) { p = Relu (x) },"
        "else_branch = e () => (float[N, H, W] q) { q = Relu (x) }>"
    )
    name_nodes_(model)
    assert len(set(named(model))) == 4
    assert all(named(model))


def test_sizes_without_a_name_get_one() -> None:
    model = graph("y = Relu (x)")
    model.graph.inputs[0].shape = ir.Shape([-1, "?", "?"])
    model.graph.outputs[0].shape = ir.Shape([-1, 4, "?"])
    assert name_free_sizes_(model)
    assert [str(size) for size in model.graph.inputs[0].shape or ()] == ["x_0", "x_1", "x_2"]
    assert [str(size) for size in model.graph.outputs[0].shape or ()] == ["None", "4", "None"]
    assert not name_free_sizes_(model)


def test_names_that_a_file_gives_stay() -> None:
    assert not name_free_sizes_(graph("y = Relu (x)"))
