"""What a finished run says."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from workflows import results


def said(workflow, outputs):
    console = Console(file=io.StringIO(), width=100)
    results.show(console, workflow, outputs)
    return console.file.getvalue()


def test_a_release_shows_version_metrics_report_and_recommendations():
    sample = [{"user": "u1", "bought": ["Red [bold]Kettle"], "recommended": ["Blue Pan", "Old\x1b[31m Lamp"]}]
    text = said(
        "retrain",
        {
            "plan": {"train": "true"},
            "evaluate": {
                "metrics": '{"als": {"ndcg@10": 0.12345, "users": 7}}',
                "reason": "als is the best",
                "report": "file:/r.html",
                "sample": json.dumps(sample),
            },
            "model-publish": {"version": "3", "slot": "green", "candidate": "candidates/r/als"},
        },
    )
    assert "Released version 3 in slot green: candidates/r/als" in text
    assert "0.1235" in text or "0.1234" in text
    assert "als is the best." in text
    assert "Report: file:/r.html" in text
    assert "Red [bold]Kettle" in text
    assert "Old?[31m Lamp" in text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("sample", ["", "[]", "no json", '{"a": 1}', '[{"user": "u"}]', "[3]"])
def test_without_a_sample_there_is_no_table(sample):
    text = said("retrain", {"evaluate": {"sample": sample}, "model-publish": {"version": "1"}})
    assert "Released version 1" in text
    assert "recommendations\n" not in text.replace("batch-predict", "")
    assert "bought" not in text


def test_metrics_of_several_models_stand_side_by_side():
    found = '{"als": {"ndcg@10": 0.2, "recall@10": 0.3}, "popularity": {"ndcg@10": 0.1}}'
    text = said("retrain", {"evaluate": {"metrics": found}, "model-publish": {"version": "1"}})
    assert [row.split() for row in text.splitlines() if row.startswith(("metric", "ndcg", "recall"))] == [
        ["metric", "als", "popularity"],
        ["ndcg@10", "0.2000", "0.1000"],
        ["recall@10", "0.3000", "–"],
    ]


def test_nothing_new_says_why():
    text = said("retrain", {"plan": {"train": "false", "reason": "the snapshot is that of version 4"}})
    assert "Nothing to do: the snapshot is that of version 4. Nothing was released." in text


def test_a_refused_candidate_says_so():
    text = said("retrain", {"plan": {"train": "true"}, "evaluate": {"reason": "als lost", "report": "x"}})
    assert "als lost." in text
    assert "No candidate was good enough; what was live stays live." in text
    assert "Released" not in text


def test_a_candidate_that_nobody_approved_says_so():
    found = {"evaluate": {"promote": "true", "reason": "als won", "report": "file:/r"}, "approval": {"approved": "no"}}
    text = said("retrain", found)
    assert "The best candidate was not approved; what was live stays live.\nals won.\nReport: file:/r\n" in text


TRIED = {"version": "3", "slot": "green", "candidate": "candidates/r/als", "became": "canary"}


def test_a_canary_that_went_live_is_a_release_with_the_reason_of_its_judge():
    text = said("retrain", {
        "evaluate": {"metrics": '{"als": {"ndcg@10": 0.2}}', "reason": "als is the best"},
        "model-publish": TRIED,
        "canary.canary-verdict": {"canary": "promote", "reason": "more was clicked"},
        "canary.canary-promote": {**TRIED, "became": "live"},
    })  # fmt: skip
    assert "Released version 3 in slot green: candidates/r/als\nmore was clicked.\n" in text
    assert "0.2000" in text


def test_a_canary_that_was_taken_back_says_so_and_why():
    text = said("retrain", {
        "evaluate": {"reason": "als is the best"},
        "model-publish": TRIED,
        "canary.canary-verdict": {"canary": "abort", "reason": "less was clicked"},
        "canary.canary-abort": {**TRIED, "became": "aborted"},
    })  # fmt: skip
    assert "Version 3 was taken back; what was live stays live.\nless was clicked.\n" in text
    assert "Released" not in text
    text = said("rollback", {"model-publish": {**TRIED, "became": "aborted"}})
    assert "Version 3 was taken back; what was live stays live.\n" in text
    assert "Released" not in text


def test_a_canary_that_somebody_else_ended_is_not_called_a_release():
    text = said("retrain", {"model-publish": TRIED, "canary.canary-verdict": {"canary": "none", "reason": "none runs"}})
    assert "Version 3 was tried; what became of it was decided elsewhere." in text
    assert "Released" not in text


def test_the_others_say_what_they_did_and_what_comes_next():
    assert "Predictions for 12 users: file:/p" in said(
        "batch-predict", {"merge": {"users": "12", "predictions": "file:/p"}}
    )
    assert "Released version 5" in said("rollback", {"model-publish": {"version": "5"}})
    assert "Removed 3 objects, 10 bytes." in said("cleanup", {"cleanup": {"removed": "3", "bytes": "10"}})
    assert "python -m steps.serve" in said("rollback", {"model-publish": {"version": "5"}})


def test_a_long_address_stays_on_one_line():
    address = "file:/" + "x" * 300
    assert f"Report: {address}\n" in said(
        "retrain", {"evaluate": {"report": address}, "model-publish": {"version": "1"}}
    )


def test_monitor_says_what_it_found_and_what_came_of_it():
    looked = {"retrain": "true", "reason": "version 3 has fallen", "report": "store/monitoring/x.html"}
    text = said("monitor", {"monitor": looked, "retrain.plan": {"train": "false", "reason": "nothing is new"}})
    assert "version 3 has fallen." in text
    assert "The page: store/monitoring/x.html" in text
    assert "Nothing to do: nothing is new." in text
    assert text.count("Next:") == 1
    alone = said("monitor", {"monitor": {**looked, "retrain": "false"}})
    assert "Nothing to do" not in alone
    assert "python workflows/submit.py retrain -p canary=10" in alone
