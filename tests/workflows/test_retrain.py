"""The dataflow of the built workflows, with small shell scripts in the place of the programs."""

from __future__ import annotations

import pytest

from workflows.catalog import build
from workflows.runner.expressions import when

PLAN = {
    "train": "true",
    "models": '["popularity", "als"]',
    "together": "[]",
    "blend": "true",
    "reason": "new purchases",
    "fingerprint": "f",
}
TOGETHER = '[{"model": "deep_cf", "job": "deep-cf"}]'


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


def dag(manifest, name="pipeline"):
    """The tasks of one of its DAGs."""
    [found] = [template for template in manifest["spec"]["templates"] if template["name"] == name]
    return found["dag"]["tasks"]


def arguments(ran, path):
    return (ran.run.node_folder(path) / "0" / "arguments").read_text().splitlines()


def test_a_promoted_candidate_is_published(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN, "evaluate": {"promote": "true"}}))
    assert ran.phases() == {
        "data-publish": "Succeeded", "plan": "Succeeded", "train": "Succeeded", "train(0:popularity)": "Succeeded",
        "train(1:als)": "Succeeded", "train-together": "Skipped", "blend": "Succeeded", "evaluate": "Succeeded",
        "approval": "Skipped", "approved": "Omitted", "model-publish": "Succeeded", "canary": "Skipped",
        "onExit": "Succeeded",
    }  # fmt: skip
    assert ran.phase == "Succeeded"
    assert ran.node("evaluate").outputs["sample"] == "[]"
    assert not ran.node("train-together").shown
    assert not ran.node("canary").shown
    assert arguments(ran, "model-publish") == ["--deadline=300", "--canary=0"]
    assert "--snapshot=snapshot" in arguments(ran, "train(1:als)")
    assert "--model=als" in arguments(ran, "train(1:als)")
    assert "--models=" in arguments(ran, "blend")
    assert "--fingerprint=f" in arguments(ran, "evaluate")
    assert arguments(ran, "onExit") == ["--workflow=retrain", "--status=Succeeded", '--failures="null"']


PROMOTED = {"plan": PLAN, "evaluate": {"promote": "true", "report": "file:/r.html", "reason": "als won"}}


@pytest.mark.parametrize(("answer", "published"), [("yes", "Succeeded"), ("no", "Omitted")])
def test_a_manual_approval_asks_with_the_report_and_the_answer_decides(runner, answer, published):
    asked = []

    def ask(question):
        asked.append((question.output, question.allowed, question.default, question.about))
        assert 43000 < question.seconds <= 43200
        return answer

    ran = runner(stubbed("retrain", PROMOTED), {"approve": "manual"}, ask=ask)
    assert asked == [("approved", ["yes", "no"], "no", {"report": "file:/r.html", "reason": "als won"})]
    assert ran.phases()["model-publish"] == published
    assert ran.node("approval").message == f"approved: {answer}"
    assert ran.phase == "Succeeded"
    assert arguments(ran, "onExit")[1] == "--status=Succeeded"


def test_an_approval_that_nobody_gives_in_time_releases_nothing_and_the_run_succeeds(runner):
    ran = runner(stubbed("retrain", PROMOTED), {"approve": "manual", "approve-within": "300ms"})
    phases = ran.phases()
    assert (phases["approval"], phases["approved"], phases["model-publish"]) == ("Succeeded", "Skipped", "Omitted")
    assert ran.phase == "Succeeded"


def test_without_approval_nobody_is_asked(runner):
    ran = runner(stubbed("retrain", PROMOTED), ask=lambda question: pytest.fail("asked"))
    assert (ran.phases()["approval"], ran.phases()["approved"]) == ("Skipped", "Omitted")
    assert ran.phases()["model-publish"] == "Succeeded"


def test_nobody_is_asked_about_a_refused_candidate(runner):
    outputs = {"plan": PLAN, "evaluate": {"promote": "false"}}
    ran = runner(stubbed("retrain", outputs), {"approve": "manual"}, ask=lambda question: pytest.fail("asked"))
    assert ran.phases()["model-publish"] == "Skipped"
    assert ran.phase == "Succeeded"


def test_a_run_that_was_not_approved_is_resumed_with_a_yes_and_repeats_nothing(runner):
    first = runner(stubbed("retrain", PROMOTED), {"approve": "manual", "approve-within": "300ms"})
    second = runner({}, {"approve": "auto"}, resume=first.run.name)
    assert second.phases()["model-publish"] == "Succeeded"
    assert second.node("evaluate").reused
    assert second.node("train(1:als)").reused


