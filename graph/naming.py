"""Names that the rest of the road can rely on: of every node, and of every free size of an input."""

import onnx_ir as ir


def name_nodes_(model: ir.Model) -> bool:
    """Give each node of the model a name of its own; the first node of a name keeps it."""
    nodes = tuple(model.graph.all_nodes())
    taken = {node.name for node in nodes}
    seen: set[str] = set()
    numbers: dict[str, int] = {}
    for node in nodes:
        name = node.name or ""
        if not name or name in seen:
            stem = name or node.op_type
            while not name or name in taken:
                numbers[stem] = numbers.get(stem, -1) + 1
                name = f"{stem}_{numbers[stem]}"
            taken.add(name)
            node.name = name
        seen.add(name)
    return len(numbers) > 0


def name_free_sizes_(model: ir.Model) -> bool:
    """Name the sizes of inputs that a file leaves free without a name: as -1, or as "?" for several that need not be equal.

    Inference takes a number for a size and equal names for equal sizes. What it made of such sizes elsewhere is forgotten.
    """
    changed = False
    for value in model.graph.inputs:
        for axis, size in enumerate(value.shape or ()):
            if _is_nameless(size):
                value.shape, changed = _with_size(value.shape, axis, f"{value.name}_{axis}"), True
    for value in (value for node in model.graph.all_nodes() for value in node.outputs):
        for axis, size in enumerate(value.shape or ()):
            if _is_nameless(size) and not _is_unknown(size):
                value.shape, changed = _with_size(value.shape, axis, None), True
    return changed


_Size = int | ir.SymbolicDim


def _is_unknown(size: _Size) -> bool:
    return isinstance(size, ir.SymbolicDim) and size.value is None


def _is_nameless(size: _Size) -> bool:
    return size < 0 if isinstance(size, int) else size.value in (None, "", "?")


def _with_size(shape: ir.Shape | None, axis: int, size: str | None) -> ir.Shape:
    """Copy a shape with another size; shapes may be shared or frozen."""
    sizes: list[int | ir.SymbolicDim | str | None] = list(shape or ())
    sizes[axis] = size
    return ir.Shape(sizes)
