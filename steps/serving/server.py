"""Runs an ASGI application: in the foreground of a program, or beside other work on a free port."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from steps.runtime.errors import TryAgainError, UsageError

START_SECONDS = 15.0


def bind(host: str, port: int) -> socket.socket:
    """Takes the port before anything else is begun; 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named in full: only of a socket that is said to be TCP's does asyncio turn off the waiting for more to send, and
    # each answer after the first of a connection would be 40 ms late.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    return bound


def server(application: Any) -> uvicorn.Server:
    """Ends what it is answering before it stops, for at most ten seconds."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            backlog=2048,
            timeout_graceful_shutdown=10,
        )
    )


def in_foreground(application: Any, bound: socket.socket, alive: int | None = None) -> None:
    """Serves until the process is told to stop, or until the other end of the pipe `alive` is closed."""
    running = server(application)

    def stop() -> None:
        if alive is not None and not os.read(alive, 1):
            running.should_exit = True

    if alive is not None:
        threading.Thread(target=stop, daemon=True).start()
    running.run(sockets=[bound])


@contextmanager
def in_background(application: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves while the block runs and yields the address."""
    bound = bind(host, port)
    running = server(application)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not running.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise TryAgainError(f"a server could not start on {host}:{port}")
        time.sleep(0.01)
    try:
        yield f"http://{host}:{bound.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        bound.close()
