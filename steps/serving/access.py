"""Who may ask what: bearer tokens with scopes, and how much of it."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from steps.runtime.errors import UsageError
from steps.runtime.secret import Secret
from steps.serving.asgi import RefusedError, Scope

READ, FEEDBACK, ADMIN, ANYBODY = "read", "feedback", "admin", "anybody"
SCOPES = (READ, FEEDBACK, ADMIN)
LEAST_LENGTH = 16
MOST_CLIENTS = 10_000


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True)
class Tokens:
    """Digests of tokens and what each may do. Without any, everybody may read and send feedback, and nobody more."""

    scopes: Mapping[bytes, frozenset[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, one: Secret, several: Secret) -> Tokens:
        """`API_TOKEN` may do everything; `API_TOKENS` is `SCOPE[+SCOPE]=TOKEN,…`."""
        found: dict[bytes, frozenset[str]] = {}
        if one:
            found[_token("API_TOKEN", one.reveal())] = frozenset(SCOPES)
        for place, entry in enumerate(filter(None, (part.strip() for part in several.reveal().split(","))), 1):
            names, equals, token = entry.partition("=")
            scopes = frozenset(names.split("+"))
            # Not the entry itself: it holds a secret.
            if not equals or not scopes <= set(SCOPES):
                raise UsageError(
                    f"entry {place} of API_TOKENS is not SCOPE[+SCOPE]=TOKEN with the scopes {', '.join(SCOPES)}"
                )
            found[_token(f"entry {place} of API_TOKENS", token)] = scopes
        return cls(found)

    def allow(self, scope: Scope, access: str) -> None:
        """Raises RefusedError where the request's token does not allow this."""
        if access == ANYBODY or (not self.scopes and access != ADMIN):
            return
        if not self.scopes:
            raise RefusedError(403, "this needs a token of scope admin, and the server was given none (API_TOKENS)")
        sent = header(scope, b"authorization")
        if not sent[:7].lower() == b"bearer ":
            raise RefusedError(401, f"a token of scope {access} is required", {"WWW-Authenticate": "Bearer"})
        given = hashlib.sha256(sent[7:].strip()).digest()
        # All of them are compared, so that the time tells nothing.
        allowed = [scopes for known, scopes in self.scopes.items() if hmac.compare_digest(known, given)]
        if not allowed:
            raise RefusedError(401, "this token is not known", {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        if access not in allowed[0]:
            raise RefusedError(403, f"this token does not allow {access}")

    def may(self, scope: Scope) -> list[str]:
        """Which scopes a request has."""
        return [access for access in SCOPES if self._allows(scope, access)]

    def _allows(self, scope: Scope, access: str) -> bool:
        try:
            self.allow(scope, access)
        except RefusedError:
            return False
        return True


def _token(what: str, token: str) -> bytes:
    if not re.fullmatch(r"[\x21-\x7e]+", token) or len(token) < LEAST_LENGTH:
        raise UsageError(f"{what} has to be {LEAST_LENGTH} or more printable characters without spaces")
    return digest(token)


def header(scope: Scope, name: bytes) -> bytes:
    """A header of a request, empty where there is none."""
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


class Rate:
    """So many requests a second for each client, and as many at once: a bucket that fills with time."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.burst = max(1.0, per_second)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, scope: Scope) -> None:
        if not self.per_second:
            return
        client, now = (scope.get("client") or ("",))[0], time.monotonic()
        left, since = self._left.pop(client, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.per_second)
        # Who is refused has used nothing up: else asking again would put the answer off for ever.
        self._left[client] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > MOST_CLIENTS:
            self._left.popitem(last=False)
        if left < 1:
            wait = math.ceil((1 - left) / self.per_second)
            raise RefusedError(429, f"more than {self.per_second:g} requests a second", {"Retry-After": str(wait)})


@dataclass(frozen=True)
class Gate:
    """What every request passes."""

    tokens: Tokens
    rate: Rate

    def __call__(self, scope: Scope, access: str) -> None:
        if access != ANYBODY:
            self.rate.allow(scope)
        self.tokens.allow(scope, access)
