"""What is sent through Kafka: the one place where the messages of the streams are declared, checked and described.

Every message is JSON with `v`, the version of its form. A form that loses a field, or gives one another meaning, is a
new version; readers refuse versions that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from steps.serving.messages import Recommend, Recommendation

VERSION = 1
MOST_BYTES = 64 << 10
"""The largest request: a thousand long ids fit, and a broker takes far more."""
MOST_ANSWER_BYTES = 900_000
"""Below what a broker takes, unless it is told otherwise."""

Read = TypeVar("Read")
RequestId = Annotated[str, Meta(min_length=1, max_length=128)]


class BadMessageError(Exception):
    """A message that cannot be used, in a sentence."""


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """Topic `…-requests`: somebody wants recommendations. The key does not matter."""

    v: Literal[1]
    id: RequestId
    """Chosen by who asks, and found again in the answer."""
    recommend: Recommend
    """What `POST /recommend` takes for one user, or for what was just bought."""

    def __post_init__(self) -> None:
        if self.recommend.users is not None:
            raise ValueError("users is for HTTP: send a request for each")


class Answer(Struct, frozen=True):
    """Topic `…-recommendations`: exactly one for each request. Its key is the user, or the id where there is none."""

    v: int
    id: str
    recommendation: Recommendation
    """What `POST /recommend` answers."""


class DeadLetter(Struct, frozen=True):
    """Topic `…-dead-letters`: what could not be answered, its key and value as they came. These are its headers."""

    v: str
    reason: str
    topic: str
    partition: str
    offset: str
    size: str
    """Bytes of the value that came; what is kept of a large one is only its beginning."""


class Announcement(Struct, frozen=True, forbid_unknown_fields=True):
    """Topic `…-models`, compacted, keyed by `about`: a reason to look into the store, and nothing to rely on.

    It has no address: whoever could write one could send the servers anywhere.
    """

    v: Literal[1]
    about: Literal["release", "canary"]
    version: Annotated[int, Meta(ge=1, le=2**53)]


_request = msgspec.json.Decoder(Request)
_answer = msgspec.json.Decoder(Answer)
_announcement = msgspec.json.Decoder(Announcement)
encode = msgspec.json.Encoder().encode


def read_request(value: bytes | None) -> Request:
    """Raises BadMessageError."""
    return _read(_request, value)


def read_answer(value: bytes | None) -> Answer:
    """Raises BadMessageError."""
    return _read(_answer, value, MOST_ANSWER_BYTES)


def read_announcement(value: bytes | None) -> Announcement:
    """Raises BadMessageError."""
    return _read(_announcement, value)


def _read(decoder: msgspec.json.Decoder[Read], value: bytes | None, most: int = MOST_BYTES) -> Read:
    if value is None:
        raise BadMessageError("the message has no value")
    if len(value) > most:
        raise BadMessageError(f"the message has {len(value)} bytes; {most} are allowed")
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # also a ValidationError
        raise BadMessageError(str(error)) from error


def schema() -> dict[str, Any]:
    """The JSON Schema of all messages, by their names."""
    kinds = (Request, Answer, DeadLetter, Announcement)
    _, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds],
        "$defs": components,
    }
