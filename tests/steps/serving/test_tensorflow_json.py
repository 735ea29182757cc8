"""The expected texts are TensorFlow Serving's own layout, worked out from the rules of its JSON writer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from steps.serving import tensorflow_json
from steps.serving.tensorflow_json import VersionState


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (3.0, "3.0"),
        (0.1, "0.1"),
        (1 / 3, "0.333333343"),
        (1e-5, "1e-05"),
        (9e6, "9e+06"),
        (123456.0, "123456.0"),
        (16777216.0, "16777216.0"),
        (-0.0, "-0.0"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (float(np.finfo(np.float32).min), "-3.40282347e+38"),
    ],
)
def test_a_float_is_written_in_its_shortest_form_that_reads_back(value: float, text: str) -> None:
    assert tensorflow_json.number(value) == text
    if np.isfinite(value):
        assert np.float32(json.loads(text)) == np.float32(value)


def test_columns_stand_line_by_line() -> None:
    found = tensorflow_json.columns({"items": [["a", "b"]], "known": np.array([True])})
    assert found == (
        '{\n    "outputs": {\n        "items": [\n            [\n                "a",\n                "b"\n'
        '            ]\n        ],\n        "known": [\n            true\n        ]\n    }\n}'
    )


def test_a_single_column_is_written_without_its_name() -> None:
    found = tensorflow_json.columns({"predictions": np.array([0.5, 1.0], np.float32)})
    assert found == '{\n    "outputs": [\n        0.5,\n        1.0\n    ]\n}'


def test_rows_of_one_output_are_a_list_on_one_line() -> None:
    found = tensorflow_json.rows({"predictions": np.array([2.5, 3.0], np.float32)})
    assert found == '{\n    "predictions": [2.5, 3.0\n    ]\n}'


def test_rows_of_several_outputs_are_objects() -> None:
    found = tensorflow_json.rows({"a": np.array([[1.0, 2.0]], np.float32), "b": np.array([False])})
    assert found == (
        '{\n    "predictions": [\n        {\n            "a": [1.0, 2.0],\n            "b": false\n        }\n    ]\n}'
    )


def test_no_rows_are_an_empty_list() -> None:
    assert json.loads(tensorflow_json.rows({"a": np.array([])})) == {"predictions": []}
    assert json.loads(tensorflow_json.columns({"a": np.array([])})) == {"outputs": []}


def test_an_error_is_an_object_with_one_member() -> None:
    assert tensorflow_json.error('no "such" thing') == '{\n    "error": "no \\"such\\" thing"\n}'


def test_texts_keep_their_letters_and_escape_controls_in_capitals() -> None:
    found = tensorflow_json.columns({"a": ["é/\n\x1f\\"]})
    assert found == '{\n    "outputs": [\n        "é/\\n\\u001F\\\\"\n    ]\n}'
    assert json.loads(found) == {"outputs": ["é/\n\x1f\\"]}


def test_the_status_is_a_message_of_tensorflow_servings_own_proto() -> None:
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_status_pb2

    text = tensorflow_json.status({1: VersionState("END", "broken"), 2: VersionState("AVAILABLE")})
    message = json_format.Parse(text, get_model_status_pb2.GetModelStatusResponse())
    states = get_model_status_pb2.ModelVersionStatus.State
    assert [(one.version, states.Name(one.state)) for one in message.model_version_status] == [
        (2, "AVAILABLE"),
        (1, "END"),
    ]
    assert message.model_version_status[1].status.error_message == "broken"
    assert text.startswith('{\n "model_version_status": [\n  {\n   "version": "2",\n   "state": "AVAILABLE",\n')
