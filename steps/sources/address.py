"""What `--source` may be, told apart by its beginning; flags are checked before anything is opened."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from steps.runtime.errors import TryAgainError, UsageError
from steps.runtime.settings import Settings
from steps.sources import demo, known
from steps.sources.columns import Columns
from steps.sources.download import download, shown
from steps.sources.folder import gather
from steps.sources.found import Found
from steps.sources.kaggle import Competition
from steps.sources.logins import Logins
from steps.sources.s3 import Address as S3Address
from steps.sources.sql import Database

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(?://)?.*", re.IGNORECASE | re.DOTALL)
ALLOWED = (
    "demo:, a path, file:PATH, http(s)://…, s3://BUCKET/KEY, kaggle:COMPETITION, "
    "postgresql://HOST/DATABASE or sqlite:///FILE"
)
DATABASES = ("postgresql", "postgres", "sqlite")

Place = demo.Options | Competition | S3Address | Database | Path | str


@dataclass(frozen=True)
class Source:
    """An address that was understood, with what is needed to open it."""

    place: Place
    """A path is a local file; a text is an address on the web."""
    columns: Columns
    query: str
    settings: Settings
    logins: Logins

    @classmethod
    def parse(cls, text: str, columns: Columns, query: str, settings: Settings, logins: Logins) -> Source:
        """Understands the flags; UsageError with what is allowed. Nothing is read yet."""
        place = _place(text)
        if query and not isinstance(place, Database):
            raise UsageError("--query is for databases: give --source postgresql://… or sqlite:///…")
        if isinstance(place, Database) and not query:
            raise UsageError("a database as --source needs a --query that answers with purchases")
        if columns and isinstance(place, demo.Options):
            raise UsageError("--columns is for files and queries: the purchases of --source demo: have their names")
        if isinstance(place, Competition):
            logins.kaggle()
        return cls(place, columns, query, settings, logins)

    @property
    def about(self) -> str:
        """The address for people and manifests, without secrets."""
        if isinstance(self.place, Competition):
            return f"kaggle:{self.place.name}"
        if isinstance(self.place, Database):
            return self.place.address
        return shown(self.place) if isinstance(self.place, str) else str(self.place)

    @contextmanager
    def opened(self) -> Iterator[Found]:
        """What the source holds; files that were fetched or unpacked for it are gone afterwards."""
        try:
            with tempfile.TemporaryDirectory(prefix="source-", ignore_cleanup_errors=True) as scratch:
                yield self._open(Path(scratch))
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            sentence = f"cannot read --source {self.about}: {error.strerror or error}{where}"
            raise (UsageError if isinstance(error, PermissionError) else TryAgainError)(sentence) from error

    def _open(self, scratch: Path) -> Found:
        if isinstance(self.place, demo.Options):
            return demo.read(self.place)
        if isinstance(self.place, Database):
            return self.place.read(self.query, self.columns, self.logins)
        return known.read(gather(self._fetched(scratch), scratch, self.about), self.columns)

    def _fetched(self, scratch: Path) -> Path:
        """The source as local files."""
        if isinstance(self.place, Competition):
            return self.place.fetch(self.logins.kaggle_address, self.logins.kaggle(), scratch)
        if isinstance(self.place, S3Address):
            return self.place.fetch(self.settings, scratch)
        if isinstance(self.place, str):
            folder = scratch / "web"
            folder.mkdir()
            path = folder / (PurePosixPath(unquote(urlsplit(self.place).path)).name or "purchases")
            download(self.place, path)
            return path
        assert isinstance(self.place, Path)
        return self.place


def _place(text: str) -> Place:
    text = text.strip()
    found = SCHEME.fullmatch(text)
    scheme = found[1].lower() if found else ""
    if scheme == "demo":
        return demo.Options.parse(text[5:])
    if scheme == "kaggle":
        return Competition.parse(text[7:])
    if scheme in DATABASES:
        return Database.parse(text)
    if scheme == "s3":
        return S3Address.parse(text)
    if scheme in ("http", "https"):
        return _web(text)
    if scheme == "file":
        return Path(text[5:].removeprefix("//")).expanduser()
    if "://" in text:
        raise UsageError(f"--source begins with {scheme}://; it may be {ALLOWED}")
    if not text:
        raise UsageError(f"--source is empty; it may be {ALLOWED}")
    return Path(text).expanduser()


def _web(text: str) -> str:
    parts = urlsplit(text)
    if parts.password is not None or parts.username is not None:
        raise UsageError("--source has a login in it: an address on the web must be readable without one, or be signed")
    if not parts.hostname:
        raise UsageError(f"--source {shown(text)}: write https://HOST/PATH")
    return text
