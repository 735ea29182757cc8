"""A schedule that fires by itself, holds back while a run is not over, stays suspended, and is made up for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from harness import ALONE, World, readme, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SHOPS = tuple(word if word == "-p" else f"retrain.{word}" for word in ALONE)
EVERY_MINUTE = ("--schedule", "retrain=* * * * *", *SHOPS)


@pytest.fixture(scope="module")
def scheduled(world: World) -> World:
    """The schedules, of which the retrain fires every minute and waits for an approval before it publishes."""
    world.apply("kind")
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    world.deploy(*EVERY_MINUTE, "-p", "retrain.approve=manual")
    return world


@pytest.fixture(scope="module")
def fired(scheduled: World) -> str:
    """The first run that the schedule began."""
    [name] = until("a run of the schedule", lambda: runs(scheduled), within=100)
    return name


def runs(world: World) -> list[str]:
    label = "workflows.argoproj.io/cron-workflow=retrain-nightly"
    return world.kubectl("get", "workflows", "-l", label, "-o", "jsonpath={.items[*].metadata.name}").split()


def cron(world: World) -> dict:
    return world.get("cronworkflow", "retrain-nightly")


def test_it_fires_by_itself_and_is_shown(scheduled: World, fired: str) -> None:
    listed = scheduled.argo("cron", "list")
    assert "retrain-nightly" in listed
    assert "* * * * *" in listed
    assert "cleanup-weekly" in listed
    assert listed.splitlines()[0].split() == readme("argo cron list")[0].split()
    # The run is there a moment before the schedule's own status names it.
    until("the run in the schedule's status", lambda: fired in scheduled.argo("cron", "get", "retrain-nightly"))
    shown = scheduled.argo("cron", "get", "retrain-nightly")
    assert "Forbid" in shown
    for row in readme("argo cron get"):
        assert row.startswith(" ") or f"{row.partition(':')[0]}:" in shown
    scheduled.reached(fired, "data-publish", "Succeeded")
    assert "purchases of" in scheduled.argo("logs", "@latest")


def test_no_second_run_begins_before_the_first_is_over(scheduled: World, fired: str) -> None:
    scheduled.reached(fired, "approval")
    noticed = time.time()
    due = (noticed // 60 + 1) * 60
    until("the next time that it would fire", lambda: time.time() > due + 15, within=90)
    assert runs(scheduled) == [fired]
    assert scheduled.phase(fired) == "Running"


def test_a_suspended_schedule_stays_so_when_it_is_deployed_again(scheduled: World, fired: str) -> None:
    scheduled.deploy("--suspend", "retrain-nightly")
    before = cron(scheduled)
    assert before["spec"]["suspend"] is True
    scheduled.deploy(*EVERY_MINUTE)
    after = cron(scheduled)
    assert after["spec"]["suspend"] is True
    assert after["status"]["lastScheduledTime"] == before["status"]["lastScheduledTime"]
    assert "true" in next(row for row in scheduled.argo("cron", "list").splitlines() if row.startswith("retrain-"))


def test_its_run_publishes_once_it_is_approved(scheduled: World, fired: str) -> None:
    scheduled.approve(fired, "yes")
    nodes = scheduled.ended(fired)
    assert nodes["model-publish"].outputs["version"] == "1"
    assert runs(scheduled) == [fired], "nothing begins while it is suspended"


def test_three_days_are_made_up_for_in_order(scheduled: World) -> None:
    """The purchases are the same for each day, so each run ends well before it trains."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=2)
    words = ("backfill", "retrain", "--from", str(first), "--to", str(last))
    done = scheduled.deploy(*words, *SHOPS)
    told = [line for line in done.stderr.splitlines() if "retrain-backfill-" in line]
    assert [line.split()[3] for line in told] == [
        f"{first + timedelta(days=number)}T02:15:00Z:" for number in range(3)
    ], done.stderr
    assert all(line.endswith(" succeeded") for line in told), done.stderr
    name = told[0].split()[0]
    stamp = scheduled.workflow(name)["metadata"]["annotations"]["workflows.argoproj.io/scheduled-time"]
    assert stamp == f"{first}T02:15:00Z"
    assert scheduled.live().version == 1


def test_a_schedule_is_run_once_more_by_hand(scheduled: World) -> None:
    """With what the schedule would give it; it counts as one of its runs."""
    name = scheduled.argo("submit", "--from", "cronwf/cleanup-weekly", "-p", "dry-run=true", "-o", "name").strip()
    assert scheduled.ended(name)["cleanup"].outputs["removed"] == "0"
    assert scheduled.workflow(name)["metadata"]["ownerReferences"][0]["kind"] == "CronWorkflow"
