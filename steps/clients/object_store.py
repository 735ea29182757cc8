"""The object store: one small interface, a folder or any S3 behind it, chosen by `STORE`."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from steps.runtime.errors import BadDataError
from steps.runtime.settings import Settings

CHUNK = 1 << 20


class ObjectExistsError(Exception):
    """`create` found the key taken."""


class ObjectMissingError(Exception):
    """There is no such key."""


@dataclass(frozen=True)
class Entry:
    """One object of a listing."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class FileRecord:
    """What a manifest says of one file, enough to notice a changed or half-written one."""

    sha256: str
    size: int

    def as_json(self) -> dict[str, object]:
        return {"sha256": self.sha256, "size": self.size}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> FileRecord:
        return cls(str(value["sha256"]), int(str(value["size"])))

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return cls(digest.hexdigest(), path.stat().st_size)


class Bucket(ABC):
    """Objects under keys such as `releases/3.json`. Every write is whole or absent, never half."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Writes an object, replacing one that is there."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Writes an object that must not exist yet: of several writers exactly one succeeds.

        Raises ObjectExistsError for the others.
        """

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Reads an object; raises ObjectMissingError."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[Entry]:
        """The objects whose key begins with `prefix`, in the order of their keys."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Removes objects; one that is gone already is no error."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Writes a file of any size as an object."""

    @abstractmethod
    def get_file(self, key: str, path: Path) -> None:
        """Reads an object of any size into a file; raises ObjectMissingError."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copies an object inside the bucket, without a detour through this machine where that can be had."""

    @abstractmethod
    def sweep(self, older_than: datetime) -> int:
        """Removes what killed writers left behind and returns how many pieces it was."""

    @abstractmethod
    def address(self, key: str = "") -> str:
        """Where a person finds the object."""

    def upload(self, folder: Path, prefix: str) -> dict[str, FileRecord]:
        """Writes every file of a folder under `prefix` and returns the records for a manifest.

        The files are given away: who made them must not change them any more.
        """
        records = {}
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            name = path.relative_to(folder).as_posix()
            records[name] = FileRecord.of(path)
            self.take_file(f"{prefix}/{name}", path)
        return records

    def take_file(self, key: str, path: Path) -> None:
        """Writes an object from a file that nobody changes any more, and that may be gone afterwards."""
        self.put_file(key, path)

    def download(self, prefix: str, records: Mapping[str, FileRecord], folder: Path) -> None:
        """Brings the recorded files to `folder`, which appears only when all are there and every checksum holds."""
        if folder.exists():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
            for name, record in records.items():
                path = Path(unfinished) / "files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                self._get_checked(f"{prefix}/{name}", record, path)
            try:
                (Path(unfinished) / "files").rename(folder)
            except OSError:
                if not folder.exists():  # else someone else brought the same files meanwhile
                    raise

    def fetch(self, prefix: str, records: Mapping[str, FileRecord], cache: Path) -> Path:
        """A local folder with the recorded files, every checksum verified.

        A store that is a folder copies nothing, and what it has found right before it need not read again.
        """
        folder = cache / prefix
        self.download(prefix, records, folder)
        return folder

    def _get_checked(self, key: str, record: FileRecord, path: Path) -> None:
        try:
            self.get_file(key, path)
        except ObjectMissingError as missing:
            raise BadDataError(f"{self.address(key)} is named by a manifest but missing") from missing
        self._check(key, record, path)

    def _check(self, key: str, record: FileRecord, path: Path) -> None:
        found = FileRecord.of(path)
        if found != record:
            raise BadDataError(
                f"{self.address(key)} has changed: {found.size} bytes with sha256 {found.sha256[:12]}…, "
                f"its manifest says {record.size} bytes with {record.sha256[:12]}…"
            )

    def exists(self, key: str) -> bool:
        return any(entry.key == key for entry in self.list(key))

    def delete_under(self, prefix: str) -> None:
        """Removes everything below `prefix/`, the manifest first, so that what is left is never taken for whole."""
        keys = [entry.key for entry in self.list(f"{prefix}/")]
        manifests = [key for key in keys if PurePosixPath(key).name == "manifest.json"]
        self.delete(manifests)
        self.delete(key for key in keys if key not in manifests)


@dataclass(frozen=True)
class Store:
    """The two buckets of the pipeline."""

    data: Bucket
    models: Bucket


def open_store(settings: Settings) -> Store:
    """The store that the settings name. Nothing is read or written yet."""
    if settings.on_s3:
        from steps.clients.s3_store import S3Bucket

        return Store(
            S3Bucket.open(settings, settings.data_bucket, settings.store_prefix),
            S3Bucket.open(settings, settings.models_bucket, settings.store_prefix),
        )
    from steps.clients.folder_store import FolderBucket

    root = settings.store_folder
    return Store(
        FolderBucket(root / settings.data_bucket / settings.store_prefix),
        FolderBucket(root / settings.models_bucket / settings.store_prefix),
    )


def remove_folder(folder: Path) -> None:
    """Removes a local folder, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)
