"""Names and secrets for the places that purchases are fetched from; only ever from the environment or mounted files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steps.runtime.errors import UsageError
from steps.runtime.secret import Secret
from steps.sources.download import Login

KAGGLE = "https://www.kaggle.com/api/v1"


@dataclass(frozen=True)
class Logins:
    """What the environment says about sources; nothing is read from a file before it is needed."""

    environ: Mapping[str, str]

    def __repr__(self) -> str:
        return "Logins(***)"

    def _get(self, *names: str) -> str:
        return next((value for name in names if (value := self.environ.get(name, "").strip())), "")

    @property
    def kaggle_address(self) -> str:
        return (self._get("KAGGLE_API_URL") or KAGGLE).rstrip("/")

    def kaggle(self) -> Login:
        """KAGGLE_USERNAME and KAGGLE_KEY, or the files that KAGGLE_KEY_FILE or KAGGLE_CONFIG_DIR name."""
        name, key = self._get("KAGGLE_USERNAME"), self._get("KAGGLE_KEY")
        if not key:
            name, key = self._kaggle_file(name)
        if not (name and key):
            raise UsageError(
                "--source kaggle: needs KAGGLE_USERNAME and KAGGLE_KEY in the environment, or a kaggle.json "
                "or a file with the key, which KAGGLE_KEY_FILE names"
            )
        return Login(name, Secret(key))

    def _kaggle_file(self, name: str) -> tuple[str, str]:
        named = self._get("KAGGLE_KEY_FILE")
        folder = Path(self._get("KAGGLE_CONFIG_DIR") or Path("~/.kaggle").expanduser())
        path = Path(named) if named else folder / "kaggle.json"
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            if named:
                raise UsageError(f"KAGGLE_KEY_FILE is {named!r}: this file cannot be read") from error
            return name, ""
        if not text.startswith("{"):
            return name, text
        try:
            found = json.loads(text)
            return name or str(found["username"]), str(found["key"])
        except (ValueError, KeyError):
            raise UsageError(f"{path} is no kaggle.json: it has no username and key") from None

    def sql_user(self) -> str:
        return self._get("SQL_USER", "PGUSER")

    def sql_password(self) -> Secret:
        return Secret(self._get("SQL_PASSWORD", "PGPASSWORD"))
