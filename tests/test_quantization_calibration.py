"""Calibration: what leaves the graph against numpy on the same tensors, laws of order and sharding, and everything bad that images may be."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.parser
import onnx.shape_inference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerec.compress.quantization.calibration import key_of, observe, scale_warning
from edgerec.compress.quantization.statistics import Statistics, TensorStatistics, merge
from edgerec.compress.quantization.taps import extract, stride_for, tapped
from edgerec.graph.execution import open_model
from edgerec.runtime.errors import DataError, ModelError
from edgerec.runtime.spec import InputSpec

Array = np.ndarray
Feeds = dict[str, Array]

NET = """
<ir_version: 8, opset_import: ["" : {opset}]>
net (float[{batch}, 3, {size}, {size}] input) => (float[{batch}, 4] logits)
<float[6, 3, 3, 3] w, float[6] b, int64[1] axes = {{2}}, float[4, 6] dense>
{{
    [conv] sums = Conv <pads = [1, 1, 1, 1]> (input, w, b)
    [relu] stem = Relu (sums)
    [pool] mean = GlobalAveragePool (stem)
    [flat] features = Flatten (mean)
    [gemm] logits = Gemm <transB = 1> (features, dense)
}}
"""
TENSORS = ["input", "sums", "stem", "features", "logits"]
SIZE = 50  # sums has 15,000 elements: more than go into a histogram, so they are taken inside the graph; input has 7,500


def net(*, opset: int = 17, batch: str = "n", size: str = str(SIZE)) -> onnx.ModelProto:
    model = onnx.parser.parse_model(NET.format(opset=opset, batch=batch, size=size))
    rng = np.random.default_rng(0)
    for name, shape in (("w", (6, 3, 3, 3)), ("b", (6,)), ("dense", (4, 6))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    # The parser's own initializers have no values.
    kept = [one for one in model.graph.initializer if one.ByteSize() > 30 or one.name == "axes"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return onnx.shape_inference.infer_shapes(model)


def images(count: int, size: int = SIZE, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)


def same(one: Statistics, other: Statistics) -> bool:
    def bits(found: TensorStatistics) -> list[bytes]:
        return [part.tobytes() for part in (found.channel_low, found.channel_high, found.counts)]

    return one.tensors.keys() == other.tensors.keys() and all(bits(a) == bits(other.tensors[name]) for name, a in one.tensors.items())


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("batch", ["n", "2"])
def test_what_leaves_the_graph_equals_numpy_on_the_same_tensors(opset: int, batch: str) -> None:
    feeds = {"input": images(1 if batch == "n" else 2)}
    model, taps = tapped(net(opset=opset, batch=batch), TENSORS, feeds)
    assert [tap.name for tap in taps if tap.outputs] == ["sums", "stem"]
    arrays = {**open_model(model, taps=["sums", "stem"], threads=1).run(feeds), **feeds}
    for tap in taps:
        for found, expected in zip(tap.read(arrays, len(feeds["input"])), extract(arrays[tap.name], 1, len(feeds["input"])), strict=True):
            assert (found == expected).all(), tap.name
            assert found.shape == expected.shape


def test_statistics_against_numpy_over_all_images() -> None:
    batch = images(5)
    model = net()
    found = observe(model, TENSORS, [{"input": batch}], 5, threads=1)
    arrays = {**open_model(model, taps=TENSORS, threads=1).run({"input": batch}), "input": batch}
    assert found.images == 5
    assert list(found.tensors) == TENSORS
    for name, one in found.tensors.items():
        others = tuple(axis for axis in range(arrays[name].ndim) if axis != 1)
        assert one.channel_low == pytest.approx(arrays[name].min(axis=others), rel=1e-5, abs=1e-6)
        assert one.channel_high == pytest.approx(arrays[name].max(axis=others), rel=1e-5, abs=1e-6)
        size = arrays[name][0].size
        assert one.counts.sum() == 5 * len(range(0, size, stride_for(size)))
    assert found.tensors["input"].low == batch.min(), "exact"


BATCH = images(20)
WHOLE = observe(net(), TENSORS, [{"input": BATCH}], 20, threads=1)


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(20)), st.lists(st.integers(0, 20), max_size=4), st.sampled_from([1, 2, 5]), st.integers(0, 20))
def test_neither_order_nor_batches_nor_threads_nor_shards_matter(order: list[int], cuts: list[int], threads: int, shard: int) -> None:
    shuffled = BATCH[list(order)]
    parts = [{"input": part} for part in np.split(shuffled, sorted(cuts)) if len(part)]
    assert same(WHOLE, observe(net(), TENSORS, parts, 20, threads=threads))
    if 0 < shard < 20:
        shards = [
            observe(net(), TENSORS, [{"input": part}], 20, key=key_of(net(), data="all", shard=index, shards=2), threads=1)
            for index, part in enumerate((shuffled[:shard], shuffled[shard:]))
        ]
        merged = merge(*shards)
        assert same(WHOLE, merged)
        assert merged.key == key_of(net(), data="all")


def test_a_fixed_number_of_images_gives_the_same_statistics() -> None:
    fixed = observe(net(batch="4"), TENSORS, [{"input": BATCH}], 20, threads=1)
    for name in ("input",):
        assert (fixed.tensors[name].counts == WHOLE.tensors[name].counts).all()
    assert fixed.tensors["sums"].counts.sum() == WHOLE.tensors["sums"].counts.sum()
    assert fixed.tensors["sums"].channel_high == pytest.approx(WHOLE.tensors["sums"].channel_high, rel=1e-5)


def test_images_of_several_sizes() -> None:
    small, large = {"input": images(2, 30)}, {"input": images(2, 60)}
    found = observe(net(size="s"), TENSORS, [small, large, small], 6, threads=1)
    assert same(found, observe(net(size="s"), TENSORS, [large, small, small], 6, threads=1))
    assert found.images == 6


def test_one_image_and_nothing_in_it() -> None:
    found = observe(net(), TENSORS, [{"input": np.zeros((1, 3, SIZE, SIZE), np.float32)}], 512)
    assert found.images == 1
    assert found.tensors["input"].is_dead
    assert not found.tensors["sums"].is_dead


@pytest.mark.parametrize("size", [1, 4096, 8191, 8192, 2**14, 2**20, 96 * 112 * 112, 7**6, 3 * 5 * 7 * 11 * 13])
def test_the_stride_visits_every_column_alike(size: int) -> None:
    stride = stride_for(size)
    assert size / stride < 8192
    for columns in (one for one in (2, 3, 5, 7, 14, 28, 112) if size % one == 0 and size > 2**13):
        visits = np.bincount(np.arange(0, size, stride) % columns, minlength=columns)
        assert visits.max() - visits.min() <= 1


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("shift", [-8.0, 0.0, 8.0])
def test_what_is_known_of_a_silu_equals_numpy(scale: float, shift: float) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[n, 4, 64, 64] x) => (float[n, 4, 64, 64] z) { y = Relu(x)  gate = Sigmoid(x)  silu = Mul(gate, x)  z = Add(silu, y) }
    """)
    feeds = {"x": (scale * np.random.default_rng(0).normal(size=(2, 4, 64, 64)) + shift).astype(np.float32)}
    session, names = open_model(model, taps=["silu"], threads=1), ["x", "silu"]
    exact = dict(zip(("low", "high", "elements"), extract(session.run(feeds)["silu"], 1, 2), strict=True))

    copied, taps = tapped(onnx.shape_inference.infer_shapes(model), names, feeds)
    assert "silu" not in {one.name for one in copied.graph.output}
    low, high, elements = taps[1].read({**open_model(copied, threads=1).run(feeds), **feeds}, 2)

    assert (high == exact["high"]).all()
    assert (np.sort(elements) == np.sort(exact["elements"])).all()
    assert (low <= exact["low"] + 1e-7).all()  # the last bit of a sigmoid
    assert low == pytest.approx(exact["low"], abs=1e-3)
    assert low.min() >= -0.2784647


