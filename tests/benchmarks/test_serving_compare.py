from __future__ import annotations

import os
import re
import sys

import pytest
import serving_compare
from serving_compare import Run

SMALL = ["--customers", "300", "--items", "50", "--factors", "8", "--bought", "5"]


@pytest.mark.skipif(not os.environ.get("OHA"), reason="OHA names no load generator")
@pytest.mark.skipif(sys.platform != "linux", reason="cores are given to programs as Linux does it")
def test_ways_are_asked_the_same_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    serving_compare.main([*SMALL, "--ways", "ours,implicit", "--seconds", "2", "--connections", "2", "--rate", "20"])
    told = capsys.readouterr().out
    assert len(re.findall(r"^(ours|implicit): ready in [\d.]+ s", told, re.MULTILINE)) == 2
    for run in ("as fast as it can", "one after the other", "20 a second", "sessions"):
        lines = re.findall(rf"^  {run}: [\d,]+ a second, p50 .* ms, (\d[\d,]*) answered, 0 failed$", told, re.MULTILINE)
        assert len(lines) == 2, told
        assert "0" not in lines
    assert re.search(r"^ours answers so many times as many as implicit: [\d.]+ \(as fast as it can\)", told, re.M)


def test_what_is_dropped_at_the_end_is_no_failure_and_everything_else_is() -> None:
    told = {
        "summary": {"requestsPerSec": 12.5},
        "latencyPercentiles": {"p50": 0.001, "p99": 0.25, "p99.99": None},
        "statusCodeDistribution": {"200": 7, "503": 2},
        "errorDistribution": {"aborted due to deadline": 3, "connection refused": 1},
    }
    assert Run.of(told) == Run(12.5, 7, 3, {"p50": 1.0, "p99": 250.0})


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--ways", "ours,thorough"], "--ways names thorough: ours, implicit, tensorflow are there"),
        (["--oha", "there-is-none"], "there is no load generator there-is-none"),
    ],
)
def test_a_wrong_flag_is_refused(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        serving_compare.main(flags)
    assert told in capsys.readouterr().err
