"""Each rule of our own, with a broken manifest that it catches."""

from __future__ import annotations

import copy

import pytest

from cron.schedules import CRONS
from cron.schedules import build as build_cron
from workflows.catalog import DESCRIPTIONS, build
from workflows.cluster.contract import workflow
from workflows.rules import RuleError, broken, must_hold


def everything():
    return [*(build(name) for name in DESCRIPTIONS), *(build_cron(cron) for cron in CRONS)]


def test_everything_that_we_render_keeps_them():
    assert list(broken(everything())) == []


@pytest.fixture(scope="module")
def rendered():
    return build("retrain")


def template(manifest, name):
    return next(one for one in manifest["spec"]["templates"] if one["name"] == name)


def task(manifest, name):
    return next(one for one in template(manifest, "pipeline")["dag"]["tasks"] if one["name"] == name)


def change(path, value):
    """A change of a template's field; None removes it."""

    def apply(manifest):
        holder = template(manifest, "train")
        for key in path[:-1]:
            holder = holder[key]
        if value is None:
            del holder[path[-1]]
        else:
            holder[path[-1]] = value

    return apply


def change_task(name, **fields):
    return lambda manifest: task(manifest, name).update(fields)


BROKEN = {
    "entrypoint names 'nowhere'": lambda m: m["spec"].update(entrypoint="nowhere"),
    "onExit names 'nowhere'": lambda m: m["spec"].update(onExit="nowhere"),
    "it has no entrypoint": lambda m: m["spec"].pop("entrypoint"),
    "its name is too long": lambda m: m["metadata"].update(name="x" * 64),
    "two templates have the same name": lambda m: m["spec"]["templates"].append(copy.deepcopy(template(m, "train"))),
    "task train names the template 'nowhere'": change_task("train", template="nowhere"),
    "task evaluate depends on 'nowhere', which is not there": change_task("evaluate", depends="nowhere.Succeeded"),
    "depends on train without a result": change_task("evaluate", depends="train"),
    "or with an unknown one: 'Done'": change_task("evaluate", depends="train.Done"),
    "uses dependencies": change_task("evaluate", dependencies=["train"]),
    "task train: 'plan.Succeeded @' cannot be read": change_task("train", depends="plan.Succeeded @"),
    "wait for one another": change_task("data-publish", depends="model-publish.Succeeded"),
    "does not give 'model' to train": lambda m: task(m, "train")["arguments"]["parameters"].pop(1),
    "gives 'colour', which train does not take": lambda m: task(m, "train")["arguments"]["parameters"].append(
        {"name": "colour", "value": "red"}
    ),
    "{{tasks.plan.outputs.parameters.nothing}} stands for nothing": change_task(
        "train", withParam="{{tasks.plan.outputs.parameters.nothing}}"
    ),
    "parameters.promote}} stands for nothing, or for a task that is not before it": change_task(
        "train", when="{{tasks.evaluate.outputs.parameters.promote}} == true"
    ),
    "{{workflow.parameters.nothing}} stands for nothing": change(
        ("container", "env", 0, "value"), "{{workflow.parameters.nothing}}"
    ),
    "template train: {{inputs.parameters.colour}} stands for nothing": change(
        ("container", "args", 0), "--colour={{inputs.parameters.colour}}"
    ),
    "task train uses {{item}} without items": lambda m: task(m, "train").pop("withParam"),
    "output candidate at '/tmp/candidate' is not below a mounted volume": change(
        ("outputs", "parameters", 0, "valueFrom", "path"), "/tmp/candidate"
    ),
    "it mounts the volume 'nowhere'": change(("container", "volumeMounts", 0, "name"), "nowhere"),
    "it has the volume 'outputs', which it does not mount": change(("container", "volumeMounts", 0, "name"), "scratch"),
    "two volumes are mounted at the same path": change(("container", "volumeMounts", 0, "mountPath"), "/scratch"),
    "its container has no command": change(("container", "command"), None),
    "has no tag": change(("container", "image"), "registry:5000/recommender-train"),
    "its container has no requests of cpu and memory": change(("container", "resources", "requests"), {"cpu": "1"}),
    "its container has no limits of cpu and memory": change(("container", "resources", "limits"), None),
    "does not have runAsNonRoot: true": change(("container", "securityContext", "runAsNonRoot"), None),
    "does not have readOnlyRootFilesystem: true": change(
        ("container", "securityContext", "readOnlyRootFilesystem"), False
    ),
    "does not have allowPrivilegeEscalation: false": change(
        ("container", "securityContext", "allowPrivilegeEscalation"), True
    ),
    "does not drop all capabilities": change(("container", "securityContext", "capabilities", "drop"), ["NET_RAW"]),
    "its pod is not hardened": lambda m: m["spec"]["securityContext"].pop("seccompProfile"),
    "it has no activeDeadlineSeconds": change(("activeDeadlineSeconds",), None),
    "its retryStrategy needs both": change(("retryStrategy", "retryPolicy"), None),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_workflow_is_caught(rendered, said):
    manifest = copy.deepcopy(rendered)
    BROKEN[said](manifest)
    assert any(said in sentence for sentence in broken([manifest])), list(broken([manifest]))


CRON_BROKEN = {
    "its name is too long": lambda m: m["metadata"].update(name="x" * 53),
    "it has no timezone": lambda m: m["spec"].pop("timezone"),
    "it sets suspend": lambda m: m["spec"].update(suspend=False),
    "it has no schedule": lambda m: m["spec"].update(schedules=[]),
    "refers to the WorkflowTemplate 'nowhere'": lambda m: m["spec"]["workflowSpec"]["workflowTemplateRef"].update(
        name="nowhere"
    ),
    "it gives 'colour', which retrain does not have": lambda m: m["spec"]["workflowSpec"].update(
        arguments={"parameters": [{"name": "colour", "value": "red"}]}
    ),
}


@pytest.mark.parametrize("said", CRON_BROKEN)
def test_a_broken_schedule_is_caught(rendered, said):
    cron = build_cron(CRONS[0])
    CRON_BROKEN[said](cron)
    assert any(said in sentence for sentence in broken([rendered, cron]))


def test_a_submitted_workflow_gives_only_what_its_template_has(rendered):
    assert list(broken([rendered, workflow("retrain", "r-1", {"models": "als"})])) == []
    with pytest.raises(RuleError, match="Workflow r-1: it gives 'colour', which retrain does not have"):
        must_hold([rendered, workflow("retrain", "r-1", {"colour": "red"})])
