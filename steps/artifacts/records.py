"""Small JSON objects in the store: written whole, read into dataclasses."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from steps.clients.object_store import Bucket
from steps.runtime.errors import BadDataError

Record = TypeVar("Record")


def now() -> str:
    """The time of a record, in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(record: Any) -> bytes:
    """A dataclass or a plain value as the JSON that is stored: sorted, so that equal records are equal bytes."""
    value = record if isinstance(record, dict | list) else asdict(record)
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def read_json(bucket: Bucket, key: str) -> Any:
    """The JSON behind a key; raises ObjectMissingError, or BadDataError for what is not JSON."""
    try:
        return json.loads(bucket.get(key))
    except ValueError as error:
        raise BadDataError(f"{bucket.address(key)} is not JSON: {error}") from error


def read(bucket: Bucket, key: str, kind: type[Record]) -> Record:
    """The record behind a key; fields that this version does not know are left out."""
    value = read_json(bucket, key)
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: part for name, part in value.items() if name in names})
    except (TypeError, AttributeError) as error:
        raise BadDataError(f"{bucket.address(key)} is not a {kind.__name__}: {error}") from error
