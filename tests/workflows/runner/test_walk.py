"""The walk, feature by feature, on workflows whose end is known."""

from __future__ import annotations

import itertools
import json
import time

import pytest


def order(ran, *paths):
    return [ran.node(path).started for path in paths]


def test_a_chain_runs_in_order_and_hands_outputs_on(runner, make):
    first = make.container("first", "printf 'two words\\n' > $OUTPUTS/said", outputs={"said": None})
    second = make.container(
        "second", 'printf %s "{{inputs.parameters.text}}!" > $OUTPUTS/heard', inputs=["text"], outputs={"heard": None}
    )
    text = {"text": "{{tasks.first.outputs.parameters.said}}"}
    ran = runner(
        make.manifest(
            [first, second], [make.task("second", arguments=text, depends="first.Succeeded"), make.task("first")]
        )
    )
    assert ran.phase == "Succeeded"
    assert ran.node("second").outputs == {"heard": "two words!"}
    assert order(ran, "first", "second") == sorted(order(ran, "first", "second"))


def test_tasks_that_do_not_wait_for_one_another_run_side_by_side(runner, make):
    # Each waits for the other's file, so they end only if both run at the same time.
    folder = runner.folder
    meet = f"touch {folder}/$1 && for i in $(seq 200); do [ -e {folder}/$2 ] && exit 0; sleep 0.05; done; exit 1"
    left = make.container("left", f"set a b; {meet}")
    right = make.container("right", f"set b a; {meet}")
    assert runner(make.manifest([left, right], [make.task("left"), make.task("right")])).phase == "Succeeded"


@pytest.mark.parametrize(("field", "level"), [("workflow", {"parallelism": 1}), ("dag", {})])
def test_parallelism_of_one_lets_nothing_overlap(runner, make, field, level):
    script = f"mkdir {runner.folder}/busy && sleep 0.2 && rmdir {runner.folder}/busy"
    workflow = make.manifest([make.container("one", script)], [make.task("many", "one", withItems=[1, 2, 3])], **level)
    if field == "dag":
        workflow["spec"]["templates"][-1]["parallelism"] = 1
    assert runner(workflow, limit=8).phase == "Succeeded"


def test_without_that_limit_the_same_workflow_overlaps(runner, make):
    script = f"mkdir {runner.folder}/busy && sleep 0.2 && rmdir {runner.folder}/busy"
    workflow = make.manifest([make.container("one", script)], [make.task("many", "one", withItems=[1, 2, 3])])
    assert runner(workflow, limit=8).phase == "Failed"


def test_a_task_is_omitted_when_what_it_depends_on_failed(runner, make):
    templates = [make.container("bad", "exit 3"), make.container("after", "true"), make.container("rescue", "true")]
    ran = runner(
        make.manifest(
            templates,
            [
                make.task("bad"),
                make.task("after", depends="bad.Succeeded"),
                make.task("rescue", depends="bad.Failed || bad.Errored"),
            ],
        )
    )
    assert ran.phases() == {"bad": "Failed", "after": "Omitted", "rescue": "Succeeded"}
    assert ran.phase == "Failed"  # "after" inherits the failure before it


def test_a_failure_that_someone_took_care_of_is_no_failure_of_the_whole(runner, make):
    templates = [make.container("bad", "exit 3"), make.container("rescue", "true")]
    ran = runner(make.manifest(templates, [make.task("bad"), make.task("rescue", depends="bad.Failed")]))
    assert ran.phase == "Succeeded"


def test_a_false_when_skips_and_the_whole_succeeds(runner, make):
    gate = make.container("gate", "printf false > $OUTPUTS/promote", outputs={"promote": None})
    publish = make.container("publish", "true")
    smoke = make.container("smoke", "true")
    condition = "{{tasks.gate.outputs.parameters.promote}} == true"
    ran = runner(
        make.manifest(
            [gate, publish, smoke],
            [
                make.task("gate"),
                make.task("publish", depends="gate.Succeeded", when=condition),
                make.task("smoke", depends="publish.Succeeded"),
            ],
        )
    )
    assert ran.phases() == {"gate": "Succeeded", "publish": "Skipped", "smoke": "Omitted"}
    assert ran.phase == "Succeeded"


