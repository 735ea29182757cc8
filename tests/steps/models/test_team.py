from __future__ import annotations

import json

import pytest

from steps.models import families
from steps.models.team import Team
from steps.runtime.errors import UsageError


def told(cluster: dict[str, list[str]], kind: str, index: int) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_workers_are_counted_as_they_are_named() -> None:
    team = Team.from_environment(told({"worker": ["one:1", "two:2"]}, "worker", 1))
    assert team == Team(("one:1", "two:2"), 1)
    assert not team.chief
    first = Team.from_environment(told({"worker": ["one:1", "two:2"]}, "worker", 0))
    assert first is not None
    assert first.chief


def test_a_chief_comes_before_the_workers() -> None:
    cluster = {"worker": ["one:1"], "chief": ["zero:1"]}
    assert Team.from_environment(told(cluster, "chief", 0)) == Team(("zero:1", "one:1"), 0)
    assert Team.from_environment(told(cluster, "worker", 0)) == Team(("zero:1", "one:1"), 1)


@pytest.mark.parametrize("environ", [{}, {"TF_CONFIG": " "}, told({"worker": ["one:1"]}, "worker", 0)])
def test_one_process_is_no_team(environ: dict[str, str]) -> None:
    assert Team.from_environment(environ) is None


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"TF_CONFIG": "workers"}, "is 'workers': write"),
        ({"TF_CONFIG": "[]"}, "write"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["one:1"]}}'}, "write"),
        (told({"worker": ["one:1", "two:2"]}, "worker", 2), "no such task"),
        (told({"worker": ["one:1", "two:2"]}, "chief", 0), "no such task"),
        (told({"worker": ["one:1", "two:2"], "ps": ["three:3"]}, "ps", 0), "ps: only chief and worker"),
        (told({"worker": ["one:1", "two"]}, "worker", 0), "'two': each task is a HOST:PORT"),
        (told({"worker": ["one:1", "two:99999"]}, "worker", 0), "HOST:PORT"),
        (told({"worker": ["one:1", "one:1"]}, "worker", 0), "twice"),
    ],
)
def test_what_is_no_team_is_refused_in_a_sentence(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Team.from_environment(environ)


def test_the_families_that_can_train_together_say_so() -> None:
    assert tuple(name for name in families.FAMILIES if families.family(name).trains_together) == families.TOGETHER
