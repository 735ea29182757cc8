"""The files of the page for people, as they lie in `page/`: read once, and found by name, never by a path."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from steps.serving.asgi import RefusedError, Text

FIRST = "index.html"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def find(name: str) -> Text:
    """One of the files; 404 where there is none of that name."""
    found = _all().get(name)
    if found is None:
        raise RefusedError(404, "the page has no such file")
    return found


@cache
def _all() -> dict[str, Text]:
    return {
        one.name: Text(one.read_text(encoding="utf-8"), f"{media_type}; charset=utf-8")
        for one in files("steps.serving").joinpath("page").iterdir()
        if (media_type := MEDIA_TYPES.get(PurePosixPath(one.name).suffix))
    }
