"""Every field that the runner would not honour is refused by name, before anything runs."""

from __future__ import annotations

import copy

import pytest

from workflows import here
from workflows.catalog import DESCRIPTIONS, build
from workflows.runner.support import UnsupportedError, check


def base(make):
    work = make.container("work", "true", outputs={"out": None}, retryStrategy={"limit": 1})
    wait = {"name": "wait", "suspend": {"duration": "1s"}}
    return make.manifest([work, wait], [make.task("one", "work"), make.task("two", "wait", depends="one.Succeeded")])


def put(holder, path, value):
    *before, last = path
    for key in before:
        holder = holder.setdefault(key, {}) if isinstance(holder, dict) else holder[key]
    if isinstance(holder, list) and last == len(holder):
        holder.append(value)
    else:
        holder[last] = value


T = ("spec", "templates", 0)
WAIT = ("spec", "templates", 1)
DAG = ("spec", "templates", 2)
TASK = (*DAG, "dag", "tasks", 0)

REFUSED = [
    (("spec", "hooks"), {}, "the workflow uses hooks"),
    (("spec", "workflowTemplateRef"), {}, "the workflow uses workflowTemplateRef"),
    (("spec", "volumes"), [], "the workflow uses volumes"),
    (("spec", "volumeClaimTemplates"), [], "the workflow uses volumeClaimTemplates"),
    (("spec", "templateDefaults"), {}, "the workflow uses templateDefaults"),
    (("spec", "retryStrategy"), {}, "the workflow uses retryStrategy"),
    (("spec", "suspend"), True, "the workflow uses suspend"),
    (("spec", "metrics"), {}, "the workflow uses metrics"),
    (("spec", "podSpecPatch"), "", "the workflow uses podSpecPatch"),
    (("spec", "podSpecPatch"), '{"nodeName": "x"}', "the workflow uses podSpecPatch"),
    (("spec", "podSpecPatch"), '{"containers": [{"name": "main", "securityContext": {}}]}', "uses podSpecPatch"),
    (("spec", "podSpecPatch"), '{"containers": [{"name": "wait", "image": "x"}]}', "uses podSpecPatch"),
    (("spec", "synchronization"), {"semaphores": []}, "synchronization of the workflow uses semaphores"),
    (("spec", "arguments"), {"artifacts": []}, "arguments of the workflow uses artifacts"),
    ((*T, "sidecars"), [], "template 'work' uses sidecars"),
    ((*T, "initContainers"), [], "template 'work' uses initContainers"),
    ((*T, "daemon"), True, "template 'work' uses daemon"),
    ((*T, "memoize"), {}, "template 'work' uses memoize"),
    ((*T, "metrics"), {}, "template 'work' uses metrics"),
    ((*T, "podSpecPatch"), "", "template 'work' uses podSpecPatch"),
    ((*T, "steps"), [], "template 'work' uses steps"),
    ((*T, "script"), {}, "template 'work' uses script"),
    ((*T, "http"), {}, "template 'work' uses http"),
    ((*T, "failFast"), True, "template 'work' uses failFast"),
    ((*T, "suspend"), {}, "template 'work' has container and suspend"),
    ((*T, "synchronization"), {"mutex": {"name": "x"}}, "synchronization of template 'work' uses mutex"),
    ((*T, "inputs"), {"artifacts": []}, "template 'work' uses artifacts"),
    (
        (*T, "inputs"),
        {"parameters": [{"name": "x", "valueFrom": {}}]},
        "parameter 'x' of template 'work' uses valueFrom",
    ),
    ((*T, "outputs", "parameters", 0, "globalName"), "x", "parameter 'out' of template 'work' uses globalName"),
    ((*T, "outputs", "parameters", 0, "valueFrom"), {"jsonPath": "x"}, "output 'out' of template 'work' uses jsonPath"),
    ((*T, "retryStrategy", "affinity"), {}, "retryStrategy of template 'work' uses affinity"),
    ((*T, "retryStrategy", "retryPolicy"), "OnTransientError", "retryPolicy of template 'work' is 'OnTransientError'"),
    (
        (*T, "retryStrategy", "backoff"),
        {"duration": "soon"},
        "duration of template 'work': 'soon' is no length of time",
    ),
    ((*T, "retryStrategy", "backoff"), {"jitter": 1}, "backoff of template 'work' uses jitter"),
    ((*T, "retryStrategy", "limit"), "{{n}}", "limit of retryStrategy of template 'work' is '{{n}}'"),
    ((*T, "retryStrategy", "backoff"), {"factor": "1.5"}, "factor of backoff of template 'work' is '1.5'"),
    ((*T, "parallelism"), 1, "template 'work' uses parallelism, which only a dag may"),
    ((*DAG, "parallelism"), "many", "parallelism of template 'main' is 'many'; it must be a whole number"),
    (("spec", "parallelism"), -1, "parallelism of the workflow is -1; it must be a whole number"),
    (("spec", "activeDeadlineSeconds"), "soon", "activeDeadlineSeconds of the workflow: 'soon' is no length of time"),
    ((*T, "activeDeadlineSeconds"), "soon", "activeDeadlineSeconds of template 'work'"),
    ((*T, "timeout"), "1x", "timeout of template 'work'"),
    ((*T, "container", "command"), [], "the container of template 'work' has no command"),
    ((*T, "container", "workingDir"), "/x", "the container of template 'work' uses workingDir"),
    ((*T, "container", "lifecycle"), {}, "the container of template 'work' uses lifecycle"),
    (
        (*T, "container", "env", 0),
        {"name": "X", "valueFrom": {"fieldRef": {}}},
        "env 'X' of template 'work' uses fieldRef",
    ),
    ((*T, "container", "envFrom"), [{"prefix": "X"}], "envFrom of template 'work' uses prefix"),
    ((*T, "container", "volumeMounts", 0, "subPath"), "x", "volumeMounts of template 'work' uses subPath"),
    ((*T, "volumes", 0), {"name": "outputs", "hostPath": {}}, "volume 'outputs' of template 'work' uses hostPath"),
    ((*T, "volumes", 0), {"name": "outputs", "configMap": {}}, "uses configMap"),
    ((*WAIT, "retryStrategy"), {}, "template 'wait' uses retryStrategy on a suspend"),
    ((*WAIT, "timeout"), "1s", "template 'wait' uses timeout on a suspend"),
    ((*DAG, "retryStrategy"), {}, "template 'main' uses retryStrategy on a dag"),
    ((*DAG, "timeout"), "1s", "template 'main' uses timeout on a dag"),
    ((*DAG, "dag", "target"), "one", "the dag of template 'main' uses target"),
    ((*TASK, "templateRef"), {}, "task 'one' of template 'main' uses templateRef"),
    ((*TASK, "inline"), {}, "task 'one' of template 'main' uses inline"),
    ((*TASK, "continueOn"), {}, "task 'one' of template 'main' uses continueOn"),
    ((*TASK, "hooks"), {}, "task 'one' of template 'main' uses hooks"),
    ((*TASK, "onExit"), "x", "task 'one' of template 'main' uses onExit"),
    ((*TASK, "arguments"), {"artifacts": []}, "task 'one' of template 'main' uses artifacts"),
    ((*TASK, "withSequence"), {"of": 1}, "withSequence of task 'one' of template 'main' uses of"),
]


