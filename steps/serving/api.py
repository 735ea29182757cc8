"""The HTTP interface of the model server: what the shop's site talks to."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steps.models.ids import UNKNOWN
from steps.serving.live import Live, Model

MOST_USERS = 1000


def writable(one: str) -> str:
    """Refuses half a character, which JSON can spell but no answer could repeat."""
    one.encode()
    return one


UserId = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(writable)]


Count = Annotated[int, Query(ge=1, le=1000)]


class RecommendRequest(BaseModel):
    """One user, several at once, or nobody in particular: then what was just bought, as a list of items."""

    model_config = ConfigDict(extra="forbid")

    user: UserId | None = None
    users: list[UserId] | None = Field(None, min_length=1, max_length=MOST_USERS)
    items: list[UserId] | None = Field(None, min_length=1, max_length=MOST_USERS)
    k: int = Field(10, ge=1, le=1000)


class Matrix(BaseModel):
    """Pairs of user and product."""

    model_config = ConfigDict(extra="forbid")

    ndarray: list[tuple[UserId, UserId]] = Field(min_length=1, max_length=100_000)


class PredictRequest(BaseModel):
    """Users and products of the same length, or `{"data": {"ndarray": [[user, product], …]}}`."""

    model_config = ConfigDict(extra="forbid")

    users: list[UserId] | None = Field(None, min_length=1, max_length=100_000)
    products: list[UserId] | None = None
    data: Matrix | None = None


class State:
    """What `/state` tells: counts since the start."""

    def __init__(self) -> None:
        self.started = time.time()
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def count(self, path: str, status: int, seconds: float) -> None:
        with self._lock:
            self._requests[path] += 1
            self._seconds[path] += seconds
            if status >= 400:
                self._errors[path] += 1

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            return {
                path: {
                    "requests": count,
                    "errors": self._errors[path],
                    "mean_ms": round(1000 * self._seconds[path] / count, 3),
                }
                for path, count in sorted(self._requests.items())
            }


class Measured:
    """Counts requests and their seconds. Below what the framework offers for this, which takes as long as an answer."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noticed)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.state.count(path, status, time.perf_counter() - started)


def code_of(model: Model, item: str) -> int:
    """The item's code, or 404 in a sentence."""
    code = model.scorer.items.code(item)
    if code == UNKNOWN:
        raise HTTPException(404, f"version {model.release.version} knows no item {item!r}")
    return code


def user_and_item(request: Request) -> tuple[str, str]:
    """The two ids of a path, from what was sent: once decoded, a slash in an id looks like the one between them."""
    sent = request.scope["raw_path"].decode("ascii").partition("/because/")[2]
    user, _, item = (unquote(part) for part in sent.partition("/"))
    if not user or not item:
        raise HTTPException(422, "a user and an item are required: /because/USER/ITEM, with %2F for a slash in an id")
    return user, item


def application(live: Live) -> FastAPI:
    """The routes over the model that is live."""
    app = FastAPI(title="Recommender", description=__doc__ or "")
    state = State()

    def answering() -> Model:
        model = live.model
        if model is None:
            raise HTTPException(503, f"no model answers yet: {live.problem}", headers={"Retry-After": "5"})
        return model

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> Response:
        # What came is not sent back: it may be long, or nothing that JSON can hold.
        faults = [{"loc": fault["loc"], "msg": fault["msg"]} for fault in error.errors()]
        return Response(json.dumps({"detail": faults}), 422, media_type="application/json")

    app.add_middleware(Measured, state=state)

    @app.post("/recommend")
    def recommend(asked: RecommendRequest) -> dict[str, Any]:
        """The k best items that the user has not bought yet; popular ones for an unknown user.

        With `items` instead of a user: what goes with these, for somebody new.
        """
        if sum(one is not None for one in (asked.user, asked.users, asked.items)) != 1:
            raise HTTPException(422, "give one of user, users and items")
        model = answering()
        about = {"version": model.release.version, "model": model.release.model}
        if asked.items:
            return {**about, **model.recommend_for(asked.items, asked.k)}
        found = model.recommend(asked.users or [asked.user or ""], asked.k)
        return {**about, "recommendations": found} if asked.users else {**about, **found[0]}

    @app.post("/predict")
    def predict(asked: PredictRequest) -> dict[str, Any]:
        """One score a pair of user and product."""
        if (asked.data is None) == (asked.users is None):
            raise HTTPException(422, "give either users and products, or data.ndarray")
        users = asked.users if asked.users else [user for user, _ in asked.data.ndarray] if asked.data else []
        products = asked.products if asked.users else [one for _, one in asked.data.ndarray] if asked.data else []
        if products is None or len(users) != len(products):
            raise HTTPException(
                422, f"{len(users)} users and {len(products or [])} products: one product a user is required"
            )
        model = answering()
        scores = model.predict(users, products)
        about = {"version": model.release.version, "model": model.release.model}
        return {**about, "data": {"ndarray": scores}} if asked.data else {**about, "predictions": scores}

    @app.get("/similar/{item:path}")
    def similar(item: str, k: Count = 10) -> dict[str, Any]:
        """The k items most alike to one: what to show on its page."""
        model = answering()
        found = model.similar(code_of(model, item), k)
        if found is None:
            raise HTTPException(501, f"{model.release.model} cannot tell which items are alike")
        return {"version": model.release.version, "model": model.release.model, "item": item, "items": found}

    @app.get("/because/{user_and_item:path}")
    def because(pair: Annotated[tuple[str, str], Depends(user_and_item)], k: Count = 10) -> dict[str, Any]:
        """Which purchases of a user speak for an item, with the share of each in all that speaks for it.

        The path is `/because/USER/ITEM`; a slash in the user's id is written `%2F`.
        """
        model, (user, item) = answering(), pair
        code = code_of(model, item)
        asked = model.scorer.users.codes([user])
        if not model.scorer.known(asked)[0]:
            raise HTTPException(404, f"version {model.release.version} knows no purchases of user {user!r}")
        found = model.because(int(asked[0]), code, k)
        if found is None:
            raise HTTPException(501, f"{model.release.model} cannot tell why it recommends an item")
        about = {"version": model.release.version, "model": model.release.model, "user": user, "item": item}
        return {**about, "score": model.predict([user], [item])[0], "because": found}

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """Alive, whether a model is loaded or not."""
        return {"status": "alive"}

    @app.get("/readyz")
    def readyz() -> dict[str, Any]:
        """Ready once a model answers."""
        return {"status": "ready", "version": answering().release.version}

    @app.get("/state")
    def show_state() -> dict[str, Any]:
        """Which version answers, and how much it was asked."""
        model = live.model
        return {
            "version": model.release.version if model else None,
            "model": model.release.model if model else None,
            "released": model.release.created if model else None,
            "users": len(model.scorer.users) if model else 0,
            "items": len(model.scorer.items) if model else 0,
            "problem": live.problem,
            "seconds_up": round(time.time() - state.started, 1),
            "seconds_since_look": round(time.time() - live.looked, 1) if live.looked else None,
            "requests": state.as_json(),
        }

    return app
