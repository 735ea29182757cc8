"""What `--source` may be, told apart by its beginning; nothing is opened before it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from steps.runtime.errors import UsageError
from steps.sources import demo
from steps.sources.found import Found


@contextmanager
def opened(address: str) -> Iterator[Found]:
    if address.startswith("demo:"):
        yield demo.read(demo.Options.parse(address.removeprefix("demo:")))
        return
    raise UsageError(f"--source is {address!r}")
