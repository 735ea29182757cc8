from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import serving
import serving_release
from serving_release import Size

SMALL = ["--customers", "300", "--items", "50", "--factors", "8", "--bought", "5"]


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of processes is read as Linux tells it")
def test_two_servers_of_one_release_are_started_and_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "store"
    serving.main([*SMALL, "--folder", str(folder), "--seconds", "0.2", "--connections", "2"])
    told = capsys.readouterr().out.splitlines()
    asked = r"server {}: [\d,]+ requests a second over 2 connections for [\d.]+ s: p50 [\d.]+ ms, p90 .*"
    start = r"server {}: ready in [\d.]+ s, [\d.]+ s of it loading; \d+ MiB resident, \d+ MiB anonymous, .*"
    expected = [one.format(number) for one in (asked, start) for number in (1, 2)]
    assert len(told) == len(expected)
    assert all(re.fullmatch(one, line) for one, line in zip(expected, told, strict=True)), told
    serving.main(["--store", f"file:{folder}", "--seconds", "0", "--processes", "1"])
    assert re.fullmatch(start.format(1), capsys.readouterr().out.strip())


def test_a_release_is_as_large_as_asked_for_and_made_once(tmp_path: Path) -> None:
    size = Size(customers=3000, items=200, factors=8, bought=12, seed=1)
    scorer, seen = serving_release.factors(size)
    assert (scorer.user_factors.shape, scorer.item_factors.shape, seen.shape) == ((3000, 8), (200, 8), (3000, 200))
    assert 6 < seen.nnz / 3000 <= 13  # what is bought twice counts once
    lengths = np.linalg.norm(scorer.item_factors, axis=1)
    assert np.median(lengths) == pytest.approx(serving_release.MIDDLE, rel=0.5)
    assert lengths.max() > 10 * np.median(lengths)
    serving_release.require(tmp_path, size)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    serving_release.require(tmp_path, size)
    assert before == {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="another size"):
        serving_release.require(tmp_path, Size(customers=3000, items=201, factors=8, bought=12, seed=1))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--processes", "0"], "at least 1 is allowed"),
        (["--folder", "a", "--store", "file:b"], "give one of them"),
    ],
    ids=["processes", "both"],
)
def test_a_wrong_flag_is_refused(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        serving.main(flags)
    assert told in capsys.readouterr().err
