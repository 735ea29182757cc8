"""The embedded slot over real HTTP, and against the SavedModel that a real TensorFlow Serving would load."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from steps.artifacts import slots
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.clients.tf_serving import ABSENT, AVAILABLE, ServingClient, parse_slots
from steps.models.factors import Factors
from steps.models.interactions import Interactions
from steps.models.saved_model import export
from steps.runtime.errors import CheckFailedError, TryAgainError, UsageError
from steps.serving.server import in_background
from steps.serving.slot import Slot, application

Make = Callable[..., Candidate]


@pytest.fixture
def slot(folder_store: Store, tmp_path: Path) -> Slot:
    return Slot(folder_store.models, "blue", tmp_path / "cache")


@pytest.fixture
def address(slot: Slot) -> Iterator[str]:
    with in_background(application(slot)) as found:
        yield found


@pytest.fixture
def url(address: str) -> str:
    return f"{address}/v1/models/recommender"


def post(url: str, body: Any) -> requests.Response:
    return requests.post(url, json=body, timeout=60)


def test_a_version_is_absent_until_it_is_whole_and_then_available(
    slot: Slot, address: str, folder_store: Store, make_candidate: Make
) -> None:
    client = ServingClient(address, "recommender")
    assert client.state(1) == ABSENT
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 1)
    slot.refresh()
    assert client.state(1) == AVAILABLE
    assert client.state(2) == ABSENT


def test_the_new_version_takes_over_and_the_old_is_gone(
    slot: Slot, address: str, folder_store: Store, make_candidate: Make
) -> None:
    client = ServingClient(address, "recommender")
    for version in (1, 3):
        slots.fill(folder_store.models, make_candidate(folder_store, f"run-{version}"), "blue", version)
        slot.refresh()
    assert (client.state(1), client.state(3)) == (ABSENT, AVAILABLE)
    slots.drop(folder_store.models, "blue", 3)
    slots.drop(folder_store.models, "blue", 1)
    slot.refresh()
    assert client.state(3) == ABSENT


def test_a_damaged_version_ends_and_the_old_goes_on(
    slot: Slot, address: str, folder_store: Store, make_candidate: Make
) -> None:
    client = ServingClient(address, "recommender")
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 1)
    slot.refresh()
    slots.fill(folder_store.models, make_candidate(folder_store, "run-2"), "blue", 2)
    folder_store.models.put("slots/blue/2/factors/item_factors.npy", b"damaged")
    slot.refresh()
    assert client.state(2).startswith("END: ")
    assert "item_factors.npy has changed" in client.state(2)
    assert client.state(1) == AVAILABLE
    assert client.call(1, "predict", {"users": ["u000"], "products": ["i000"]})[""]


def test_a_version_that_is_filled_anew_while_it_is_loaded_has_not_failed(
    slot: Slot, folder_store: Store, make_candidate: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_candidate(folder_store, "run-1")
    slots.fill(folder_store.models, made, "blue", 1)
    load = Slot._load

    def drop_first(self: Slot, content: slots.SlotVersion) -> Any:
        slots.drop(folder_store.models, "blue", 1)
        return load(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Slot, "_load", drop_first)
        slot.refresh()
    assert slot.states == {}
    slots.fill(folder_store.models, made, "blue", 1)
    slot.refresh()
    assert slot.states[1].name == "AVAILABLE"


@pytest.fixture
def filled(slot: Slot, folder_store: Store, make_candidate: Make) -> Slot:
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 7)
    slot.refresh()
    return slot


def test_it_answers_what_the_saved_model_answers(
    filled: Slot, url: str, checkerboard: Interactions, factors: Factors, tmp_path: Path
) -> None:
    from google.protobuf import json_format
    from tensorflow_serving.apis import predict_pb2

    from steps.models.quiet_tensorflow import tf

    export(factors, checkerboard.matrix, tmp_path / "model")
    model = tf.saved_model.load(str(tmp_path / "model"))

    def tensorflow_serving(signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """What the real server does between its two messages, with its own protos."""
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = signature
        run = model.signatures[signature]
        for name, value in inputs.items():
            wanted = run.structured_input_signature[1][name].dtype
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value, wanted))
        request = json_format.Parse(json_format.MessageToJson(request), predict_pb2.PredictRequest())
        outputs = run(**{name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()})
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}

    asked = {"users": ["u003", "u010", "nobody"], "k": 4}
    theirs = tensorflow_serving("recommend", asked)
    ours = post(f"{url}:predict", {"signature_name": "recommend", "inputs": asked}).json()["outputs"]
    assert set(ours) == set(theirs)
    assert ours["known"] == theirs["known"].tolist() == [True, True, False]
    assert np.array(ours["scores"]) == pytest.approx(theirs["scores"], rel=1e-4, abs=1e-6)
    assert np.shape(ours["items"]) == theirs["items"].shape
    pairs = {"users": ["u003", "nobody", "u010"], "products": ["i004", "i004", "nothing"]}
    theirs = tensorflow_serving("predict", pairs)
    ours = post(f"{url}:predict", {"signature_name": "predict", "inputs": pairs}).json()["outputs"]
    assert ours == pytest.approx(theirs["predictions"], rel=1e-4, abs=1e-6)


def test_rows_are_answered_as_rows(filled: Slot, url: str) -> None:
    rows = [{"users": "u003", "products": "i004"}, {"users": "nobody", "products": "i004"}]
    found = post(f"{url}/versions/7:predict", {"signature_name": "predict", "instances": rows})
    assert len(found.json()["predictions"]) == 2
    assert found.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"inputs": {"users": ["a"], "k": 1}}, "serving_default"),
        ({"signature_name": ["recommend"], "inputs": {"users": ["a"], "k": 1}}, "signature"),
        ({"signature_name": "\ud800", "inputs": {"users": ["a"], "k": 1}}, "signature"),
        ({"signature_name": "recommend", "inputs": {"users": ["a"], "k": 10**12}}, "type: int32"),
        ({"signature_name": "recommend", "inputs": {"users": ["a"]}}, "users and k"),
        ({"signature_name": "recommend", "inputs": {"users": "a", "k": 1}}, "type: string"),
        ({"signature_name": "recommend", "inputs": {"users": [1], "k": 1}}, "type: string"),
        ({"signature_name": "recommend", "inputs": {"users": ["a"], "k": "1"}}, "type: int32"),
        ({"signature_name": "recommend", "inputs": {"users": ["a"], "k": True}}, "type: int32"),
        ({"signature_name": "recommend", "instances": [{"users": "a", "k": 1}]}, "scalar"),
        ({"signature_name": "predict", "instances": [{"users": "a"}]}, "every instance"),
        ({"signature_name": "predict", "inputs": {"users": ["a"], "products": []}}, "[1] vs. [0]"),
        ({"signature_name": "predict"}, "either"),
        ({"signature_name": "predict", "inputs": {}, "instances": []}, "either"),
        ([], "not an object"),
    ],
)
def test_a_wrong_request_is_400_with_the_reason(filled: Slot, url: str, body: Any, said: str) -> None:
    answer = post(f"{url}:predict", body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_what_is_not_json_is_400(filled: Slot, url: str) -> None:
    answer = requests.post(f"{url}:predict", data=b"{", timeout=60)
    assert answer.status_code == 400
    assert "JSON Parse error" in answer.json()["error"]


def test_another_model_or_version_is_404(filled: Slot, url: str, address: str) -> None:
    asked = {"signature_name": "predict", "inputs": {"users": ["a"], "products": ["b"]}}
    assert "Specific(recommender, 9)" in post(f"{url}/versions/9:predict", asked).json()["error"]
    assert post(f"{address}/v1/models/other:predict", asked).status_code == 404
    assert requests.get(f"{url}/versions/9", timeout=60).status_code == 404
    assert requests.get(f"{url}", timeout=60).json()["model_version_status"][0]["version"] == "7"


def test_the_client_tells_what_may_pass_from_what_will_not(filled: Slot, address: str) -> None:
    client = ServingClient(address, "recommender")
    with pytest.raises(TryAgainError, match="404"):
        client.call(9, "predict", {"users": ["a"], "products": ["b"]})
    with pytest.raises(CheckFailedError, match="refuses forecast"):
        client.call(None, "forecast", {"users": ["a"]})
    with pytest.raises(TryAgainError, match="does not answer"):
        ServingClient("http://127.0.0.1:9", "recommender").call(None, "predict", {})


def test_two_slots_are_named_with_addresses() -> None:
    assert parse_slots("") == {}
    assert parse_slots("blue=http://a:1, green=http://b:2") == {"blue": "http://a:1", "green": "http://b:2"}


@pytest.mark.parametrize("text", ["blue", "blue=a:1,green=b:2", "blue=http://a:1", "a=http://a,b=http://b,c=http://c"])
def test_other_than_two_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SLOTS"):
        parse_slots(text)


def test_the_answer_is_the_same_text_as_tensorflow_servings(filled: Slot, url: str) -> None:
    asked = {"signature_name": "recommend", "inputs": {"users": ["nobody"], "k": 1}}
    text = post(f"{url}:predict", asked).text
    outputs = json.loads(text)["outputs"]
    item, score = outputs["items"][0][0], outputs["scores"][0][0]
    lines = [
        "{",
        '    "outputs": {',
        '        "items": [',
        "            [",
        f'                "{item}"',
        "            ]",
        "        ],",
        '        "scores": [',
        "            [",
        f"                {score}",
        "            ]",
        "        ],",
        '        "known": [',
        "            false",
        "        ]",
        "    }",
        "}",
    ]
    assert text == "\n".join(lines)