def test_channels_of_three_dimensions() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[n, 6, 9] tokens, float[n, 4, 9] signal) => (float[n, 6, 9] a, float[n, 5, 9] b)
        <float[5, 4, 1] w = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}> { a = Relu(tokens)  b = Conv(signal, w) }
    """)
    rng = np.random.default_rng(0)
    feeds = {"tokens": rng.normal(size=(3, 6, 9)).astype(np.float32), "signal": rng.normal(size=(3, 4, 9)).astype(np.float32)}
    found = observe(model, ["a", "signal", "b"], [feeds], 3, threads=1).tensors
    assert (found["a"].axis, found["a"].channel_low.shape) == (2, (9,)), "a transformer's features come last"
    assert (found["signal"].axis, found["signal"].channel_low.shape) == (1, (4,)), "a convolution's channels come second"
    assert (found["signal"].channel_high == feeds["signal"].max(axis=(0, 2))).all()
    assert found["b"].channel_low.shape == (5,)


def chain(*nodes: tuple[str, str, list[str]]) -> onnx.ModelProto:
    """Build a model from (operator, output, inputs), the last of which is its output."""
    made = [onnx.helper.make_node(kind, inputs, [output], name=f"{output}_node") for kind, output, inputs in nodes]
    shape = ["n", 4]
    graph = onnx.helper.make_graph(
        made,
        "chain",
        [onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info(nodes[-1][1], onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(np.array([np.inf], np.float32), "infinity")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


ONES = {"input": np.ones((3, 4), np.float32)}


def test_the_first_node_with_nan_is_named_whatever_is_observed() -> None:
    model = chain(("Neg", "negative", ["input"]), ("Sqrt", "root", ["negative"]), ("Exp", "power", ["root"]), ("Neg", "last", ["power"]))
    for tensors in (["last"], ["power", "root"], ["input"]):
        with pytest.raises(ModelError, match=r"NaN or infinity.*node 'root_node', tensor 'root'"):
            observe(model, tensors, [ONES], 3)


def test_infinity_in_an_observed_tensor_is_refused_and_named() -> None:
    model = chain(("Add", "double", ["input", "input"]), ("Mul", "vast", ["double", "infinity"]), ("Sigmoid", "last", ["vast"]))
    with pytest.raises(ModelError, match="node 'vast_node', tensor 'vast'"):
        observe(model, ["last", "vast"], [ONES], 3)
    assert observe(model, ["double", "last"], [ONES], 3).images == 3, "a tensor that nobody quantizes may be infinite, as masks are"


def test_after_an_error_nothing_more_is_read() -> None:
    model = chain(("Sqrt", "root", ["input"]))
    read: list[int] = []

    def batches() -> Iterator[Feeds]:
        for index in range(1000):
            read.append(index)
            yield {"input": np.full((8, 4), -1, np.float32)}

    with pytest.raises(ModelError, match="root"):
        observe(model, ["root"], batches(), 8000, threads=2)
    assert len(read) < 10


def test_wrong_images_are_named_from_any_thread() -> None:
    with pytest.raises(DataError, match="NaN"):
        observe(net(), TENSORS, [{"input": BATCH}, {"input": np.full_like(BATCH, np.nan)}], 40, threads=2)


def test_keys_tell_models_data_and_preprocessing_apart() -> None:
    spec = InputSpec(SIZE, SIZE)
    keys = [
        key_of(net()),
        key_of(net(opset=18)),
        key_of(net(), [spec]),
        key_of(net(), [InputSpec(SIZE, SIZE, scale=1.0)]),
        key_of(net(), data="d"),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(net(), [spec], "d") == key_of(net(), [spec], "d")


def input_range(low: float, high: float) -> dict[str, TensorStatistics]:
    counts = np.zeros(16, np.int64)
    return {"input": TensorStatistics(np.array([low], np.float32), np.array([high], np.float32), counts)}


IMAGENET = InputSpec(8, 8)
RAW = InputSpec(8, 8, scale=1.0, mean=(0, 0, 0), std=(1, 1, 1))
UNIT = InputSpec(8, 8, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.mark.parametrize(
    ("spec", "low", "high", "words"),
    [
        (RAW, 0, 1, "once too often"),
        (UNIT, 0, 1 / 255, "once too often"),
        (IMAGENET, 0, 1, "not normalised"),
        (UNIT, 0, 255, "not scaled"),
        (IMAGENET, 0, 255, "not scaled"),
        (UNIT, -1, 1, "not scaled"),
    ],
)
def test_images_on_the_wrong_scale_are_noticed(spec: InputSpec, low: float, high: float, words: str) -> None:
    warning = scale_warning(input_range(low, high), [spec])
    assert warning is not None
    assert words in warning
    assert f"from {low:.4g} to {high:.4g}" in warning


@pytest.mark.parametrize(
    ("spec", "low", "high"), [(RAW, 3, 250), (UNIT, 0, 1), (IMAGENET, -2.1, 2.6), (IMAGENET, -1.9, 1.5), (UNIT, 0, 0.4)]
)
def test_images_on_the_right_scale_are_left_alone(spec: InputSpec, low: float, high: float) -> None:
    assert scale_warning(input_range(low, high), [spec]) is None
    assert scale_warning({}, [spec]) is None
