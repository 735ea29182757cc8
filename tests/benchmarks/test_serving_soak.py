from __future__ import annotations

import re
import sys

import pytest
import serving_soak
from serving_soak import Asking

SMALL = ["--customers", "300", "--items", "50", "--factors", "8", "--bought", "5", "--connections", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read as Linux tells it")
def test_a_server_is_asked_for_long_and_its_models_are_swapped(capsys: pytest.CaptureFixture[str]) -> None:
    serving_soak.main([*SMALL, "--requests", "200", "--swaps", "2", "--rate", "20", "--seconds", "1"])
    told = capsys.readouterr().out
    looks = re.findall(r"^ +\d+ s: ([\d,]+) x 200; memory of its own [\d.]+ MiB, of files \d+ MiB$", told, re.MULTILINE)
    assert looks == [str(10 * look) for look in range(1, 21)]
    assert re.search(r"^  \d+ requests, 0 failed, 0 mixed; [123] versions answered", told, re.MULTILINE), told


@pytest.mark.parametrize("items", [["b-00001", "a-00002"], [], None])
def test_an_answer_with_items_of_another_version_is_noticed(items: list[str] | None) -> None:
    asking = Asking(0)
    asking.check({"version": 7, "items": [{"item": "b-00001"}]})
    assert asking.mixed == 0
    asking.check({"version": 7, "items": items and [{"item": one} for one in items]})
    assert asking.mixed == 1
