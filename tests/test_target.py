"""Targets: what `host` means, and what each provider is promised."""

from dataclasses import replace

import pytest

from edgerec.benchmarks.records import Machine
from edgerec.compress.quantization.target import TARGET_NAMES, TARGETS, find_target
from edgerec.runtime.errors import ConfigError
from edgerec.runtime.providers import PROVIDERS

MACHINE = Machine("a processor", (), 2, "x86_64", "Linux 6", "3.11")


@pytest.mark.parametrize(
    ("architecture", "instructions", "expected"),
    [
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), "x86-vnni"),
        ("x86_64", ("avx2", "avx_vnni"), "x86-vnni"),
        ("x86_64", ("avx2", "avx512f"), "x86-avx2"),
        ("AMD64", (), "x86-avx2"),
        ("aarch64", ("asimd", "asimddp"), "arm-dot"),
        ("arm64", ("asimd",), "arm-dot"),
    ],
)
def test_host_is_the_processor(architecture: str, instructions: tuple[str, ...], expected: str) -> None:
    assert find_target("host", replace(MACHINE, architecture=architecture, instructions=instructions)).name == expected


def test_every_name_is_found_and_every_provider_is_one() -> None:
    assert TARGET_NAMES == ("host", "x86-vnni", "x86-avx2", "arm-dot", "any", "tensorrt", "openvino", "qnn")
    for name in TARGETS:
        assert find_target(name).name == name
        assert find_target(name).provider in PROVIDERS
        assert find_target(name).note.endswith(".")


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="unknown target: 'avx2'; choose one of host, x86-vnni, x86-avx2"):
        find_target("avx2")


def test_only_processors_that_saturate_are_guarded() -> None:
    assert {one.name: one.guard for one in TARGETS.values() if one.guard != "none"} == {"x86-avx2": "data", "any": "bound"}


def test_tensorrt_gets_symmetric_integers_and_float_biases() -> None:
    target = TARGETS["tensorrt"]
    assert (target.signed, target.symmetric, target.integer_bias) == (True, True, False)
