"""The answer to a SQL query as purchases, through ConnectorX."""

from __future__ import annotations

import importlib.util
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import polars as pl

from steps.runtime.errors import BadDataError, StepError, TryAgainError, UsageError
from steps.runtime.secret import Secret
from steps.sources.columns import Columns
from steps.sources.found import Found, Part
from steps.sources.logins import Logins

POSTGRES = ("postgresql", "postgres")
SQLITE = "sqlite"
PORT = 5432
CONNECT_SECONDS = 5.0
FAULTS_OF_THE_SERVER = ("timed out", "connection", "shutting down", "starting up", "too many clients", "terminating")
FAULTS_OF_THE_CALLER = (
    "authentication",
    "does not exist",
    "permission denied",
    "syntax error",
    "no such",
    "role",
    "near ",
)


@dataclass(frozen=True)
class Database:
    """`postgresql://[USER@]HOST[:PORT]/DATABASE` or `sqlite:///FILE`; a password never stands in it."""

    address: str

    @classmethod
    def parse(cls, text: str) -> Database:
        # Before anything else, and without repeating the address: what follows may be logged.
        if urlsplit(text).password is not None or "password=" in urlsplit(text).query.lower():
            raise UsageError("--source has a password in it: give it as PGPASSWORD or SQL_PASSWORD in the environment")
        parts = urlsplit(text)
        if parts.scheme in POSTGRES and not (parts.hostname and parts.path.strip("/")):
            raise UsageError(f"--source {text}: write postgresql://[USER@]HOST[:PORT]/DATABASE")
        if parts.scheme == SQLITE and (parts.netloc or not parts.path.strip("/")):
            raise UsageError(f"--source {text}: write sqlite:///FILE")
        return cls(text)

    def read(self, query: str, columns: Columns, logins: Logins) -> Found:
        """Runs the query; its columns are found like those of a file."""
        if importlib.util.find_spec("connectorx") is None:
            raise UsageError("a database as --source needs ConnectorX: pip install 'recommender-pipeline[sql]'")
        sqlite = urlsplit(self.address).scheme == SQLITE
        password = Secret("") if sqlite else logins.sql_password()
        uri = self._file() if sqlite else self._server(logins.sql_user(), password)
        try:
            rows = pl.read_database_uri(query, uri, engine="connectorx")
        except (RuntimeError, pl.exceptions.PolarsError, OSError) as error:
            # Not chained: the driver's text and its locals may hold the password.
            raise _explain(str(error), self.address, password) from None
        found = columns.find(rows.columns, "the query's answer")
        lazy = rows.lazy().select(pl.col(rows.columns[place]).alias(meaning) for meaning, place in found.items())
        return Found(self.address, (Part("query", lazy),), notes={"query": query})

    def _file(self) -> str:
        """Three slashes and a path, absolute or from here: whichever file is there."""
        path = unquote(urlsplit(self.address).path)
        for one in (Path(path), Path(path[1:])):
            if one.is_file():
                return f"sqlite://{quote(str(one.absolute()))}"
        raise UsageError(f"--source {self.address}: there is no such file")

    def _server(self, user: str, password: Secret) -> str:
        parts = urlsplit(self.address)
        host, port = parts.hostname or "", parts.port or PORT
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            raise TryAgainError(f"the database at {host}:{port} does not answer: {error.strerror or error}") from error
        user = parts.username or quote(user, safe="")
        login = f"{user}:{quote(password.reveal(), safe='')}" if password else user
        place = f"{login}@{parts.netloc.rpartition('@')[2]}" if login else parts.netloc
        return urlunsplit(("postgresql", place, parts.path, parts.query, ""))


def _explain(text: str, address: str, password: Secret) -> StepError:
    """One sentence from what the driver says, without the password."""
    sentence = " ".join(text.split())
    for secret in (password.reveal(), quote(password.reveal(), safe="")) if password else ():
        sentence = sentence.replace(secret, "***")
    sentence = f"{address} answers: {sentence[:300]}"
    if any(fault in text for fault in FAULTS_OF_THE_CALLER):
        return UsageError(sentence)
    if any(fault in text for fault in FAULTS_OF_THE_SERVER):
        return TryAgainError(sentence)
    return BadDataError(sentence)
