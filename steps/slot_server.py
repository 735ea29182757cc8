"""Both slots without TensorFlow Serving: its REST API, answered from the arrays of each slot's newest version."""

from __future__ import annotations

import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from steps.clients.object_store import open_store
from steps.runtime.errors import UsageError
from steps.runtime.flags import number, whole_number
from steps.runtime.program import Parser, Step, main


def parser() -> Parser:
    flags = Parser(
        prog="slot_server",
        description=__doc__ or "",
        epilog="example: python -m steps.slot_server --slots blue=8501,green=8502\n"
        "then:    SLOTS=blue=http://localhost:8501,green=http://localhost:8502 python -m steps.model_publish",
    )
    flags.add_argument("--slots", default="blue=8501,green=8502", help="NAME=PORT,… (default: %(default)s)")
    flags.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    flags.add_argument("--poll-seconds", default="1", help="how often to look for a version (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags = step.flags
    ports = read_ports(flags.slots or "blue=8501,green=8502")
    seconds = number("--poll-seconds", flags.poll_seconds or "1", 0.01, 86_400)
    models = open_store(step.settings).models
    from steps.serving.server import in_background
    from steps.serving.slot import Slot, application

    with tempfile.TemporaryDirectory() as cache, ExitStack() as servers:
        for name, port in ports.items():
            slot = Slot(models, name, Path(cache))
            threading.Thread(target=slot.follow, args=(seconds,), daemon=True).start()
            servers.callback(slot.stopped.set)
            servers.enter_context(in_background(application(slot), flags.host or "127.0.0.1", port))
        threading.Event().wait()


def read_ports(text: str) -> dict[str, int]:
    ports = {}
    for part in text.split(","):
        name, equals, port = part.strip().partition("=")
        if not equals or not name.isalnum():
            raise UsageError(f"--slots has {part!r}: write NAME=PORT")
        if name in ports:
            raise UsageError(f"--slots names {name!r} twice")
        ports[name] = whole_number("--slots", port, low=0, high=65_535)
    return ports


if __name__ == "__main__":
    sys.exit(main(parser(), run, service=True))
