"""The dataflow of the built workflows, with small shell scripts in the place of the programs."""

from __future__ import annotations

import pytest

from workflows.catalog import build

PLAN = {"train": "true", "models": '["popularity", "als"]', "reason": "new purchases", "fingerprint": "f"}


def stubbed(name, outputs, failing=()):
    """The built workflow whose containers only note their arguments and leave these outputs."""
    manifest = build(name)
    for template in manifest["spec"]["templates"]:
        if "container" not in template:
            continue
        left = outputs.get(template["name"], {})
        script = 'printf "%s\\n" "$@" > $OUTPUTS/../arguments'
        for parameter in template["outputs"]["parameters"]:
            if parameter["name"] in left or "default" not in parameter["valueFrom"]:
                script += (
                    f"; printf '%s' '{left.get(parameter['name'], parameter['name'])}' > $OUTPUTS/{parameter['name']}"
                )
        if template["name"] in failing:
            script += "; exit 65"
        container = template["container"]
        container["command"] = ["sh", "-c"]
        container["args"] = [script, "sh", *container["args"]]
    return manifest


def arguments(ran, path):
    return (ran.run.node_folder(path) / "0" / "arguments").read_text().splitlines()


def test_a_promoted_candidate_is_published(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN, "evaluate": {"promote": "true"}}))
    assert ran.phases() == {
        "data-publish": "Succeeded", "plan": "Succeeded", "train": "Succeeded", "train(0:popularity)": "Succeeded",
        "train(1:als)": "Succeeded", "evaluate": "Succeeded", "model-publish": "Succeeded", "onExit": "Succeeded",
    }  # fmt: skip
    assert ran.phase == "Succeeded"
    assert ran.node("evaluate").outputs["sample"] == "[]"
    assert "--snapshot=snapshot" in arguments(ran, "train(1:als)")
    assert "--model=als" in arguments(ran, "train(1:als)")
    assert '--models=["popularity", "als"]' in arguments(ran, "evaluate")
    assert "--fingerprint=f" in arguments(ran, "evaluate")
    assert arguments(ran, "onExit") == ["--workflow=retrain", "--status=Succeeded", '--failures="null"']


def test_a_refused_candidate_is_not_published_and_the_run_succeeds(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN, "evaluate": {"promote": "false"}}))
    assert ran.phases()["model-publish"] == "Skipped"
    assert ran.phase == "Succeeded"


@pytest.mark.parametrize("models", ["[]", '["popularity", "als"]'])
def test_an_unchanged_snapshot_trains_nothing_and_releases_nothing(runner, models):
    plan = PLAN | {"train": "false", "models": models, "reason": "nothing has changed"}
    ran = runner(stubbed("retrain", {"plan": plan, "evaluate": {"promote": "true"}}))
    phases = ran.phases()
    assert phases["train"] == "Skipped"
    assert phases["evaluate"] == "Omitted"
    assert phases["model-publish"] == "Omitted"
    assert ran.phase == "Succeeded"


def test_a_fan_out_that_argo_3_3_counts_as_succeeded_still_evaluates_nothing(runner):
    """There, a false `when` skips the items one by one, and the group of them has succeeded."""
    manifest = stubbed("retrain", {"plan": PLAN | {"train": "false"}, "evaluate": {"promote": "true"}})
    tasks = {task["name"]: task for task in manifest["spec"]["templates"][-1]["dag"]["tasks"]}
    tasks["train"]["withItems"] = ["popularity", "als"]
    del tasks["train"]["withParam"]
    ran = runner(manifest)
    phases = ran.phases()
    assert phases["train"] == "Succeeded"
    assert phases["train(0:popularity)"] == "Skipped"
    assert phases["evaluate"] == "Skipped"
    assert phases["model-publish"] == "Omitted"
    assert ran.phase == "Succeeded"


def test_bad_data_stops_everything_after_it_and_is_reported(runner):
    ran = runner(stubbed("retrain", {}, failing=["data-publish"]))
    assert ran.phase == "Failed"
    assert {ran.phases()[name] for name in ("plan", "train", "evaluate", "model-publish")} == {"Omitted"}
    assert ran.node("data-publish").attempts == 1
    told = arguments(ran, "onExit")
    assert told[1] == "--status=Failed"
    assert "data-publish" in told[2]


def test_one_model_that_cannot_be_trained_stops_the_release(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN}, failing=["train"]))
    assert ran.phase == "Failed"
    assert ran.phases()["evaluate"] == "Omitted"


def test_batch_prediction_works_on_every_shard_of_the_planned_version(runner):
    plan = {"version": "7", "shards": '[{"shard": "0", "shards": "2"}, {"shard": "1", "shards": "2"}]'}
    ran = runner(stubbed("batch-predict", {"plan": plan}), {"k": "20"})
    assert ran.phase == "Succeeded"
    second = arguments(ran, "shards(1:shard:1,shards:2)")
    assert {"--stage=shard", "--shard=1", "--shards=2", "--version=7", "--k=20", "--users-file="} <= set(second)
    assert {"--stage=merge", "--version=7"} <= set(arguments(ran, "merge"))


def test_rollback_names_the_release_and_the_reason(runner):
    ran = runner(stubbed("rollback", {}), {"version": "3", "reason": "worse on phones"})
    assert ran.phase == "Succeeded"
    assert arguments(ran, "model-publish") == ["--rollback=3", "--reason=worse on phones", "--deadline=300"]


def test_cleanup_passes_what_is_kept(runner):
    ran = runner(stubbed("cleanup", {}), {"dry-run": "true"})
    assert ran.phase == "Succeeded"
    assert arguments(ran, "cleanup") == ["--keep-snapshots=5", "--keep-runs=10", "--min-age-days=7", "--dry-run=true"]