def test_what_is_refused_begins_from_something_that_is_not(make):
    check(base(make))


@pytest.mark.parametrize(("path", "value", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_an_unsupported_field_is_named_with_its_template(make, runner, path, value, said):
    workflow = copy.deepcopy(base(make))
    put(workflow, path, value)
    with pytest.raises(UnsupportedError) as caught:
        here.begin(runner.runs, workflow, {}, engine="local")
    assert said in str(caught.value)
    assert not runner.runs.exists()


def test_files_of_a_cluster_that_a_step_can_do_without_are_passed_over(make):
    workflow = base(make)
    for optional, refused in ((True, False), (False, True)):
        volume = {"name": "ca", "configMap": {"name": "ca", "optional": optional}}
        put(workflow, (*T, "volumes"), [volume])
        if refused:
            with pytest.raises(UnsupportedError, match="volume 'ca' of template 'work' uses configMap"):
                check(workflow)
        else:
            check(workflow)


def test_two_kinds_of_items_are_refused(make):
    workflow = base(make)
    workflow["spec"]["templates"][2]["dag"]["tasks"][0] |= {"withItems": [1], "withParam": "[1]"}
    with pytest.raises(UnsupportedError, match="more than one of withItems, withParam, withSequence"):
        check(workflow)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_our_own_workflows_use_only_what_is_supported(name):
    check(build(name))
