"""What the tests of sources share: reading a source to plain rows, and a web server that can misbehave."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from steps.runtime.settings import Settings
from steps.sources import download
from steps.sources.address import Source
from steps.sources.clean import Clean, clean
from steps.sources.columns import Columns, event_weights
from steps.sources.logins import Logins

Row = tuple[str, str, float, str]


@dataclass(frozen=True)
class Opened:
    """A source that was read and checked."""

    about: str
    clean: Clean

    @property
    def rows(self) -> list[Row]:
        """user, item, weight, time (empty where there is none), in order."""
        users, items = self.clean.users["id"].to_list(), self.clean.items["id"].to_list()
        return sorted(
            (users[row["user"]], items[row["item"]], row["weight"], _moment(row.get("time")))
            for row in self.clean.purchases.to_dicts()
        )

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(user, item) for user, item, _, _ in self.rows]

    @property
    def rejects(self) -> list[tuple[int, str, str | None]]:
        return [(row["row"], row["reason"], row["value"]) for row in self.clean.rejects.to_dicts()]


def _moment(microseconds: int | None) -> str:
    if microseconds is None:
        return ""
    moment = datetime.fromtimestamp(0, UTC).timestamp() + microseconds / 1e6
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="auto")
    return text.removesuffix("+00:00").removesuffix("T00:00:00")


@pytest.fixture
def opened() -> Callable[..., Opened]:
    """`opened("file.csv", columns="user=a,item=b")` → what the source holds, after all checks."""

    def open_(
        address: str | Path,
        columns: str = "",
        events: str = "",
        query: str = "",
        max_rejects: float = 1.0,
        environ: Mapping[str, str] | None = None,
    ) -> Opened:
        environ = environ or {}
        source = Source.parse(
            str(address), Columns.parse(columns), query, Settings.from_environment(environ), Logins(environ)
        )
        with source.opened() as found:
            return Opened(found.about, clean(found, event_weights(events), max_rejects))

    return open_


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """`csv_file("user,item", "a,1")` → a file with these lines."""

    def write(*lines: str, name: str = "purchases.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
        return path

    return write


@dataclass
class Web:
    """A server on this machine, and how it behaves."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """How many bytes each of the next answers sends before the connection breaks."""
    statuses: list[int] = field(default_factory=list)
    """What the next answers are instead of the file."""
    ranges: bool = True
    lengths: bool = True
    tags: list[str] = field(default_factory=list)
    """The ETag of each of the next answers; the last one stays."""
    login: tuple[str, str] | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    most: int = 1 << 40
    """How much a part may hold, as with servers that send no large ones."""
    shift: list[int] = field(default_factory=list)
    """By how much the next parts begin elsewhere than they were asked to."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        web = self.web
        web.asked.append((self.path, dict(self.headers.items())))
        if web.login and not self._known():
            return self._short(401)
        if web.statuses:
            return self._short(web.statuses.pop(0))
        if self.path in web.redirects:
            self.send_response(302)
            self.send_header("Location", web.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        name = self.path.partition("?")[0] if self.path not in web.files else self.path
        if name not in web.files:
            return self._short(404)
        self._send(web.files[name])
        return None

    def _known(self) -> bool:
        expected = base64.b64encode(":".join(self.web.login or ()).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}" or self.path.startswith("/signed")

    def _short(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes) -> None:
        web, start = self.web, 0
        tag = web.tags.pop(0) if len(web.tags) > 1 else (web.tags or ['"v1"'])[0]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and web.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked[1]) + (web.shift.pop(0) if web.shift else 0)
            if start >= len(data):
                return self._short(416)
            end = min(len(data), start + web.most)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            data = data[:end]
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        if web.lengths:
            self.send_header("Content-Length", str(len(data) - start))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if web.break_after:
            self.wfile.write(data[start : start + web.break_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return None
        self.wfile.write(data[start:])
        self.close_connection = not web.lengths
        return None


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server; tries follow one another at once."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    state = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": state}))
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