def test_a_bare_name_in_depends_also_runs_after_a_skipped_task(runner, make):
    templates = [make.container("one", "true"), make.container("two", "true")]
    ran = runner(make.manifest(templates, [make.task("one", when="no == yes"), make.task("two", depends="one")]))
    assert ran.phases() == {"one": "Skipped", "two": "Succeeded"}


def test_dependencies_mean_the_same_as_bare_names(runner, make):
    templates = [make.container("one", "true"), make.container("two", "true")]
    ran = runner(make.manifest(templates, [make.task("one"), make.task("two", dependencies=["one"])]))
    assert ran.phase == "Succeeded"


def test_a_fan_out_over_items_collects_the_outputs_in_order(runner, make):
    square = make.container(
        "square",
        "i={{inputs.parameters.i}}; sleep 0.$((3 - i)); printf %s $((i * i)) > $OUTPUTS/squared",
        inputs=["i"],
        outputs={"squared": None},
    )
    total = make.container(
        "total", "printf '%s' '{{inputs.parameters.all}}' > $OUTPUTS/all", inputs=["all"], outputs={"all": None}
    )
    ran = runner(
        make.manifest(
            [square, total],
            [
                make.task("squares", "square", arguments={"i": "{{item}}"}, withItems=[1, 2, 3]),
                make.task(
                    "total",
                    arguments={"all": "{{tasks.squares.outputs.parameters.squared}}"},
                    depends="squares.Succeeded",
                ),
            ],
        )
    )
    assert {"squares(0:1)", "squares(1:2)", "squares(2:3)"} <= set(ran.phases())
    assert json.loads(ran.node("total").outputs["all"]) == ["1", "4", "9"]


def test_with_param_fans_out_over_maps_of_an_earlier_output(runner, make):
    plan = make.container(
        "plan",
        """printf '[{"shard": "0", "of": "2"}, {"shard": "1", "of": "2"}]' > $OUTPUTS/shards""",
        outputs={"shards": None},
    )
    work = make.container(
        "work", "printf '{{inputs.parameters.shard}}/{{inputs.parameters.of}}' > $OUTPUTS/part", inputs=["shard", "of"],
        outputs={"part": None},
    )  # fmt: skip
    given = {"shard": "{{item.shard}}", "of": "{{item.of}}"}
    ran = runner(
        make.manifest(
            [plan, work],
            [
                make.task("plan"),
                make.task(
                    "work",
                    arguments=given,
                    withParam="{{tasks.plan.outputs.parameters.shards}}",
                    depends="plan.Succeeded",
                ),
            ],
        )
    )
    assert ran.phase == "Succeeded"
    assert ran.node("work(1:of:2,shard:1)").outputs == {"part": "1/2"}


def test_an_empty_list_skips_the_fan_out(runner, make):
    work = make.container("work", "true")
    after = make.container("after", "true")
    ran = runner(
        make.manifest([work, after], [make.task("work", withParam="[]"), make.task("after", depends="work.Succeeded")])
    )
    assert ran.phases() == {"work": "Skipped", "after": "Omitted"}
    assert ran.phase == "Succeeded"


def test_with_sequence_counts_in_the_format_that_is_asked_for(runner, make):
    work = make.container("work", "true")
    sequence = {"start": "9", "end": "10", "format": "part-%02d"}
    ran = runner(make.manifest([work], [make.task("work", withSequence=sequence)]))
    assert set(ran.phases()) == {"work", "work(0:part-09)", "work(1:part-10)"}


def test_one_failed_item_fails_the_fan_out_but_not_its_siblings(runner, make):
    work = make.container("work", "exit {{inputs.parameters.code}}", inputs=["code"])
    ran = runner(make.manifest([work], [make.task("work", arguments={"code": "{{item}}"}, withItems=[0, 1])]))
    assert ran.phases() == {"work": "Failed", "work(0:0)": "Succeeded", "work(1:1)": "Failed"}


