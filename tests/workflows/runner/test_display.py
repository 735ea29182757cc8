"""What is shown while a run goes on, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
import pty
import sys
import threading
import time

import pytest
from rich.console import Console

from workflows.runner.display import Display, drawing, print_tail, summary
from workflows.runner.session import Question
from workflows.runner.tree import Phase, Tree


def console(**options):
    return Console(file=io.StringIO(), width=120, **options)


def text(shown):
    screen = console()
    screen.print(shown)
    return screen.file.getvalue()


def small_tree(changed=None):
    tree = Tree("trial-1", changed)
    group = tree.add(tree.root, "train", "train", "train")
    als = tree.add(group, "train(0:als)", "train(0:als)", "train", leaf=True)
    report = tree.add(None, "onExit", "onExit", "report", leaf=True)
    return tree, als, report


def test_the_tree_shows_states_seconds_messages_and_what_was_done_before():
    tree, als, report = small_tree()
    tree.change(als, phase=Phase.SUCCEEDED, seconds=1.25, attempts=1)
    tree.change(report, phase=Phase.FAILED, message="exit code 1")
    shown = text(drawing(tree))
    assert "✓ train(0:als)  1.2 s" in shown
    assert "✗ onExit  exit code 1" in shown
    assert shown.index("train") < shown.index("onExit")
    tree.change(als, reused=True)
    assert "train(0:als)  done before" in text(drawing(tree))


def test_elsewhere_each_change_is_one_line_and_is_said_once():
    screen = console()
    display = Display(screen)
    tree, als, _ = small_tree(display.changed)
    with display:
        tree.change(als, phase=Phase.RUNNING)
        tree.change(als, phase=Phase.RUNNING)
        tree.change(als, attempts=1, seconds=2.0, memory=5 << 20)
        tree.change(als, phase=Phase.SUCCEEDED)
    lines = [line[9:] for line in screen.file.getvalue().splitlines()]
    assert lines[0] == "train(0:als) running"
    assert lines[-1] == "train(0:als) succeeded in 2.0 s, peak memory 5 MiB"
    assert len(lines) == 2


def test_a_terminal_gets_a_tree_that_stays_at_the_end():
    screen = console(force_terminal=True)
    display = Display(screen)
    tree, als, _ = small_tree(display.changed)
    display.tree = tree
    with display:
        tree.change(als, phase=Phase.RUNNING, started=time.monotonic())
        time.sleep(0.3)
        tree.change(als, phase=Phase.SUCCEEDED, seconds=0.3, attempts=1)
    assert "✓ train(0:als)" in screen.file.getvalue().rsplit("trial-1", 1)[1]


def test_logs_are_followed_with_the_name_of_the_step(tmp_path):
    log = tmp_path / "log"
    screen = console()
    display = Display(screen, logs=True)
    tree, als, _ = small_tree(display.changed)
    with display:
        tree.change(als, phase=Phase.RUNNING, log=log)
        log.write_text("epoch 1\nepo")
        time.sleep(0.5)
        assert "train(0:als) | epoch 1" in screen.file.getvalue()
        assert "epo\n" not in screen.file.getvalue()
        with log.open("a") as file:
            file.write("ch [2]\n")
    assert "train(0:als) | epoch [2]" in screen.file.getvalue()
    assert screen.file.getvalue().count("epoch 1") == 1


def test_the_end_of_a_failed_log_is_printed_with_the_place_of_all_of_it(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    tree, als, _ = small_tree()
    tree.change(als, log=log)
    screen = console()
    print_tail(screen, als)
    said = screen.file.getvalue()
    assert "train(0:als) | line 99" in said
    assert "line 79\n" not in said
    assert str(log) in said.replace("\n", "")
    tree.change(als, log=tmp_path / "none")
    print_tail(screen, als)


def test_the_summary_has_seconds_memory_and_attempts():
    tree, als, report = small_tree()
    tree.change(als, phase=Phase.SUCCEEDED, seconds=1.25, memory=300 << 20, attempts=2)
    tree.change(report, phase=Phase.SKIPPED)
    rows = [line.split() for line in text(summary(tree)).splitlines()]
    assert rows[1] == ["train(0:als)", "succeeded", "1.2", "300", "MiB", "2"]
    assert rows[2] == ["onExit", "skipped", "–", "–", "–"]


def test_nobody_is_asked_where_there_is_no_terminal():
    assert Display(console()).ask(Question("approve", "ok", ["yes"], None, None)) is None


def test_where_there_is_no_terminal_it_is_said_what_is_asked_and_how_to_answer():
    screen = console()
    display = Display(screen, hint=lambda question: f"resume with {question.output}")
    asked = Question("approval", "approved", ["yes", "no"], "no", 60.0, about={"report": "file:/r.html"})
    assert display.ask(asked) is None
    assert screen.file.getvalue() == "approval: report: file:/r.html\nresume with approved\n"


def test_a_question_that_nobody_was_asked_takes_no_line():
    tree = Tree("trial")
    tree.seldom = frozenset({"approval"})
    [one, other] = [tree.add(tree.root, name, name, "approval", leaf=True) for name in ("first", "second")]
    tree.change(one, phase=Phase.SKIPPED)
    tree.change(other, phase=Phase.SUCCEEDED, message="approved: yes")
    for shown in (drawing(tree), summary(tree)):
        assert "first" not in text(shown)
        assert "second" in text(shown)


@pytest.fixture
def typed(monkeypatch):
    """A terminal on which the test types."""
    outside, inside = pty.openpty()
    with os.fdopen(inside, "r") as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        yield lambda text: os.write(outside, text.encode())
    os.close(outside)


def test_an_answer_is_asked_for_until_it_is_allowed(typed):
    screen = console(force_terminal=True)
    typed("maybe\nyes\n")
    with Display(screen) as display:
        assert display.ask(Question("approve", "ok", ["yes", "no"], "no", 5.0)) == "yes"
    assert screen.file.getvalue().count("approve: ok [yes/no] (no)") == 2


def test_what_is_asked_about_is_said_first(typed):
    screen = console(force_terminal=True)
    typed("yes\n")
    Display(screen).ask(Question("approval", "approved", ["yes", "no"], "no", 5.0, about={"reason": "als won"}))
    assert screen.file.getvalue().startswith("approval: reason: als won\napproval: approved [yes/no] (no)")


def test_enter_takes_the_default(typed):
    typed("\n")
    assert Display(console(force_terminal=True)).ask(Question("approve", "ok", ["yes", "no"], "no", 5.0)) == "no"


def test_no_answer_in_time_is_none(typed):
    began = time.monotonic()
    assert Display(console(force_terminal=True)).ask(Question("approve", "ok", [], None, 0.3)) is None
    assert 0.3 <= time.monotonic() - began < 3


def test_a_stopped_run_needs_no_answer(typed):
    over = threading.Event()
    threading.Timer(0.2, over.set).start()
    asked = Question("approve", "ok", [], None, None, over.is_set)
    assert Display(console(force_terminal=True)).ask(asked) is None


def test_a_narrow_terminal_cuts_no_name():
    tree = Tree("trial")
    for name in ("train(0:popularity-a)", "train(1:popularity-b)"):
        tree.add(tree.root, name, name, "train", leaf=True)
    screen = Console(file=io.StringIO(), width=50)
    screen.print(summary(tree))
    first_column = "".join(line.split(" ")[0] for line in screen.file.getvalue().splitlines())
    assert "train(0:popularity-a)" in first_column
    assert "train(1:popularity-b)" in first_column


def test_many_threads_may_change_one_tree():
    tree, als, _ = small_tree()
    threads = [
        threading.Thread(target=lambda n=n: [tree.add(als, f"{n}.{i}", "x", "x", leaf=True) for i in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tree.leaves()) == 2 + 8 * 50
