from __future__ import annotations

import logging
from pathlib import Path

import pytest

from steps.runtime import progress as module
from steps.runtime.progress import progress


def test_the_engine_reads_the_progress_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(tmp_path / "progress"))
    with progress("counting", 3) as bar:
        for _ in range(3):
            bar.advance()
    assert (tmp_path / "progress").read_text() == "3/3\n"


def test_long_work_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.0)
    with caplog.at_level(logging.INFO), progress("counting", 2) as bar:
        bar.at(1, 4)
    assert caplog.messages == ["counting: 1 of 4"]
