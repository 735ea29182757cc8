"""The manifest of a snapshot: what is in it, and which files; written last, so that a snapshot is whole or absent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from steps.artifacts import pairs
from steps.clients.object_store import Bucket, FileRecord, ObjectMissingError, Store
from steps.models.events import Kinds
from steps.runtime.errors import BadDataError, UsageError

SNAPSHOTS = "snapshots"
NAME = re.compile(r"s-[0-9a-f]{16}")
FORMAT = 1
PURCHASES, USERS, ITEMS, REJECTS, MANIFEST = (
    "interactions.parquet",
    "users.parquet",
    "items.parquet",
    "rejects.parquet",
    "manifest.json",
)
YOUNG = timedelta(hours=1)


def prefix(snapshot: str) -> str:
    """Where a snapshot lies in the data bucket; refuses what is no snapshot's name."""
    if not NAME.fullmatch(snapshot):
        raise UsageError(f"{snapshot!r} is no snapshot: a snapshot's name is s- and 16 hexadecimal digits")
    return f"{SNAPSHOTS}/{snapshot}"


def exists(store: Store, snapshot: str) -> bool:
    """Whether the snapshot is there as a whole: its manifest is written last."""
    return store.data.exists(f"{prefix(snapshot)}/{MANIFEST}")


def create(bucket: Bucket, snapshot: str, manifest: Mapping[str, Any]) -> None:
    """Makes a snapshot of files that are there already; ObjectExistsError where somebody else has made it."""
    bucket.create(f"{prefix(snapshot)}/{MANIFEST}", _json(manifest))


def read(bucket: Bucket, snapshot: str) -> dict[str, Any]:
    """The manifest of a snapshot that is there; UsageError where there is none."""
    key = f"{prefix(snapshot)}/{MANIFEST}"
    try:
        manifest = json.loads(bucket.get(key))
    except ObjectMissingError as missing:
        raise UsageError(f"there is no snapshot {snapshot} at {bucket.address(prefix(snapshot))}") from missing
    except ValueError as error:
        raise BadDataError(f"{bucket.address(key)} is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadDataError(f"{bucket.address(key)} is not a snapshot's manifest of format {FORMAT}")
    return manifest


def used_again(bucket: Bucket, snapshot: str) -> dict[str, Any] | None:
    """The manifest of a whole snapshot; an old one is written anew as it is, so that cleanup finds it young.

    Where files are missing, as a cleanup at the same moment may have it, the manifest goes, and all is written again.
    """
    key = f"{prefix(snapshot)}/{MANIFEST}"
    present = {entry.key: entry for entry in bucket.list(f"{prefix(snapshot)}/")}
    if key not in present:
        return None
    manifest = read(bucket, snapshot)
    if any(f"{prefix(snapshot)}/{name}" not in present for name in records(manifest, snapshot)):
        bucket.delete([key])
        return None
    if datetime.now(UTC) - present[key].modified > YOUNG:
        bucket.put(key, _json(manifest))
    return manifest


def counts(store: Store, snapshot: str) -> dict[str, int]:
    """How many of everything a snapshot has, from its manifest alone."""
    found: dict[str, int] = read(store.data, snapshot)["counts"]
    return found


def kinds(manifest: Mapping[str, Any]) -> Kinds | None:
    """What the events mean, where the source told several kinds apart."""
    told = manifest.get("kinds")
    return Kinds(tuple(told["names"]), tuple(told["goals"]), told["weights"]) if told else None


def records(manifest: Mapping[str, Any], snapshot: str) -> dict[str, FileRecord]:
    """The files that a reader needs; the rejects are for people."""
    try:
        files = manifest["files"]
        ready = sorted(name for name in files if name.startswith(f"{pairs.FOLDER}/"))
        wanted = (PURCHASES, USERS, ITEMS, *ready)
        return {name: FileRecord(files[name]["sha256"], files[name]["size"]) for name in wanted}
    except (KeyError, TypeError) as error:
        raise BadDataError(f"the manifest of {snapshot} does not name its files with sha256 and size") from error


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
