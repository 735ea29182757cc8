"""The thin layer between the HTTP server and what answers: routes, bodies, refusals, and how long each took.

A request for recommendations is answered in a fraction of a millisecond; a web framework would take several times that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from steps.serving.messages import Refusal

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = "application/json"
MOST_BYTES = 16 << 20
BODY_SECONDS = 10.0
"""Within which a body must have come."""
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (b"referrer-policy", b"no-referrer"),
)
OTHER = "other"
"""Stands for every path that does not exist: who asks for many must not fill the statistics."""


class RefusedError(Exception):
    """A request that gets a sentence instead of an answer."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True)
class Text:
    """An answer that is no JSON."""

    text: str
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """In place of those that every answer has, where they have the same name."""


@dataclass(frozen=True)
class Request:
    """What a route is given."""

    scope: Scope
    body: Any
    """As the route declares it; None where it takes none."""

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    def count(self, name: str, otherwise: int, most: int) -> int:
        """A whole number of the query."""
        text = self.query.get(name, str(otherwise))
        if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 9 and 1 <= int(text) <= most):
            raise RefusedError(422, f"{name} is {text[:20]!r}: 1 to {most} are allowed")
        return int(text)

    def flag(self, name: str) -> bool:
        """Yes or no of the query; no where nothing is said."""
        text = self.query.get(name, "false").lower()
        if text not in ("", "true", "false"):
            raise RefusedError(422, f"{name} is {text[:20]!r}: true or false is allowed")
        return text != "false"

    def after(self, path: str) -> list[str]:
        """What follows the route's path, part by part. A slash in an id is sent as %2F, and is none between parts."""
        sent = self.scope["raw_path"].decode("ascii", "replace").split("?", 1)[0]
        return [unquote(part) for part in sent.removeprefix(path).split("/")]


Handler = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class Parameter:
    """What may follow a question mark."""

    about: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Route:
    """A path, who may ask, what is sent, what comes back."""

    method: str
    path: str
    """One that ends with a slash takes what follows it."""
    handler: Handler
    answer: Any
    """The type of the answer, several where there are several kinds, or the media type of a text."""
    body: Any = None
    access: str = "read"
    rest: Sequence[str] = ()
    """What follows the path, by name."""
    query: Mapping[str, Parameter] = field(default_factory=dict)
    """What may follow a question mark, by name."""

    @cached_property
    def decode(self) -> Callable[[bytes], Any]:
        return msgspec.json.Decoder(self.body).decode

    @property
    def label(self) -> str:
        """What it is called where requests are counted."""
        return self.path.rstrip("/") or "/"


class Watcher(Protocol):
    """Is told of every request."""

    def count(self, label: str, status: int, seconds: float) -> None: ...


class Guard(Protocol):
    """Refuses who may not ask; raises RefusedError."""

    def __call__(self, scope: Scope, access: str) -> None: ...


class Application:
    """Sends each request to its route. Whatever a route raises is told as JSON with one sentence."""

    def __init__(self, routes: Sequence[Route], watcher: Watcher, guard: Guard, most_at_once: int = 1000) -> None:
        self.routes = routes
        self.watcher = watcher
        self.guard = guard
        self.most_at_once = most_at_once
        self.now = 0
        """Requests that are being answered."""
        self._exact = {(route.method, route.path): route for route in routes if not route.path.endswith("/")}
        self._exact |= {(route.method, route.path): route for route in routes if route.path == "/"}
        self._longer = [route for route in routes if route.path.endswith("/") and route.path != "/"]
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not spoken here")
        began = time.perf_counter()
        self.now += 1
        try:
            await self._respond(scope, receive, send, began)
        finally:
            self.now -= 1

    async def _respond(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        label = OTHER
        try:
            route = self.find(scope["method"], scope["path"])
            label = route.label
            status, media_type, content, headers = await self.answer(route, scope, receive)
        except RefusedError as refused:
            status, media_type = refused.status, JSON
            content, headers = self._encode(Refusal(str(refused))), refused.headers
        own = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        start = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(content)), *beside(own)]
        self.watcher.count(label, status, time.perf_counter() - began)
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    def find(self, method: str, path: str) -> Route:
        asked = "GET" if method == "HEAD" else method
        if route := self._exact.get((asked, path)):
            return route
        for route in self._longer:
            if route.method == asked and path.startswith(route.path):
                return route
        known = sorted({route.method for route in self.routes if _meets(route, path)})
        if known:
            raise RefusedError(405, f"{path} takes {' or '.join(known)}", {"Allow": ", ".join(known)})
        raise RefusedError(404, "there is no such path; /docs lists those that there are")

    async def answer(self, route: Route, scope: Scope, receive: Receive) -> tuple[int, str, bytes, Mapping[str, str]]:
        self.guard(scope, route.access)
        if self.now > self.most_at_once and route.body is not None:
            raise RefusedError(503, "too much is being asked at the moment", {"Retry-After": "1"})
        body = None
        if route.body is not None:
            sent = await read(receive)
            try:
                body = route.decode(sent)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:  # also a ValidationError
                raise RefusedError(422, _sentence(error)) from error
        try:
            found = await route.handler(Request(scope, body))
        except RefusedError:
            raise
        except Exception:
            log.exception("%s %s failed", route.method, route.label)
            raise RefusedError(500, "this could not be answered; the server's log says why") from None
        if isinstance(found, Text):
            return 200, found.media_type, found.text.encode(), found.headers
        return 200, JSON, self._encode(found), {}


def beside(own: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """The headers of an answer: its own, and those of every answer that it does not replace."""
    if not own:
        return HEADERS
    names = {name for name, _ in own}
    return [*(header for header in HEADERS if header[0] not in names), *own]


async def read(receive: Receive) -> bytes:
    """The body of a request, of a bearable size and within a bearable time, which begins before its first byte."""
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > MOST_BYTES:
                    sentence = f"the body is larger than {MOST_BYTES >> 20} MiB"
                    raise RefusedError(413, sentence, {"Connection": "close"})
    except TimeoutError as error:
        raise RefusedError(
            408, f"the body did not come within {BODY_SECONDS:.0f} s", {"Connection": "close"}
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _meets(route: Route, path: str) -> bool:
    return path == route.path or (route.path.endswith("/") and route.path != "/" and path.startswith(route.path))


def _sentence(error: Exception) -> str:
    """What is wrong with a body. What came is not sent back but for a field's name, which may be long."""
    text = str(error)
    return text if len(text) <= 300 else f"{text[:300]}…"
