"""Which large files of a folder store were read and found right, so that not every start reads a gigabyte again."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

from steps.clients.object_store import FileRecord

FOLDER = ".checked"
LEAST_BYTES = 16 << 20
"""Smaller files are read each time: that takes no longer than to look them up."""
SETTLED = 3_000_000_000
"""Nanoseconds after a change by when the clock of any file system has moved on, so that the next one is told apart."""


@dataclass(frozen=True)
class Look:
    """What a file looks like without reading it."""

    device: int
    inode: int
    size: int
    changed: int
    """Nanoseconds: when its content was written last."""
    settled: bool = field(compare=False)

    @classmethod
    def at(cls, path: Path) -> Self:
        found = path.stat()
        return cls(
            found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, time.time_ns() - found.st_mtime_ns > SETTLED
        )


class Checked:
    """One small text an object, in a folder of the store that is none of its objects.

    What a reader may rely on: objects of a folder store are never written in place, they are written beside and moved
    into theirs. So a file with the device, the inode, the size and the time of writing that it had when its checksum
    was taken has that content still: whoever wrote into it has moved the time, and whoever replaced it has brought
    another inode. A copy and another volume are other files, and read. The links that copy an object inside the store
    change none of these.

    It is no protection from those who set a file's time back on purpose, but they may write the manifest as well; nor
    from a disk that forgets, which a server that runs for months does not notice either. Publishing reads what it has
    copied into a slot again, and without this folder everything is read again.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER

    def holds(self, key: str, record: FileRecord, look: Look) -> bool:
        """Whether the object was found to be as recorded when it looked like this."""
        try:
            return self._place(key).read_text(encoding="ascii") == _text(record, look)
        except (OSError, ValueError):
            return False

    def keep(self, key: str, record: FileRecord, look: Look) -> None:
        """`look` must have been taken before the content was read."""
        if look.size < LEAST_BYTES or not look.settled:
            return
        # Where nothing may be written the next start has to read again, and where a text is half written as well:
        # no reason to stop this one.
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            self._place(key).write_text(_text(record, look), encoding="ascii")

    def forget(self, key: str) -> None:
        with suppress(OSError):  # what is left of a deleted object says nothing of another
            self._place(key).unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        return self.folder / quote(key, safe="")


def _text(record: FileRecord, look: Look) -> str:
    return f"{record.sha256} {record.size} {look.device} {look.inode} {look.size} {look.changed}\n"
