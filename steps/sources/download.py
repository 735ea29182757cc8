"""Files over HTTP: downloads that go on where they broke off, and are whole when they end."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from steps.runtime.errors import BadDataError, StepError, TryAgainError, UsageError
from steps.runtime.progress import Progress, progress
from steps.runtime.secret import Secret

log = logging.getLogger(__name__)

CHUNK = 1 << 16
"""As much as a break can lose: what has come of a chunk is dropped with it."""
TIMEOUT = (10.0, 60.0)
TRIES = 5
PAUSE = 1.0
BUSY = (408, 425, 429)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Login:
    """A name and a secret for a server."""

    name: str
    secret: Secret

    def pair(self) -> tuple[str, str]:
        return self.name, self.secret.reveal()


@dataclass
class _State:
    """How far a download is, over all its tries."""

    done: int = 0
    total: int | None = None
    version: str = ""
    """The server's mark of the content (ETag or date): a file that changed in between is fetched anew."""
    tries: int = 0


def shown(url: str) -> str:
    """An address without what may be a secret: the query, as in signed addresses, and a login."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def get_json(url: str, parameters: Mapping[str, str], login: Login | None) -> object:
    """A small JSON answer."""
    try:
        answer = requests.get(url, params=dict(parameters), auth=login.pair() if login else None, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise _unreachable(url, error) from error
    _refuse(answer, url)
    if not answer.ok:
        raise TryAgainError(f"{shown(url)} answers {answer.status_code}")
    try:
        return answer.json()
    except requests.JSONDecodeError as error:
        raise BadDataError(f"{shown(url)} answers something that is not JSON") from error


def download(url: str, path: Path, login: Login | None = None) -> None:
    """Fetches a file of any size; a broken connection goes on from where it broke, and the size must be right."""
    state = _State()
    with progress(f"downloading {path.name}, KiB", 1) as bar:
        while True:
            before = state.done
            try:
                _go_on(url, path, login, state, bar)
            except TryAgainError as error:
                # Only tries that brought nothing count: a slow line that breaks often still arrives.
                state.tries = 1 if state.done > before else state.tries + 1
                if state.tries >= TRIES:
                    raise
                log.warning("%s; going on from byte %d", error, state.done)
                time.sleep(PAUSE * 2**state.tries)
            else:
                return


def _go_on(url: str, path: Path, login: Login | None, state: _State, bar: Progress) -> None:
    """One try: asks for what is missing and appends it."""
    # Compressed on the way, a file could not be gone on with, nor its size be checked.
    headers = {"Accept-Encoding": "identity"}
    if state.done:
        headers["Range"] = f"bytes={state.done}-"
        if state.version:
            headers["If-Range"] = state.version
    try:
        answer = requests.get(url, headers=headers, auth=login.pair() if login else None, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise _unreachable(url, error) from error
    with answer:
        _refuse(answer, url)
        _place(answer, url, state)
        _receive(answer, url, path, state, bar)
    if state.total is not None and state.done != state.total:
        raise TryAgainError(f"{shown(url)} broke off after {state.done} of {state.total} bytes")


def _place(answer: requests.Response, url: str, state: _State) -> None:
    """Where in the file the bytes of an answer belong, and how long the file is."""
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        place = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not place or int(place[1]) != state.done:
            state.done = 0
            state.version = ""
            raise TryAgainError(f"{shown(url)} answers another part than was asked for")
        state.total = int(place[2]) if place[2] != "*" else state.total
    elif answer.status_code == 200:
        state.done = 0
        state.total = int(length) if length.isdigit() else None
    else:
        state.done = 0  # whatever it was that came so far, the server does not know how to go on
        raise TryAgainError(f"{shown(url)} answers {answer.status_code}")
    tag = answer.headers.get("ETag", "")
    # A weak mark may be the same for other bytes.
    state.version = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _receive(answer: requests.Response, url: str, path: Path, state: _State, bar: Progress) -> None:
    try:
        with path.open("r+b" if state.done else "wb") as file:
            file.seek(state.done)
            file.truncate()
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                state.done += len(chunk)
                bar.at(state.done >> 10, (state.total or state.done) >> 10)
    except requests.RequestException as error:
        raise TryAgainError(f"{shown(url)} broke off after {state.done} bytes") from error


def _refuse(answer: requests.Response, url: str) -> None:
    """Ends at once where trying again cannot help."""
    if answer.status_code in (401, 403):
        raise UsageError(f"{shown(url)} refuses access ({answer.status_code}): check the login and what it may read")
    if 400 <= answer.status_code < 500 and answer.status_code not in (*BUSY, 416):
        raise UsageError(f"{shown(url)} answers {answer.status_code}: there is nothing to read at this address")


def _unreachable(url: str, error: requests.RequestException) -> StepError:
    # Not the error's own text: it may quote the whole address, with a signature in it.
    if isinstance(error, ValueError | requests.TooManyRedirects):
        return UsageError(f"{shown(url)} is no address that can be read: {type(error).__name__}")
    return TryAgainError(f"{shown(url)} does not answer: {type(error).__name__}")
