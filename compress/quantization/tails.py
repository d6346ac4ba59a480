"""The step from an image of one pixel to a row of numbers, without the transposition that int8 would put before it."""

from collections.abc import Iterator

from .rewriting import Edit, Scene, chain_kernel, make_node, with_operands

_LAST = (0, 2, 3, 1)


def tail_edits(scene: Scene) -> Iterator[list[Edit]]:
    """Yield, for every int8 Reshape or Flatten of (N, C, 1, 1) to (N, C), the same behind a transposition to (N, 1, 1, C).

    The numbers do not move, and where channels lie last ONNX Runtime takes the transposition out together with its own.
    """
    for node in scene.graph.nodes:
        if node.op_type not in ("Flatten", "Reshape") or not scene.is_int8(node):
            continue
        before, after = (scene.shapes.get(name, ()) for name in (node.input[0], node.output[0]))
        producer, grid = scene.graph.producer.get(node.input[0]), scene.grid(node.input[0])
        if len(before) != 4 or before[2:] != (1, 1) or after != before[:2] or producer is None or not scene.is_int8(producer) or not grid:
            continue
        last = f"{node.output[0]}_last"  # of each reader its own: heads of a model share one image
        new = make_node("Transpose", [node.input[0]], last, perm=_LAST), with_operands(node, [last, *node.input[1:]])
        shapes = {last: (before[0], 1, 1, before[1])}
        yield [
            Edit(
                "no transposition before the classifier",
                {node.name: new},
                activations={last: grid},
                before=(chain_kernel(scene, [producer, node]),),
                after=(chain_kernel(scene, [producer, *new], shapes),),
            )
        ]
