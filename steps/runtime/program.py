"""How every program starts and ends: logging, exit codes, one sentence for an error, small outputs, resources used."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TextIO

from steps.runtime.errors import Exit, StepError, UsageError
from steps.runtime.processor import use_all_of_it
from steps.runtime.settings import Settings

log = logging.getLogger(__name__)

FIGURES = "figures"
WRONG_PLACE = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class Step:
    """What `main()` hands to a program's `run`: settings, parsed flags, and the place for small outputs."""

    settings: Settings
    flags: argparse.Namespace
    outputs: Path | None
    figures: dict[str, object] = field(default_factory=dict)

    def output(self, name: str, value: object) -> None:
        """Leaves one small file, which a workflow engine collects as an output parameter; logged at the end too."""
        self.figures[name] = value
        if self.outputs is None:
            return
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        unfinished = self.outputs / f".{name}.{os.getpid()}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self.outputs / name)


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes end in one line and exit code 2."""

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=f"python -m steps.{prog}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"{message} ({self.prog} --help lists the flags)")


def add_common_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that every program has."""
    parser.add_argument(
        "--outputs",
        default=os.environ.get("OUTPUTS", ""),
        metavar="DIR",
        help="where to leave small output files for the workflow engine (default: $OUTPUTS, else no files)",
    )


def main(
    parser: Parser, run: Callable[[Step], None], arguments: Sequence[str] | None = None, *, service: bool = False
) -> int:
    """Runs one program and returns its exit code; every error of a user's making is one sentence on stderr.

    A service runs until it is told to stop: for it, that is a good end.
    """
    started = time.perf_counter()
    name = parser.prog.rsplit(".", 1)[-1]
    told: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        # Once is enough: a second signal would interrupt the end itself.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        told.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        start_logging()
        add_common_flags(parser)
        flags = parser.parse_args(arguments)
        use_all_of_it(os.environ)
        step = Step(Settings.from_environment(os.environ), flags, _outputs(flags.outputs))
        run(step)
    except (Exception, KeyboardInterrupt) as error:
        # Whoever is told to stop has ended for that reason, also where a library made another error of it.
        if told or isinstance(error, KeyboardInterrupt):
            if service:
                log.info("%s: stopped", name)
                return Exit.DONE
            log.error("%s: interrupted", name)
            return Exit.TERMINATED if told else Exit.INTERRUPTED
        if isinstance(error, StepError):
            log.error("%s: %s", name, error)
            return error.code
        if isinstance(error, OSError):
            log.error("%s: %s", name, _what_failed(error))
            return Exit.USAGE if isinstance(error, WRONG_PLACE) else Exit.TRY_AGAIN
        raise
    seconds, mebibytes = time.perf_counter() - started, peak_memory() / 2**20
    log.info("%s: done in %.1f s, peak memory %.0f MiB", name, seconds, mebibytes, extra={FIGURES: step.figures})
    return Exit.DONE


def _outputs(folder: str) -> Path | None:
    """The place for small outputs, found to be one before any work is done."""
    if not folder:
        return None
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--outputs is {folder!r}, which cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"--outputs is {folder!r}, which cannot be written to")
    return path


def _what_failed(error: OSError) -> str:
    """A disk of this machine that is full or gone, in one sentence."""
    place = error.filename2 or error.filename
    return f"{place}: {error.strerror}" if place and error.strerror else str(error) or type(error).__name__


def peak_memory() -> int:
    """Bytes that this process has had resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def one_line(text: str) -> str:
    """A text made fit for a log line: no control characters, so that data cannot forge a line."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)


class JsonLines(logging.Formatter):
    """One JSON object a line, for a log collector."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        figures = getattr(record, FIGURES, None)
        if figures:
            line[FIGURES] = figures
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Plain(logging.Formatter):
    """What a person reads on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        text = f"{mark}{one_line(record.getMessage())}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class OnStderr(logging.StreamHandler[TextIO]):
    """The one handler that this module adds, so that starting twice does not write every line twice."""


def start_logging() -> None:
    """Plain lines on a terminal or where LOG_FORMAT=text, JSON elsewhere; always on stderr."""
    handler = OnStderr(sys.stderr)
    chosen = os.environ.get("LOG_FORMAT", "")
    if chosen not in ("", "text", "json"):
        chosen = ""
    plain = chosen == "text" or (not chosen and sys.stderr.isatty())
    handler.setFormatter(Plain() if plain else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [one for one in root.handlers if not isinstance(one, OnStderr)] + [handler]
    level = os.environ.get("LOG_LEVEL", "") or "info"
    if level.lower() not in LEVELS:
        raise UsageError(f"LOG_LEVEL is {level!r}; allowed are {', '.join(LEVELS)}")
    root.setLevel(level.upper())
    for noisy in ("tensorflow", "h5py", "absl"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It warns of every connection that it tries again; what comes of it is said in one sentence at the end.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
