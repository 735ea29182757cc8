"""A slot without TensorFlow: follows a slot's versions in the store, answers TF Serving's REST API from arrays."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.sparse as sp
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from steps.artifacts import names, slots
from steps.clients.object_store import Bucket, ObjectMissingError, remove_folder
from steps.models import scorers
from steps.models.recommender import NOBODY
from steps.models.scorer import Scorer, rows_of
from steps.models.signature import (
    ITEMS,
    KNOWN,
    MODEL_NAME,
    NO_ITEM,
    PREDICT,
    PREDICTIONS,
    PRODUCTS,
    RECOMMEND,
    SCORES,
    USERS,
    K,
)
from steps.runtime.errors import StepError
from steps.serving import tensorflow_json
from steps.serving.tensorflow_json import VersionState

log = logging.getLogger(__name__)

MOST_ITEMS = 100_000
"""The largest k that is answered: more would ask for memory, not for recommendations."""
INPUTS = {PREDICT: (USERS, PRODUCTS), RECOMMEND: (USERS, K)}


class RequestError(Exception):
    """A request that TF Serving would refuse, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Loaded:
    """A version ready to answer."""

    content: slots.SlotVersion
    scorer: Scorer
    seen: sp.csr_matrix

    def call(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        users = self.scorer.users.codes(inputs[USERS])
        if signature == PREDICT:
            return {PREDICTIONS: self.scorer.score(users, self.scorer.items.codes(inputs[PRODUCTS]))}
        found = self.scorer.recommend(users, inputs[K], rows_of(self.seen, users))
        ids = [[NO_ITEM if code == NOBODY else self.scorer.items[int(code)] for code in row] for row in found.items]
        return {ITEMS: ids, SCORES: found.scores, KNOWN: found.known}


class Slot:
    """Keeps the newest whole version of a slot loaded; the old one answers until the new one can."""

    def __init__(self, models: Bucket, name: str, cache: Path) -> None:
        self.models = models
        self.name = name
        self.cache = cache
        self.loaded: Loaded | None = None
        self.states: dict[int, VersionState] = {}
        self.stopped = threading.Event()

    def follow(self, seconds: float) -> None:
        """Looks for new versions until `stopped` is set."""
        while not self.stopped.is_set():
            try:
                self.refresh()
            except (StepError, ObjectMissingError) as error:  # a store away or in motion; what is loaded goes on
                log.warning("slot %s: %s", self.name, error)
            self.stopped.wait(seconds)

    def refresh(self) -> None:
        """Brings what is loaded up to what the store holds now."""
        found = slots.whole_versions(self.models, self.name)
        if not found:
            self.loaded, self.states = None, {}
            return
        newest = found[max(found)]
        if self.loaded and self.loaded.content == newest:
            return
        self.states[newest.version] = VersionState("LOADING")
        try:
            self.loaded = self._load(newest)
        except (StepError, ObjectMissingError, OSError, ValueError) as error:
            if slots.whole_versions(self.models, self.name).get(newest.version) != newest:
                del self.states[newest.version]  # it went while it was read: a publisher fills the version anew
                return
            # The state tells the publisher; the version before goes on answering.
            log.error("slot %s: version %d cannot be loaded: %s", self.name, newest.version, error)
            self.states[newest.version] = VersionState("END", str(error))
            return
        self.states = {newest.version: VersionState("AVAILABLE")}
        log.info("slot %s: version %d (%s) is available", self.name, newest.version, newest.model)

    def _load(self, content: slots.SlotVersion) -> Loaded:
        for part in names.ARRAYS:
            files = content.part(part)
            if files:
                prefix = f"{names.slot_version(self.name, content.version)}/{part}"
                remove_folder(self.cache / prefix)
                return Loaded(content, *scorers.load(self.models.fetch(prefix, files, self.cache)))
        raise ValueError(f"{content.model} has no arrays; this slot server answers from arrays only")

    def version(self, wanted: int | None) -> Loaded:
        loaded = self.loaded
        if loaded is None or wanted not in (None, loaded.content.version):
            which = f"Specific({MODEL_NAME}, {wanted})" if wanted else f"Latest({MODEL_NAME})"
            raise RequestError(404, f"Servable not found for request: {which}")
        return loaded


def application(slot: Slot) -> Starlette:
    """The REST API of one slot."""

    async def status(request: Request) -> Response:
        require_model(request)
        wanted = request.path_params.get("version")
        known = {version: state for version, state in slot.states.items() if wanted in (None, version)}
        if not known:
            which = f"version {wanted} of" if wanted else "any versions of"
            raise RequestError(404, f"Could not find {which} model {MODEL_NAME}")
        return respond(200, tensorflow_json.status(known))

    async def predict(request: Request) -> Response:
        require_model(request)
        loaded = slot.version(request.path_params.get("version"))
        signature, inputs, by_row = parse(await request.body())
        outputs = await run_in_threadpool(loaded.call, signature, inputs)
        return respond(200, tensorflow_json.rows(outputs) if by_row else tensorflow_json.columns(outputs))

    async def refuse(request: Request, error: Exception) -> Response:
        status_code = error.status if isinstance(error, RequestError) else 500
        return respond(status_code, tensorflow_json.error(str(error)))

    base = "/v1/models/{model}"
    return Starlette(
        routes=[
            Route(base + "/versions/{version:int}:predict", predict, methods=["POST"]),
            Route(base + ":predict", predict, methods=["POST"]),
            Route(base + "/versions/{version:int}", status),
            Route(base, status),
        ],
        exception_handlers={RequestError: refuse},
    )


def require_model(request: Request) -> None:
    model = request.path_params["model"]
    if model != MODEL_NAME:
        raise RequestError(404, f"Could not find any versions of model {model}")


def respond(status: int, text: str) -> Response:
    return Response(text.encode(), status, media_type="application/json")


def parse(body: bytes) -> tuple[str, dict[str, Any], bool]:
    """The signature, its inputs by name, and whether they came as rows (`instances`)."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise RequestError(400, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise RequestError(400, "JSON Value: the body is not an object")
    signature = request.get("signature_name", "serving_default")
    if not isinstance(signature, str) or signature not in INPUTS:
        raise RequestError(400, f"Serving signature name: {json.dumps(signature)} not found in signature def")
    by_row = "instances" in request
    given = request.get("instances") if by_row else request.get("inputs")
    if by_row == ("inputs" in request) or not given:
        raise RequestError(400, "JSON Value: give either 'inputs' or 'instances', not empty")
    inputs = _from_rows(given, signature) if by_row else given
    return signature, _checked(inputs, signature), by_row


def _from_rows(given: Any, signature: str) -> dict[str, Any]:
    wanted = INPUTS[signature]
    if not isinstance(given, list) or not all(isinstance(row, dict) and set(row) == set(wanted) for row in given):
        raise RequestError(400, f"Expecting every instance to be an object with {' and '.join(wanted)}")
    if K in wanted:
        raise RequestError(400, f"Tensor name: {K} has inconsistent batch size: a scalar needs 'inputs'")
    return {name: [row[name] for row in given] for name in wanted}


def _checked(inputs: Any, signature: str) -> dict[str, Any]:
    wanted = INPUTS[signature]
    if not isinstance(inputs, dict) or set(inputs) != set(wanted):
        raise RequestError(400, f"Expecting inputs {' and '.join(wanted)}")
    for name in wanted:
        value = inputs[name]
        if name == K:
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_ITEMS:
                raise RequestError(400, f"JSON Value: {json.dumps(value)} is not of expected type: int32")
        elif not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise RequestError(400, f"JSON Value: {json.dumps(value)} is not of expected type: string")
    if signature == PREDICT and len(inputs[USERS]) != len(inputs[PRODUCTS]):
        raise RequestError(400, f"Incompatible shapes: [{len(inputs[USERS])}] vs. [{len(inputs[PRODUCTS])}]")
    return inputs
