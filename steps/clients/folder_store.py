"""An object store in a folder: rename makes a write atomic, link makes a creation exclusive."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from steps.clients import checked
from steps.clients.checked import Checked, Look
from steps.clients.object_store import Bucket, Entry, FileRecord, ObjectExistsError, ObjectMissingError
from steps.runtime.errors import BadDataError, TryAgainError, UsageError

UNFINISHED = ".unfinished-"
TRIES = 50
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


class FolderBucket(Bucket):
    """Keys are paths below `root`; a file whose name begins with `.unfinished-` is nobody's object."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._checked = Checked(root)

    def put(self, key: str, data: bytes) -> None:
        self._write(key, lambda path: path.write_bytes(data), os.replace)

    def create(self, key: str, data: bytes) -> None:
        self._write(key, lambda path: path.write_bytes(data), self._link)

    def get(self, key: str) -> bytes:
        with self._errors(key):
            return self._path(key).read_bytes()

    def list(self, prefix: str = "") -> list[Entry]:
        # Only the folder that the prefix names is walked, and of what lies there only what begins as it does is looked
        # at: a release is found without visiting every model, and a minute's feedback without that of its hour.
        folder, _, begin = prefix.rpartition("/")
        entries = []
        with self._errors(prefix):
            for found in self._files(self._path(folder), begin, unfinished=False):
                key = Path(found.path).relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    try:
                        stat = found.stat()
                    except FileNotFoundError:  # deleted since the folder was read: it is not there
                        continue
                    entries.append(Entry(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)))
        return sorted(entries, key=lambda entry: entry.key)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._errors(key):
                path = self._path(key)
                path.unlink(missing_ok=True)
                self._checked.forget(key)
                self._remove_empty(path.parent)

    def upload(self, folder: Path, prefix: str) -> dict[str, FileRecord]:
        before = {path: Look.at(path) for path in folder.rglob("*") if path.is_file()}
        records = super().upload(folder, prefix)
        for name, record in records.items():
            key, look = f"{prefix}/{name}", before[folder / name]
            with suppress(FileNotFoundError):  # somebody has deleted it already
                if Look.at(self._path(key)) == look:  # linked, and so it is what was read; a copy was not read yet
                    self._checked.keep(key, record, look)
        return records

    def put_file(self, key: str, path: Path) -> None:
        self._write(key, lambda unfinished: shutil.copyfile(path, unfinished), os.replace)

    def take_file(self, key: str, path: Path) -> None:
        self._write(key, lambda unfinished: _link_or_copy(path, unfinished), os.replace)

    def get_file(self, key: str, path: Path) -> None:
        with self._errors(key):
            shutil.copyfile(self._path(key), path)

    def copy(self, source: str, target: str) -> None:
        with self._errors(source):
            # Objects never change in place, so two keys may share one file.
            self._write(target, lambda unfinished: os.link(self._path(source), unfinished), os.replace)

    def fetch(self, prefix: str, records: Mapping[str, FileRecord], cache: Path) -> Path:
        for name, record in records.items():
            key = f"{prefix}/{name}"
            try:
                look = Look.at(self._path(key))
                if not self._checked.holds(key, record, look):
                    self._check(key, record, self._path(key))
                    self._checked.keep(key, record, look)
            except FileNotFoundError as missing:
                raise BadDataError(f"{self.address(key)} is named by a manifest but missing") from missing
        return self._path(prefix)

    def sweep(self, older_than: datetime) -> int:
        swept = 0
        with self._errors(""):
            for found in self._files(self.root, unfinished=True):
                with suppress(FileNotFoundError):  # its writer has finished meanwhile
                    if found.stat().st_mtime < older_than.timestamp():
                        Path(found.path).unlink()
                        swept += 1
        return swept

    def address(self, key: str = "") -> str:
        return str(self.root / key) if key else str(self.root)

    def _files(self, folder: Path, begin: str = "", *, unfinished: bool) -> Iterator[os.DirEntry[str]]:
        """The objects below a folder, or what their writers have not finished; of the folder itself only what has a
        name that begins so.
        """
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if entry.name.startswith(begin)]
        except (FileNotFoundError, NotADirectoryError):
            # Only these: one that cannot be read must not look like an empty one, as if it had no releases.
            return
        for entry in entries:
            if not entry.is_dir():
                if entry.name.startswith(UNFINISHED) is unfinished:
                    yield entry
            elif not entry.is_symlink() and (below := Path(entry.path)) != self._checked.folder:
                yield from self._files(below, unfinished=unfinished)

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if key.startswith("/") or ".." in parts or parts[0] == checked.FOLDER:
            raise ValueError(f"not a key: {key!r}")
        return self.root / key

    def _write(self, key: str, fill: Callable[[Path], object], finish: Callable[[Path, Path], None]) -> None:
        path = self._path(key)
        # In the root, which nobody removes: a neighbour that deletes takes emptied folders with it.
        unfinished = self.root / f"{UNFINISHED}{uuid.uuid4().hex}"
        with self._errors(key):
            try:
                _make_folder(self.root)
                fill(unfinished)
                _to_disk(unfinished)
                _into(path, lambda: finish(unfinished, path))
                with suppress(FileNotFoundError):  # somebody deletes it again already
                    _to_disk(path.parent)
            finally:
                unfinished.unlink(missing_ok=True)

    @staticmethod
    def _link(unfinished: Path, path: Path) -> None:
        try:
            os.link(unfinished, path)
        except FileExistsError as taken:
            raise ObjectExistsError(str(path)) from taken

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.root and self.root in folder.parents:
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone already: either way there is nothing left to tidy
                return
            folder = folder.parent

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as missing:
            raise ObjectMissingError(self.address(key)) from missing
        except OSError as error:
            # A copy that fails names its source first, which is not to blame.
            place = error.filename2 or error.filename or self.address(key)
            sentence = f"the store cannot use {place}: {error.strerror}"
            raise (UsageError if error.errno in NOT_ALLOWED else TryAgainError)(sentence) from error


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, target)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise UsageError(f"the store cannot make the folder {folder}") from error


def _into(path: Path, finish: Callable[[], None]) -> None:
    """Moves a file into its folder; where a neighbour removes the folder, empty as it still is, once more."""
    for _ in range(TRIES):
        # The folder may go between any two looks that mkdir takes at it, hence also "exists".
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return finish()
    raise TryAgainError(f"the store cannot keep the folder {path.parent}: it is removed again and again")


def _to_disk(path: Path) -> None:
    """Survives a power cut, not only a killed process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
