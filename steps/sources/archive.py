"""Zip archives: the tables in them, each checked while it is unpacked."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from steps.runtime.errors import BadDataError, TryAgainError

CHUNK = 1 << 20
MAGIC = b"PK\x03\x04"
EMPTY_MAGIC = b"PK\x05\x06"
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".gz", ".dat", ".data", ".item", ".user")


def is_table(name: str) -> bool:
    """Whether a file may hold purchases, by its name."""
    plain = PurePosixPath(name).name.lower()
    return plain.endswith(TABLES) and not plain.startswith((".", "_", "readme", "license"))


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (MAGIC, EMPTY_MAGIC)


def unpack(path: Path, folder: Path, name: str) -> None:
    """Unpacks the tables of an archive; reading to its end checks each member's CRC."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = list(_tables(archive, name))
            size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
            if size > free:
                raise TryAgainError(f"{name} unpacks to {size >> 20} MiB, and {folder} has {free >> 20} MiB left")
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadDataError(f"{name} is no whole zip archive: {error}") from error


def _tables(archive: zipfile.ZipFile, name: str) -> Iterator[zipfile.ZipInfo]:
    for member in archive.infolist():
        parts = PurePosixPath(member.filename).parts
        if member.is_dir() or "__MACOSX" in parts or not is_table(member.filename):
            continue
        if member.filename.startswith("/") or ".." in parts or "\\" in member.filename:
            raise BadDataError(f"{name} holds a file with the name {member.filename!r}, which leads out of the archive")
        yield member
