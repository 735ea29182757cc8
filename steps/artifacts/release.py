"""From model_publish to serve and batch_predict: the append-only list of what was made live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from steps.artifacts import names, records
from steps.clients.object_store import Bucket, ObjectExistsError
from steps.runtime.errors import BadDataError, TryAgainError, UsageError


@dataclass(frozen=True)
class Release:
    """One version; the highest number is live."""

    version: int
    slot: str
    candidate: str
    model: str
    snapshot: str
    run: str
    """The run that published it."""
    previous: int
    """The version that was live before, 0 for none."""
    reason: str
    """`promoted`, `rollback to N`, or why a refused candidate was forced."""
    metrics: dict[str, float]
    created: str


def versions(models: Bucket) -> list[int]:
    """The versions that exist, ascending."""
    found = []
    for entry in models.list("releases/"):
        stem = PurePosixPath(entry.key).stem
        if not stem.isdigit():
            raise BadDataError(f"{models.address(entry.key)} is not a release: its name is no number")
        found.append(int(stem))
    return sorted(found)


def read(models: Bucket, version: int) -> Release:
    return records.read(models, names.release(version), Release)


def live(models: Bucket) -> Release | None:
    """The release with the highest version."""
    found = versions(models)
    return read(models, found[-1]) if found else None


def require(models: Bucket, version: str) -> Release:
    """The release of a version given as text, or the live one where the text is empty or `live`."""
    found = versions(models)
    if not found:
        raise UsageError(f"nothing has been released yet in {models.address()}: run the retrain workflow first")
    if version in ("", "live"):
        return read(models, found[-1])
    if not version.isdigit() or int(version) not in found:
        some = ", ".join(map(str, found[-10:]))
        raise UsageError(f"there is no version {version!r}; the newest are {some}")
    return read(models, int(version))


def create(models: Bucket, release: Release) -> None:
    """Makes a release live. Of two publishers of one version exactly one succeeds."""
    try:
        models.create(names.release(release.version), records.encode(release))
    except ObjectExistsError as taken:
        raise TryAgainError(
            f"version {release.version} was released by someone else meanwhile; nothing was changed"
        ) from taken