def test_whatever_is_not_plainly_auto_asks_before_it_publishes():
    """Argo itself does not look at what a parameter may be."""
    manifest = stubbed("retrain", PROMOTED)
    for parameter in manifest["spec"]["arguments"]["parameters"]:
        parameter.pop("enum", None)
    tasks = {task["name"]: task for task in dag(manifest)}
    condition = tasks["approval"]["when"].replace("{{tasks.evaluate.outputs.parameters.promote}}", "true")
    for value, asked in (("auto", False), ("manual", True), ("manuel", True), ("", True), ("Auto", True)):
        assert when(condition.replace("{{workflow.parameters.approve}}", value)) is asked


def test_an_answer_that_an_old_argo_leaves_unresolved_is_a_no():
    tasks = {task["name"]: task for task in dag(build("retrain"))}
    assert when(tasks["approved"]["when"]) is False


def test_the_run_may_take_as_long_as_its_steps_the_approval_and_the_canary():
    assert build("retrain")["spec"]["activeDeadlineSeconds"] == (6 + 12 + 24) * 3600
    assert build("rollback")["spec"]["activeDeadlineSeconds"] == 6 * 3600


def test_a_refused_candidate_is_not_published_and_the_run_succeeds(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN, "evaluate": {"promote": "false"}}))
    assert ran.phases()["model-publish"] == "Skipped"
    assert ran.phase == "Succeeded"


@pytest.mark.parametrize("models", ["[]", '["popularity", "als"]'])
def test_an_unchanged_snapshot_trains_nothing_and_releases_nothing(runner, models):
    plan = PLAN | {"train": "false", "models": models, "blend": "false", "reason": "nothing has changed"}
    ran = runner(stubbed("retrain", {"plan": plan, "evaluate": {"promote": "true"}}))
    phases = ran.phases()
    assert phases["train"] == "Skipped"
    assert phases["evaluate"] == "Skipped"
    assert phases["model-publish"] == "Omitted"
    assert ran.phase == "Succeeded"


def test_a_fan_out_that_argo_3_3_counts_as_succeeded_still_evaluates_nothing(runner):
    """There, a false `when` skips the items one by one, and the group of them has succeeded."""
    plan = PLAN | {"train": "false", "blend": "false"}
    manifest = stubbed("retrain", {"plan": plan, "evaluate": {"promote": "true"}})
    tasks = {task["name"]: task for task in dag(manifest)}
    tasks["train"]["withItems"] = ["popularity", "als"]
    del tasks["train"]["withParam"]
    ran = runner(manifest)
    phases = ran.phases()
    assert phases["train"] == "Succeeded"
    assert phases["train(0:popularity)"] == "Skipped"
    assert phases["blend"] == "Skipped"
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


@pytest.mark.parametrize("blend", ["true", "false"])
def test_one_model_that_cannot_be_trained_stops_the_release(runner, blend):
    ran = runner(stubbed("retrain", {"plan": PLAN | {"blend": blend}}, failing=["train"]))
    assert ran.phase == "Failed"
    assert (ran.phases()["blend"], ran.phases()["evaluate"]) == ("Omitted", "Omitted")


def test_where_no_blend_is_planned_none_is_started_and_the_others_are_judged(runner):
    outputs = {"plan": PLAN | {"blend": "false"}, "evaluate": {"promote": "true"}}
    ran = runner(stubbed("retrain", outputs))
    phases = ran.phases()
    assert (phases["blend"], phases["evaluate"], phases["model-publish"]) == ("Skipped", "Succeeded", "Succeeded")
    assert ran.phase == "Succeeded"


def test_a_blend_that_fails_stops_the_release(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN}, failing=["blend"]))
    assert (ran.phase, ran.phases()["evaluate"]) == ("Failed", "Omitted")


@pytest.mark.parametrize("models", ["[]", '["popularity"]'])
def test_what_several_workers_train_is_waited_for_too(runner, models):
    """A cluster makes a TFJob; here a script stands in its place."""
    manifest = stubbed("retrain", {"plan": PLAN | {"models": models, "together": TOGETHER}})
    templates = {template["name"]: template for template in manifest["spec"]["templates"]}
    del templates["train-together"]["resource"], templates["train-together"]["podSpecPatch"]
    templates["train-together"]["container"] = {
        "command": ["sh", "-c"],
        "args": ["echo {{inputs.parameters.model}} {{inputs.parameters.job}} {{inputs.parameters.workers}}"],
    }
    phases = runner(manifest, {"workers": "3"}).phases()
    assert phases["train"] == ("Skipped" if models == "[]" else "Succeeded")
    assert phases["train-together(0:job:deep-cf,model:deep_cf)"] == "Succeeded"
    assert (phases["blend"], phases["evaluate"]) == ("Succeeded", "Succeeded")
    templates["train-together"]["container"]["args"] = ["exit 65"]
    phases = runner(manifest).phases()
    assert (phases["train-together"], phases["blend"], phases["evaluate"]) == ("Failed", "Omitted", "Omitted")