@pytest.mark.parametrize(("result", "codes", "runs"), [
    ("AnySucceeded", [0, 1], True), ("AnySucceeded", [1, 1], False),
    ("AllFailed", [1, 1], True), ("AllFailed", [0, 1], False),
])  # fmt: skip
def test_results_of_fan_outs_ask_every_item(runner, make, result, codes, runs):
    work = make.container("work", "exit {{inputs.parameters.code}}", inputs=["code"])
    after = make.container("after", "true")
    ran = runner(
        make.manifest(
            [work, after],
            [
                make.task("work", arguments={"code": "{{item}}"}, withItems=codes),
                make.task("after", depends=f"work.{result}"),
            ],
        )
    )
    assert ran.phases()["after"] == ("Succeeded" if runs else "Omitted")


def test_a_when_over_items_skips_only_those_for_which_it_is_false(runner, make):
    work = make.container("work", "true")
    ran = runner(make.manifest([work], [make.task("work", withItems=["a", "b"], when="{{item}} == a")]))
    assert ran.phases() == {"work": "Succeeded", "work(0:a)": "Succeeded", "work(1:b)": "Skipped"}


def test_items_that_were_all_skipped_count_as_succeeded_as_the_controller_does(runner, make):
    templates = [make.container("work", "true"), make.container("after", "true")]
    tasks = [make.task("work", withItems=["a"], when="1 == 2"), make.task("after", depends="work.Succeeded")]
    assert runner(make.manifest(templates, tasks)).phases()["after"] == "Succeeded"


def test_a_false_when_skips_a_fan_out_over_an_output_as_a_whole(runner, make):
    plan = make.container("plan", "printf '[1]' > $OUTPUTS/items", outputs={"items": None})
    tasks = [
        make.task("plan"),
        make.task("work", withParam="{{tasks.plan.outputs.parameters.items}}", when="a == b", depends="plan.Succeeded"),
        make.task("after", depends="work.Succeeded"),
    ]
    ran = runner(make.manifest([plan, make.container("work", "true"), make.container("after", "true")], tasks))
    assert ran.phases() == {"plan": "Succeeded", "work": "Skipped", "after": "Omitted"}


def test_a_nested_dag_has_inputs_and_outputs_of_its_own(runner, make):
    double = make.container(
        "double", "printf %s $((2 * {{inputs.parameters.n}})) > $OUTPUTS/out", inputs=["n"], outputs={"out": None}
    )
    twice = {
        "name": "twice",
        "inputs": {"parameters": [{"name": "n"}]},
        "outputs": {
            "parameters": [{"name": "out", "valueFrom": {"parameter": "{{tasks.second.outputs.parameters.out}}"}}]
        },
        "dag": {
            "tasks": [
                make.task("first", "double", arguments={"n": "{{inputs.parameters.n}}"}),
                make.task(
                    "second",
                    "double",
                    arguments={"n": "{{tasks.first.outputs.parameters.out}}"},
                    depends="first.Succeeded",
                ),
            ]
        },
    }
    last = [
        make.task("inner", "twice", arguments={"n": "5"}),
        make.task(
            "last", "double", arguments={"n": "{{tasks.inner.outputs.parameters.out}}"}, depends="inner.Succeeded"
        ),
    ]
    ran = runner(make.manifest([double, twice], last))
    assert ran.node("inner.second").outputs == {"out": "20"}
    assert ran.node("last").outputs == {"out": "40"}


def test_parameters_come_from_the_workflow_its_defaults_and_the_command_line(runner, make):
    say = make.container(
        "say",
        "printf '%s' '{{workflow.parameters.a}}-{{workflow.parameters.b}}' > $OUTPUTS/said",
        outputs={"said": None},
    )
    arguments = {"parameters": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]}
    ran = runner(make.manifest([say], arguments=arguments), {"b": "given"})
    assert ran.node("say").outputs == {"said": "1-given"}


