"""What is learned from while settings are chosen: built once for all trials, anew where other events count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from steps.artifacts import dataset, making
from steps.artifacts.dataset import Split
from steps.clients.object_store import Store


def test_trials_that_count_the_same_events_learn_from_one_object(
    run_step: Callable[..., tuple[int, dict[str, str]]], folder_store: Store, tmp_path: Path
) -> None:
    snapshot = run_step("data_publish", "--source", "demo:users=60,items=30,days=60")[1]["snapshot"]
    data = dataset.load(folder_store, snapshot, tmp_path)
    found = making.validation(data, "ndcg", 10, seed=1)
    assert found is not None
    plain = found.learnt({})
    assert (plain.matrix != data.interactions(Split.TRAIN).matrix).nnz == 0
    assert found.learnt({}) is plain
    viewed = found.learnt({"view": 0.1})
    assert viewed is not plain
    assert found.learnt({"view": 0.1}) is viewed