def test_this_machine_makes_no_object_of_a_cluster(runner):
    ran = runner(stubbed("retrain", {"plan": PLAN | {"together": TOGETHER}}))
    node = ran.node("train-together(0:job:deep-cf,model:deep_cf)")
    assert (node.phase, node.message) == (
        "Error",
        "train-together makes an object of a cluster's, which runs elsewhere",
    )
    assert ran.phases()["blend"] == "Omitted"


ON_TRIAL = {"canary": "10", "canary-for": "100ms"}


def tried(decision, became="canary"):
    """What the steps leave where version 7 is tried and judged so."""
    return PROMOTED | {
        "model-publish": {"version": "7", "became": became},
        "canary-verdict": {"canary": decision, "reason": "it was seen"},
    }


def canary(ran):
    """How the nodes of the trial ended, by their names."""
    return {
        name.removeprefix("canary.canary-"): phase
        for name, phase in ran.phases().items()
        if name.startswith("canary.canary-")
    }


def test_a_canary_that_did_well_goes_live(runner):
    ran = runner(stubbed("retrain", tried("promote")), ON_TRIAL)
    assert canary(ran) == {
        "wait": "Succeeded", "verdict": "Succeeded", "promote": "Succeeded", "abort": "Skipped", "lost": "Omitted",
        "settled": "Succeeded",
    }  # fmt: skip
    assert (ran.phase, ran.phases()["canary"]) == ("Succeeded", "Succeeded")
    assert arguments(ran, "model-publish") == ["--deadline=300", "--canary=10"]
    assert arguments(ran, "canary.canary-verdict") == ["--canary"]
    assert arguments(ran, "canary.canary-promote") == [
        "--promote", "--version=7", "--reason=it was seen", "--deadline=300",
    ]  # fmt: skip
    assert "--canary=10" in arguments(ran, "plan")


def test_a_canary_that_did_badly_is_taken_back_and_the_run_succeeds(runner):
    ran = runner(stubbed("retrain", tried("abort")), ON_TRIAL)
    assert canary(ran) == {
        "wait": "Succeeded", "verdict": "Succeeded", "promote": "Skipped", "abort": "Succeeded", "lost": "Omitted",
        "settled": "Succeeded",
    }  # fmt: skip
    assert ran.phase == "Succeeded"
    assert arguments(ran, "canary.canary-abort") == ["--abort", "--version=7", "--reason=it was seen"]


def test_a_canary_that_somebody_ended_meanwhile_is_left_as_it_is(runner):
    ran = runner(stubbed("retrain", tried("none")), ON_TRIAL)
    assert canary(ran) == {
        "wait": "Succeeded", "verdict": "Succeeded", "promote": "Skipped", "abort": "Skipped", "lost": "Omitted",
        "settled": "Succeeded",
    }  # fmt: skip
    assert ran.phase == "Succeeded"


@pytest.mark.parametrize(
    ("failing", "phases"),
    [
        ("canary-verdict", {"verdict": "Failed", "promote": "Omitted", "abort": "Omitted", "lost": "Succeeded"}),
        ("canary-promote", {"verdict": "Succeeded", "promote": "Failed", "abort": "Skipped", "lost": "Succeeded"}),
    ],
)
def test_a_canary_that_nobody_can_judge_or_promote_is_taken_back_and_the_run_fails(runner, failing, phases):
    ran = runner(stubbed("retrain", tried("promote"), failing=[failing]), ON_TRIAL)
    assert canary(ran) == {"wait": "Succeeded", "settled": "Omitted"} | phases
    assert (ran.phase, ran.phases()["canary"]) == ("Failed", "Failed")
    lost = arguments(ran, "canary.canary-lost")
    assert lost == ["--abort", "--version=7", "--reason=it could not be judged, or not be made live"]
    assert failing in arguments(ran, "onExit")[2]


def test_a_failure_does_not_keep_argo_from_taking_the_canary_back():
    """Its fail-fast, which is the default, ends a DAG before a task begins that waits for two others."""
    [trial] = [one for one in build("retrain")["spec"]["templates"] if one["name"] == "canary"]
    assert trial["dag"]["failFast"] is False


