"""Rules for single layers from a TOML file."""

from pathlib import Path

import pytest

from edgerec.compress.quantization.overrides import Layer, layer_for, read_layers
from edgerec.runtime.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "layers.toml"
    path.write_text(text)
    return path


def test_later_rules_count_over_earlier_ones(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[[layer]]\nname = "conv*"\nmethod = "mse"\nweight_bits = 7\n[[layer]]\nname = "conv_2"\nprecision = "float"\nmethod = "minmax"',
    )
    layers = read_layers(path)
    assert layer_for("conv_1", layers) == Layer("conv_1", None, "mse", None, 7)
    assert layer_for("conv_2", layers) == Layer("conv_2", "float", "minmax", None, 7)
    assert layer_for("gemm", layers) == Layer("gemm")
    assert read_layers(written(tmp_path, "")) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[layer]\n", "no TOML"),
        ('[[layer]]\nprecision = "float"', "it has no name"),
        ('[[layer]]\nname = "a"\nprecisoin = "float"', "precisoin"),
        ('[[layer]]\nname = "a"\nprecision = "int4"', "int4"),
        ('[[layer]]\nname = "a"\nmethod = "max"', "choose one of"),
        ('[[layer]]\nname = "a"\npercentile = 101', "101"),
        ('[[layer]]\nname = "a"\npercentile = "high"', "high"),
        ('[[layer]]\nname = "a"\nweight_bits = 4', "7 or 8"),
        ("[[layer]]\nname = 3", "needs a name"),
        ("layer = 3", "tables only"),
        ('[layers]\nname = "a"', "layers"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_layers(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        read_layers(tmp_path / "gone.toml")
