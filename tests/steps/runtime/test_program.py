from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.runtime.errors import BadDataError, CheckFailedError, StepError, TryAgainError, UsageError
from steps.runtime.program import JsonLines, Parser, Plain, Step, main

PROGRAMS = sorted(
    path.stem for path in (Path(__file__).parents[3] / "steps").glob("*.py") if not path.stem.startswith("_")
)


def parser() -> Parser:
    flags = Parser(prog="example", description="An example.", epilog="")
    flags.add_argument("--size", type=int, default=1)
    return flags


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError, 2), (BadDataError, 65), (CheckFailedError, 69), (TryAgainError, 75)],
)
def test_every_error_ends_in_its_own_exit_code(error: type[StepError], code: int) -> None:
    def run(step: Step) -> None:
        raise error("because")

    assert main(parser(), run, []) == code


def test_a_wrong_flag_is_a_usage_error_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(parser(), lambda step: None, ["--size", "many"]) == 2
    line = json.loads(capsys.readouterr().err)
    assert "--size" in line["message"]
    assert "many" in line["message"]


def test_an_abbreviated_flag_is_refused() -> None:
    assert main(parser(), lambda step: None, ["--si", "3"]) == 2


def test_a_mistake_in_a_program_is_not_hidden() -> None:
    def run(step: Step) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main(parser(), run, [])


def test_outputs_are_whole_files_with_texts_as_they_are_and_values_as_json(tmp_path: Path) -> None:
    def run(step: Step) -> None:
        step.output("version", "3")
        step.output("models", ["als", "é"])

    assert main(parser(), run, ["--outputs", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "version").read_text() == "3"
    assert (tmp_path / "out" / "models").read_text() == '["als", "é"]'
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_place_where_no_outputs_can_be_left_is_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    worked: list[Step] = []
    assert main(parser(), worked.append, ["--outputs", str(tmp_path / "file")]) == 2
    assert main(parser(), worked.append, ["--outputs", str(tmp_path / "file" / "below")]) == 2
    assert worked == []


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 75), (errno.EIO, 75), (errno.EACCES, 2)])
def test_a_disk_that_fails_ends_in_one_sentence(number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def run(step: Step) -> None:
        raise OSError(number, os.strerror(number), "/scratch/file")

    assert main(parser(), run, []) == code
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == f"example: /scratch/file: {os.strerror(number)}"


def test_without_a_place_for_outputs_they_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(parser(), lambda step: step.output("version", "3"), []) == 0
    assert json.loads(capsys.readouterr().err)["figures"] == {"version": "3"}


def test_a_log_line_cannot_be_forged_by_data() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "user %s", ("a\nerror: all is lost",), None)
    assert Plain().format(record) == "user a?error: all is lost"
    assert json.loads(JsonLines().format(record))["message"] == "user a\nerror: all is lost"


def test_a_wrong_log_level_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    assert main(parser(), lambda step: None, []) == 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_teaches_and_answers_at_once(
    name: str, times_bare_python: Callable[[Callable[[], object]], float]
) -> None:
    def ask() -> str:
        command = [sys.executable, "-m", f"steps.{name}", "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "example" in ask()
    assert times_bare_python(ask) < 4


WAITS = "wait = lambda step: (print('up', flush=True), time.sleep(30))"
SWALLOWS = """
def wait(step):
    try:
        print('up', flush=True), time.sleep(30)
    except KeyboardInterrupt:
        raise RuntimeError('what a library makes of it')
"""


TIDIES = """
def wait(step):
    try:
        print('up', flush=True), time.sleep(30)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        print('tidied', file=sys.stderr)
"""


@pytest.mark.parametrize("waits", [WAITS, SWALLOWS, TIDIES])
def test_a_terminated_program_says_so_and_leaves_with_a_code_that_is_tried_again(waits: str) -> None:
    code = (
        "import os, signal, sys, time; from steps.runtime.program import Parser, main\n"
        f"{waits}\n"
        "sys.exit(main(Parser(prog='x', description='', epilog=''), wait, []))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 143
        assert process.stderr
        said = process.stderr.read()
        assert b"interrupted" in said
        assert (b"tidied" in said) == (waits == TIDIES), "a second signal does not interrupt the end"
