"""What can go wrong, and the exit code that tells the engine whether trying again may help."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of every program; the retry rule of the workflows is written in terms of them."""

    DONE = 0
    USAGE = 2
    BAD_DATA = 65
    CHECK_FAILED = 69
    TRY_AGAIN = 75
    INTERRUPTED = 130
    TERMINATED = 143


class StepError(Exception):
    """Ends a program with one sentence instead of a traceback."""

    code: ClassVar[Exit]


class UsageError(StepError):
    """A flag or a setting is wrong: what was received, and what is allowed."""

    code = Exit.USAGE


class BadDataError(StepError):
    """The purchases, or an artefact made from them, cannot be used."""

    code = Exit.BAD_DATA


class CheckFailedError(StepError):
    """A candidate or a slot did not pass its check; nothing that is served has changed."""

    code = Exit.CHECK_FAILED


class TryAgainError(StepError):
    """An outside system did not answer, or changed under us: the same command may succeed later."""

    code = Exit.TRY_AGAIN
