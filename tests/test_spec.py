"""The spec: one JSON form, and refusals that say what to do."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerec.runtime.errors import ConfigError, ModelError
from edgerec.runtime.spec import InputSpec, ModelSpec, Provenance

GREY = InputSpec(28, 28, color="grey", mean=(0.1307,), std=(0.3081,))

specs = st.builds(
    ModelSpec,
    inputs=st.tuples(
        st.builds(
            InputSpec,
            height=st.integers(1, 4096),
            width=st.integers(1, 4096),
            name=st.text(min_size=1),
            color=st.sampled_from(["rgb", "bgr"]),
            fit=st.sampled_from(["crop", "stretch"]),
            crop=st.floats(0.01, 1),
            mean=st.tuples(*[st.floats(-10, 10)] * 3),
            std=st.tuples(*[st.floats(0.01, 10)] * 3),
        )
    ),
    labels=st.lists(st.text()).map(tuple),
    provenance=st.builds(Provenance, versions=st.dictionaries(st.text(), st.text()), data_fingerprint=st.text()),
)


@given(specs)
def test_json_round_trip(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_equal_specs_give_equal_text() -> None:
    one = ModelSpec((GREY,), provenance=Provenance(versions={"b": "2", "a": "1"}))
    two = ModelSpec((GREY,), provenance=Provenance(versions={"a": "1", "b": "2"}))
    assert one.to_json() == two.to_json()


def test_shape_follows_the_layout() -> None:
    assert GREY.shape == (1, 28, 28)
    assert InputSpec(4, 6, layout="NHWC").shape == (4, 6, 3)


def test_a_field_of_a_later_release_is_ignored_and_a_newer_schema_refused() -> None:
    raw = json.loads(ModelSpec((GREY,)).to_json())
    raw["inputs"][0]["sharpness"] = 1
    assert ModelSpec.from_json(json.dumps(raw)) == ModelSpec((GREY,))
    raw["schema_version"] = 99
    with pytest.raises(ModelError, match=r"schema_version 99.*update edgerec"):
        ModelSpec.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema_version":1}',
        '{"schema_version":1,"inputs":3}',
        '{"schema_version":1,"inputs":[{"height":0,"width":2}]}',
        '{"schema_version":1,"inputs":[{"height":8.0,"width":8}]}',
        '{"schema_version":1,"inputs":[{"height":1000000000,"width":1000000000}]}',
        "null",
    ],
)
def test_damaged_text_is_a_model_error(text: str) -> None:
    with pytest.raises(ModelError):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("height", 0, "pixel"),
        ("height", 8.0, "whole numbers"),
        ("width", True, "whole numbers"),
        ("width", "8", "whole numbers"),
        ("width", 10**9, "at most 64,000,000 pixels"),
        ("crop", 0.0, "crop"),
        ("color", "cmyk", "rgb, bgr, grey"),
        ("kernel", "sinc", "lanczos"),
        ("std", (0.0, 1.0, 1.0), "zero"),
        ("mean", (0.5,), "channels"),
    ],
)
def test_impossible_values_are_refused(field: str, value: object, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        InputSpec(**{"height": 8, "width": 8, field: value})  # type: ignore[arg-type]


def test_only_one_image_input_is_the_input() -> None:
    with pytest.raises(ModelError, match="inputs: a, b"):
        _ = ModelSpec((InputSpec(8, 8, name="a"), InputSpec(8, 8, name="b"))).input


def test_history_grows_at_the_end() -> None:
    grown = Provenance().after("prune", ratio=0.5).after("export")
    assert [step["step"] for step in grown.history] == ["prune", "export"]
