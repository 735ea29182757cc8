"""From model_publish to the model servers: two places that take turns, and who may fill one."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from steps.artifacts import names, records
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Bucket, FileRecord, ObjectExistsError, ObjectMissingError, remove_folder
from steps.runtime.errors import TryAgainError

NAMES = ("blue", "green")
KEPT = 2
UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class SlotVersion:
    """What lies in a slot under a version, written after the files it names."""

    version: int
    candidate: str
    model: str
    files: dict[str, dict[str, Any]]

    @property
    def records(self) -> Mapping[str, FileRecord]:
        return {name: FileRecord.from_json(record) for name, record in self.files.items()}

    def part(self, folder: str) -> dict[str, FileRecord]:
        """The files below `folder/`, by their names inside it."""
        prefix = f"{folder}/"
        return {name.removeprefix(prefix): record for name, record in self.records.items() if name.startswith(prefix)}


def other(slots: tuple[str, ...], live: str) -> str:
    """The slot that is idle while `live` serves; the first where nothing is live."""
    return next(name for name in slots if name != live)


def whole_versions(models: Bucket, slot: str) -> dict[int, SlotVersion]:
    """The versions of a slot that are complete."""
    found = {}
    for entry in models.list(f"{names.slot(slot)}/"):
        path = PurePosixPath(entry.key)
        if path.name == names.MANIFEST and len(path.parts) == 4 and path.parts[2].isdigit():
            try:
                version = records.read(models, entry.key, SlotVersion)
            except ObjectMissingError:  # removed between the listing and now
                continue
            found[version.version] = version
    return found


def fill(models: Bucket, candidate: Candidate, slot: str, version: int) -> None:
    """Copies a candidate to where TF Serving looks for a version: the SavedModel on top, the arrays beside it."""
    target = names.slot_version(slot, version)
    files: dict[str, dict[str, Any]] = {}
    for part, below in ((names.SAVED_MODEL, ""), *((part, f"{part}/") for part in names.ARRAYS)):
        for name, record in candidate.part(part).items():
            models.copy(f"{candidate.path}/{part}/{name}", f"{target}/{below}{name}")
            files[f"{below}{name}"] = record.as_json()
    whole = SlotVersion(version, candidate.path, candidate.model, files)
    models.put(f"{target}/{names.MANIFEST}", records.encode(whole))


def drop(models: Bucket, slot: str, version: int) -> None:
    models.delete_under(names.slot_version(slot, version))


def drop_older(models: Bucket, slot: str, than: int, kept: Collection[int] = ()) -> list[int]:
    """Removes versions below `than` but those to be kept; also the remains of one that was never whole."""
    prefix = f"{names.slot(slot)}/"
    present = {entry.key.removeprefix(prefix).partition("/")[0] for entry in models.list(prefix)}
    old = sorted(int(name) for name in present if name.isdigit() and int(name) < than and int(name) not in kept)
    for version in old:
        drop(models, slot, version)
    return old


def mirror(models: Bucket, slot: str, folder: Path) -> list[int]:
    """Makes a local folder hold a slot's newest whole versions, each moved into place when every checksum holds."""
    wanted = dict(sorted(whole_versions(models, slot).items())[-KEPT:])
    folder.mkdir(parents=True, exist_ok=True)
    for killed in folder.glob(f"{UNFINISHED}*"):
        remove_folder(killed)
    for version, content in wanted.items():
        target = folder / str(version)
        if _holds(target, content):
            continue
        # A version that was dropped and filled again has the same number: the old files must not stay.
        remove_folder(target)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished:
            source = models.fetch(names.slot_version(slot, version), content.records, Path(unfinished) / "store")
            whole = Path(unfinished) / "whole"
            shutil.copytree(source, whole)
            for name, record in content.records.items():
                if FileRecord.of(whole / name) != record:
                    raise TryAgainError(f"{name} of version {version} of slot {slot} was copied wrongly to {folder}")
            (whole / names.MANIFEST).write_bytes(records.encode(content))
            whole.rename(target)
    for path in folder.iterdir():
        if path.name.isdigit() and int(path.name) not in wanted:
            remove_folder(path)
    return sorted(wanted)


def _holds(folder: Path, content: SlotVersion) -> bool:
    manifest = folder / names.MANIFEST
    return manifest.is_file() and manifest.read_bytes() == records.encode(content)


@dataclass(frozen=True)
class Claim:
    """Who is filling a slot for a version, so that two publishers never write into the same place."""

    version: int
    turn: int
    run: str
    host: str
    process: int
    expires: float
    token: str

    @property
    def key(self) -> str:
        return names.claim(self.version, self.turn)

    @property
    def abandoned(self) -> bool:
        """Past its deadline, or made by a process of this machine that is gone."""
        if time.time() > self.expires:
            return True
        return self.host == socket.gethostname() and not _alive(self.process)


def claim(models: Bucket, version: int, run: str, seconds: float) -> Claim:
    """Takes the right to publish a version. A turn that was abandoned is followed by the next; a running one is not."""
    last = newest_claim(models, version)
    if last and last.run != run and not last.abandoned:
        raise TryAgainError(f"run {last.run!r} is publishing version {version} right now; nothing was changed")
    host, process = socket.gethostname(), os.getpid()
    turn = last.turn + 1 if last else 1
    mine = Claim(version, turn, run, host, process, time.time() + seconds, uuid.uuid4().hex)
    try:
        models.create(mine.key, records.encode(mine))
    except ObjectExistsError as taken:
        raise TryAgainError(f"another run began to publish version {version} at the same moment") from taken
    return mine


def newest_claim(models: Bucket, version: int) -> Claim | None:
    entries = models.list(f"claims/{version}/")
    turns = [int(PurePosixPath(entry.key).stem) for entry in entries]
    return records.read(models, names.claim(version, max(turns)), Claim) if turns else None


def check_claim(models: Bucket, mine: Claim) -> None:
    """Stops a publisher that slept through its deadline while another took over."""
    last = newest_claim(models, mine.version)
    if last is None or last.token != mine.token:
        raise TryAgainError(f"another run took over publishing version {mine.version}; nothing was changed")


def drop_claims(models: Bucket, up_to: int) -> None:
    """Removes the claims of versions that are released or given up."""
    keys = [entry.key for entry in models.list("claims/")]
    models.delete(key for key in keys if int(key.split("/")[1]) <= up_to)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
