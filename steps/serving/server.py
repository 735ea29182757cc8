"""Runs an ASGI application: in the foreground of a program, or beside other work on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from steps.runtime.errors import TryAgainError

START_SECONDS = 15.0


def configure(application: Any, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=10,
    )


@contextmanager
def in_background(application: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves while the block runs and yields the address."""
    server = uvicorn.Server(configure(application, host, port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise TryAgainError(f"a server could not start on {host}:{port}")
        time.sleep(0.01)
    bound = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://{host}:{bound}"
    finally:
        server.should_exit = True
        thread.join()