def test_an_input_has_its_default_and_only_allowed_values(runner, make):
    say = make.container("say", "printf %s {{inputs.parameters.size}} > $OUTPUTS/said", outputs={"said": None})
    say["inputs"] = {"parameters": [{"name": "size", "default": "small", "enum": ["small", "large"]}]}
    assert runner(make.manifest([say], [make.task("say")])).node("say").outputs == {"said": "small"}
    ran = runner(make.manifest([say], [make.task("say", arguments={"size": "huge"})]))
    assert ran.phases() == {"say": "Error"}
    assert ran.node("say").message == "'size' is 'huge'; it may be small, large"


def test_the_time_of_a_schedule_reaches_a_parameter_that_names_it(runner, make):
    say = make.container("say", "printf %s {{workflow.parameters.source}} > $OUTPUTS/said", outputs={"said": None})
    arguments = {"parameters": [{"name": "source", "value": "s3://shop/{{workflow.scheduledTime}}.csv"}]}
    ran = runner(make.manifest([say], arguments=arguments), scheduled="2026-11-01T02:15:00Z")
    assert ran.node("say").outputs == {"said": "s3://shop/2026-11-01T02:15:00Z.csv"}


def test_a_missing_output_file_is_an_error_unless_it_has_a_default(runner, make):
    lazy = make.container("lazy", "true", outputs={"kept": "fallback"})
    assert runner(make.manifest([lazy])).node("lazy").outputs == {"kept": "fallback"}
    strict = make.container("strict", "true", outputs={"kept": None})
    ran = runner(make.manifest([strict]))
    assert ran.phase == "Error"
    assert ran.node("strict").message == "left no output 'kept' at /outputs/kept"


def test_values_reach_a_step_as_they_are_whatever_characters_they_hold(runner, make):
    odd = """a "quote", a 'single', $HOME `date` \\n {{braces}} ünï\nsecond line"""
    echo = make.container("echo", 'printf "%s" "$1" > $OUTPUTS/out', inputs=["text"], outputs={"out": None})
    echo["container"]["args"] += ["sh", "{{inputs.parameters.text}}"]
    ran = runner(make.manifest([echo], [make.task("echo", arguments={"text": odd.replace("{{braces}}", "{braces}")})]))
    assert ran.node("echo").outputs == {"out": odd.replace("{{braces}}", "{braces}")}


def test_the_exit_handler_learns_of_a_failure(runner, make):
    bad = make.container("bad", "exit 9")
    tell = make.container(
        "tell",
        'printf "%s" "$1" > $OUTPUTS/status; printf "%s" "$2" > $OUTPUTS/failures',
        outputs={"status": None, "failures": None},
    )
    tell["container"]["args"] += ["sh", "{{workflow.status}}", "{{workflow.failures}}"]
    ran = runner(make.manifest([bad, tell], [make.task("bad")], onExit="tell"))
    assert ran.phase == "Failed"
    told = ran.node("onExit").outputs
    assert told["status"] == "Failed"
    [failure] = json.loads(json.loads(told["failures"]))
    assert (failure["displayName"], failure["phase"], failure["message"]) == ("bad", "Failed", "exit code 9")


def test_the_exit_handler_of_a_success_sees_no_failures(runner, make):
    tell = make.container("tell", 'printf "%s" "$1" > $OUTPUTS/failures', outputs={"failures": None})
    tell["container"]["args"] += ["sh", "{{workflow.failures}}"]
    ran = runner(make.manifest([make.container("good", "true"), tell], [make.task("good")], onExit="tell"))
    assert json.loads(json.loads(ran.node("onExit").outputs["failures"])) is None


def test_a_failed_exit_handler_fails_the_workflow(runner, make):
    ran = runner(
        make.manifest(
            [make.container("good", "true"), make.container("tell", "exit 1")], [make.task("good")], onExit="tell"
        )
    )
    assert ran.phase == "Failed"
    assert ran.message == "the exit handler failed: exit code 1"


