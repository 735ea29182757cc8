"""From the model servers to monitor: what each process answered within a minute, by version."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from steps.artifacts import dated, records
from steps.artifacts.names import SERVING
from steps.clients.object_store import Bucket
from steps.runtime.errors import BadDataError

log = logging.getLogger(__name__)

ENDING = "json"


@dataclass(frozen=True)
class Shadow:
    """What became of questions that were put to a version beside the one that answered."""

    asked: int
    overlap: float
    """The mean share of the items shown that the shadow would have shown too."""


@dataclass(frozen=True)
class Answers:
    """What one version did; a question that it should have answered is counted here, whoever did answer it."""

    requests: int
    """Questions that were put to it, also in the shadow: those that it answered, and the errors."""
    errors: int = 0
    """Those that it did not answer itself."""
    degraded: int = 0
    """Errors that were answered by another version, or with what is popular: a part of them."""
    unknown_users: int = 0
    ms: tuple[float, float] = (0.0, 0.0)
    """The time of the middle request, and of the slowest of a hundred."""
    shadow: Shadow | None = None


@dataclass(frozen=True)
class Minute:
    """What one process of a server did in about a minute."""

    since: str
    until: str
    host: str
    versions: Mapping[int, Answers]


def encode(minute: Minute) -> bytes:
    versions = {str(version): _told(one) for version, one in minute.versions.items()}
    return records.encode({"from": minute.since, "to": minute.until, "host": minute.host, "versions": versions})


def decode(content: bytes) -> Minute:
    """Reads what `encode` wrote; BadDataError for anything else."""
    try:
        value = json.loads(content)
        versions = {int(version): _answers(one) for version, one in value["versions"].items()}
        return Minute(str(value["from"]), str(value["to"]), str(value["host"]), versions)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadDataError(f"not what a server counts: {error!r}") from error


def write(data: Bucket, minute: Minute, now: datetime | None = None) -> str:
    """Writes it and returns its key."""
    return dated.write(data, SERVING, ENDING, encode(minute), now or datetime.now(UTC))


def read(data: Bucket, since: datetime, until: datetime) -> Iterator[Minute]:
    """What was written from `since` on and before `until`, in that order."""
    for place, content in dated.contents(data, dated.keys(data, SERVING, since, until)):
        try:
            yield decode(content)
        except BadDataError as error:
            # One damaged object must not keep everybody from all the others.
            log.warning("%s is left out: %s", data.address(place), error)


def _told(one: Answers) -> dict[str, Any]:
    told = asdict(one)
    if one.shadow is None:
        del told["shadow"]
    return told


def _answers(value: Mapping[str, Any]) -> Answers:
    shadow, ms = value.get("shadow"), value.get("ms", (0, 0))
    return Answers(
        requests=int(value["requests"]),
        errors=int(value.get("errors", 0)),
        degraded=int(value.get("degraded", 0)),
        unknown_users=int(value.get("unknown_users", 0)),
        ms=(float(ms[0]), float(ms[1])),
        shadow=Shadow(int(shadow["asked"]), float(shadow["overlap"])) if shadow else None,
    )