def test_a_canary_that_cannot_be_taken_back_fails_the_run(runner):
    ran = runner(stubbed("retrain", tried("abort"), failing=["canary-abort"]), ON_TRIAL)
    assert (ran.phase, canary(ran)["abort"]) == ("Failed", "Failed")


def test_a_canary_that_cannot_be_started_is_not_waited_for(runner):
    ran = runner(stubbed("retrain", tried("promote"), failing=["model-publish"]), ON_TRIAL)
    assert (ran.phase, ran.phases()["canary"], canary(ran)) == ("Failed", "Omitted", {})


def test_a_model_that_went_live_at_once_is_not_judged_after(runner):
    """As the first of all does: there is nothing to try it against."""
    ran = runner(stubbed("retrain", tried("abort", became="live")), ON_TRIAL)
    assert (ran.phase, ran.phases()["canary"], canary(ran)) == ("Succeeded", "Skipped", {})


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_an_approval_comes_before_the_canary(runner, answer):
    asked = []

    def ask(question):
        asked.append(question.output)
        return answer if question.output else None

    ran = runner(stubbed("retrain", tried("promote")), ON_TRIAL | {"approve": "manual"}, ask=ask)
    assert asked == (["approved", ""] if answer == "yes" else ["approved"])
    assert ran.phases()["canary"] == ("Succeeded" if answer == "yes" else "Omitted")


def test_somebody_who_presses_enter_need_not_wait(runner):
    ran = runner(stubbed("retrain", tried("promote")), ON_TRIAL | {"canary-for": "24h"}, ask=lambda question: "")
    assert canary(ran)["promote"] == "Succeeded"


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


def test_a_rollback_takes_back_a_canary_too(runner):
    ran = runner(stubbed("rollback", {"model-publish": {"became": "aborted"}}), {"version": "canary"})
    assert arguments(ran, "model-publish") == ["--rollback=canary", "--reason=rollback", "--deadline=300"]
    assert ran.node("model-publish").outputs["became"] == "aborted"


def test_cleanup_passes_what_is_kept(runner):
    ran = runner(stubbed("cleanup", {}), {"dry-run": "true"})
    assert ran.phase == "Succeeded"
    assert arguments(ran, "cleanup") == ["--keep-snapshots=5", "--keep-runs=10", "--min-age-days=7", "--dry-run=true"]


def test_monitor_retrains_where_the_release_has_become_worse(runner):
    left = {"monitor": {"retrain": "true"}, "plan": PLAN, "evaluate": {"promote": "true"}}
    ran = runner(stubbed("monitor", left), {"source": "sales.csv", "tolerance": "0.5", "online-tolerance": "0.2"})
    assert ran.phase == "Succeeded"
    assert ran.node("retrain.model-publish").phase == "Succeeded"
    assert "--source=sales.csv" in arguments(ran, "retrain.data-publish")
    assert "--tolerance=0.5" in arguments(ran, "retrain.evaluate")
    assert "--metric=ndcg@10" in arguments(ran, "retrain.evaluate")
    assert arguments(ran, "monitor") == [
        "--hours=24", "--within=24", "--metric=ndcg", "--min-accuracy=0.9", "--tolerance=0.2", "--cool-down=12",
        "--least-lists=100",
    ]  # fmt: skip
    assert arguments(ran, "onExit")[0] == "--workflow=monitor"


def test_monitor_does_nothing_more_where_the_release_does_well(runner):
    ran = runner(stubbed("monitor", {"monitor": {"retrain": "false"}}))
    assert ran.phases() == {"monitor": "Succeeded", "retrain": "Skipped", "onExit": "Succeeded"}
    assert ran.phase == "Succeeded"


def test_monitor_retrains_as_retrain_does():
    alone, watched = build("retrain"), build("monitor")
    parameters = watched["spec"]["arguments"]["parameters"]
    assert [one for one in parameters if one in alone["spec"]["arguments"]["parameters"]] == (
        alone["spec"]["arguments"]["parameters"]
    )
    assert len({one["name"] for one in parameters}) == len(parameters)
    assert dag(watched, "retrain") == dag(alone)
    templates = {one["name"]: one for one in watched["spec"]["templates"]}
    for one in alone["spec"]["templates"]:
        if one["name"] not in ("pipeline", "run-report"):
            assert templates[one["name"]] == one


def test_only_one_retrains_at_a_time():
    [held] = [one for one in build("monitor")["spec"]["templates"] if one["name"] == "retrain"]
    assert held["synchronization"] == build("retrain")["spec"]["synchronization"]
    assert held["synchronization"] == {"mutexes": [{"name": "recommender-retrain"}]}
    assert "synchronization" not in build("monitor")["spec"], "looking waits for nobody"
