"""The files of a Kaggle competition, through Kaggle's public API."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from steps.runtime.errors import BadDataError, UsageError
from steps.sources.archive import is_table, is_zip, unpack
from steps.sources.download import Login, download, get_json

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"([a-z0-9][a-z0-9-]{1,100})(?:/(.+))?", re.IGNORECASE)
# Their lists are long, and what is wanted is known.
KNOWN = {
    "h-and-m-personalized-fashion-recommendations": ("transactions_train.csv", "customers.csv", "articles.csv"),
}
PAGES = 100


@dataclass(frozen=True)
class Competition:
    """`kaggle:COMPETITION`, or `kaggle:COMPETITION/FILE,FILE` for some of its files."""

    name: str
    files: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Competition:
        found = ADDRESS.fullmatch(text)
        if not found:
            raise UsageError(f"--source kaggle:{text}: write kaggle:COMPETITION or kaggle:COMPETITION/FILE,FILE")
        files = tuple(one.strip() for one in (found[2] or "").split(",") if one.strip())
        return cls(found[1], files or KNOWN.get(found[1], ()))

    def fetch(self, address: str, login: Login, scratch: Path) -> Path:
        """Downloads the tables into a folder, unpacked."""
        folder = scratch / "kaggle"
        folder.mkdir()
        names = self.files or self._tables(address, login)
        for number, name in enumerate(names):
            path = scratch / f"kaggle-{number}"
            log.info("fetching %s of the competition %s", name, self.name)
            download(f"{address}/competitions/data/download/{self.name}/{quote(name, safe='')}", path, login)
            # Kaggle sends a large file as an archive with the file in it.
            if is_zip(path):
                unpack(path, folder, name)
                path.unlink()
            else:
                path.rename(folder / Path(name).name)
        return folder

    def _tables(self, address: str, login: Login) -> list[str]:
        """The names of the competition's tables and archives; page by page, as far as there are any."""
        names: list[str] = []
        page = ""
        for _ in range(PAGES):
            answer = get_json(
                f"{address}/competitions/data/list/{self.name}", {"pageToken": page} if page else {}, login
            )
            # Kaggle once answered a bare list; now the list is a page with the token of the next.
            whole: dict[str, Any] = answer if isinstance(answer, dict) else {"files": answer}
            names += [str(one["name"]) for one in whole.get("files") or [] if "name" in one]
            page = str(whole.get("nextPageToken") or "")
            if not page:
                break
        tables = [name for name in names if is_table(name) or name.lower().endswith(".zip")]
        if not tables:
            raise BadDataError(
                f"the competition {self.name} lists no CSV, Parquet or zip file among {len(names)} files"
            )
        return tables