def test_paths_below_a_mount_are_those_of_this_machine_and_no_others(runner, make):
    show = make.container("show", 'printf "%s\\n" "$@" > $OUTPUTS/all', outputs={"all": None})
    show["container"]["args"] += ["sh", "/outputs/x", "--out=/scratch", "/outputsx", "/etc/x", "text /outputs"]
    ran = runner(make.manifest([show]))
    place = ran.run.node_folder("show") / "0"
    assert ran.node("show").outputs["all"].splitlines() == [
        f"{place}/outputs/x", f"--out={place}/scratch", "/outputsx", "/etc/x", "text /outputs",
    ]  # fmt: skip


def test_seconds_and_peak_memory_are_those_of_the_step(runner, make):
    # 64 MiB are touched; the runner itself, with Hera loaded, is larger than a step that does nothing.
    hog = make.container("hog", "exec python3 -c 'b = bytearray(64 << 20); import time; time.sleep(0.3)'")
    idle = make.container("idle", "true")
    ran = runner(make.manifest([hog, idle], [make.task("hog"), make.task("idle")]))
    assert 64 << 20 <= ran.node("hog").memory < 110 << 20
    assert 0 < ran.node("idle").memory < 24 << 20
    assert 0.3 <= ran.node("hog").seconds < 5


def test_python_is_this_interpreter(runner, make):
    import sys

    say = make.container("say", "", outputs={"where": None})
    say["container"]["command"] = ["python", "-c"]
    say["container"]["args"] = ["import os, sys; open(os.environ['OUTPUTS'] + '/where', 'w').write(sys.executable)"]
    assert runner(make.manifest([say])).node("say").outputs["where"] == sys.executable


def test_a_command_that_is_not_there_fails_with_its_name_in_the_log(runner, make):
    lost = make.container("lost", "")
    lost["container"]["command"] = ["no-such-program"]
    ran = runner(make.manifest([lost]))
    assert ran.phase == "Failed"
    assert "cannot run no-such-program: No such file or directory" in ran.log("lost")


@pytest.mark.parametrize(("depends", "when", "said"), [
    ("one.Succeeded", "{{tasks.one.outputs.parameters.x}} == 1", "outputs.parameters.x}} stands for nothing"),
    ("one.Succeeded", "a-b == 1", "put 'a-b' in quotes"),
    ("one.Succeeded", "1 ==", "ends, or has a sign, where a value is needed"),
])  # fmt: skip
def test_a_condition_that_cannot_be_read_is_an_error_of_that_task(runner, make, depends, when, said):
    templates = [make.container("one", "true"), make.container("two", "true")]
    ran = runner(make.manifest(templates, [make.task("one"), make.task("two", depends=depends, when=when)]))
    assert ran.phases() == {"one": "Succeeded", "two": "Error"}
    assert said in ran.node("two").message
    assert ran.phase == "Error"


def test_a_with_param_that_is_no_list_is_an_error(runner, make):
    ran = runner(make.manifest([make.container("one", "true")], [make.task("one", withParam="{not json")]))
    assert ran.node("one").message == "withParam of 'one' is '{not json', which is no JSON list"


def test_every_combination_of_two_results_decides_as_written(runner, make):
    for left, right in itertools.product([0, 1], repeat=2):
        templates = [
            make.container("l", f"exit {left}"),
            make.container("r", f"exit {right}"),
            make.container("t", "true"),
        ]
        ran = runner(
            make.manifest(
                templates,
                [
                    make.task("l"),
                    make.task("r"),
                    make.task("t", depends="(l.Succeeded && !r.Succeeded) || r.Failed && l.Failed"),
                ],
            )
        )
        assert (ran.phases()["t"] == "Succeeded") == (right == 1)


def test_a_workflow_deadline_ends_what_runs_and_still_leaves_by_the_exit_handler(runner, make):
    began = time.monotonic()
    slow = make.container("slow", "exec sleep 60")
    tell = make.container("tell", "true")
    ran = runner(make.manifest([slow, tell], [make.task("slow")], onExit="tell", activeDeadlineSeconds=1))
    assert time.monotonic() - began < 15
    assert ran.phase == "Failed"
    assert ran.message == "the workflow was not done within 1 s"
    assert ran.phases() == {"slow": "Failed", "onExit": "Succeeded"}
    assert not ran.interrupted
