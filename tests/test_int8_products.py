"""The exact answers to quantized products, by hand and with numpy."""

import numpy as np
import pytest

from edgerec.benchmarks.int8_products import Product, additions, products, quantized, reference
from edgerec.benchmarks.records import has_int8_dot, machine
from edgerec.runtime.session import open_session

MATMULS = [one for one in products() if one.node.op_type != "Conv"]


@pytest.mark.parametrize("product", MATMULS, ids=lambda one: one.name)
def test_the_reference_is_whole_number_arithmetic(product: Product) -> None:
    weight = product.weight.T if product.node.op_type == "Gemm" else product.weight
    sums = (product.values.astype(np.int64) - 100) @ weight.astype(np.int64) + product.bias
    expected = np.clip(np.rint(sums.astype(np.float32) * product.scale) + 128, 0, 255)
    job = reference(product)
    np.testing.assert_array_equal(open_session(job.model, threads=1).run(job.feeds)["y"], expected)


@pytest.mark.skipif(not has_int8_dot(machine()), reason="this processor's int8 products may saturate")
@pytest.mark.parametrize("product", products(), ids=lambda one: one.name)
def test_a_processor_with_dot_products_is_exact(product: Product) -> None:
    jobs = reference(product), quantized(product)
    exact, got = (open_session(one.model, threads=1).run(one.feeds)["y"] for one in jobs)
    np.testing.assert_array_equal(exact, got)


def test_the_same_seed_gives_the_same_products() -> None:
    assert [quantized(one).model for one in products(3)] == [quantized(one).model for one in products(3)]
    assert [quantized(one).model for one in products(3)] != [quantized(one).model for one in products(4)]


def test_additions_add() -> None:
    job = additions(1)[0]
    assert open_session(job.model, threads=1).run(job.feeds)["y"].shape == (16384,)
