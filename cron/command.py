"""What `deploy.py` does once its flags are read: render, validate, apply, suspend, backfill, or fire here."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence, Set
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from cron import backfill, local
from cron.expression import ScheduleError
from cron.schedules import Cron, build, chosen, find
from workflows import catalog, render, results, rules, settings
from workflows.argo import connect
from workflows.catalog import Manifest
from workflows.cluster import start
from workflows.cluster.contract import Cluster, ClusterError
from workflows.cluster.needs import ARGO, SCHEDULES, STARTING, TEMPLATES, Needs, Right


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault)
    """What was asked for cannot be done; the message is one sentence for the person who asked."""


def run(flags: argparse.Namespace) -> int:
    try:
        return dispatch(flags)
    except (ScheduleError, ClusterError, catalog.UnknownNameError, rules.RuleError, settings.SettingsError) as error:
        raise Refused(str(error)) from error


def dispatch(flags: argparse.Namespace) -> int:
    if flags.suspend is not None or flags.resume is not None:
        return pause(flags)
    if flags.command != "backfill" and (flags.first or flags.last or flags.dry_run):
        raise Refused("--from, --to and --dry-run are for backfill; to see what would be applied, use -o yaml")
    crons = chosen(pairs("--schedule", flags.schedule), flags.timezone, pairs("-p", flags.parameter))
    manifests = objects(crons, flags.argo)
    if flags.command == "backfill":
        return past(flags, crons)
    if flags.output:
        sys.stdout.write(render.to_yaml(manifests))
        return 0
    if flags.on == "local":
        return local.fire(crons, Console(stderr=True))
    return apply(connect(flags.namespace), manifests, crons)


def apply(cluster: Cluster, manifests: Sequence[Manifest], crons: Sequence[Cron]) -> int:
    """Templates first, for the schedules refer to them; then says when each will fire, and what to type next."""
    cluster.require(Needs.of(manifests, [*TEMPLATES, *SCHEDULES]))
    console = Console(stderr=True)
    for manifest in manifests:
        cluster.apply(manifest)
        console.print(f"{manifest['kind']} {manifest['metadata']['name']} applied", markup=False, highlight=False)
    suspended = cluster.suspended([cron.name for cron in crons])
    console.print(timetable(crons, suspended, datetime.now(UTC)))
    where = f"-n {cluster.namespace}"
    lines = [
        (f"argo cron list {where}" if shutil.which("argo") else f"kubectl get cronworkflow {where}", "see them"),
        (f"python workflows/submit.py --on argo {where}", "retrain now, without waiting for the night"),
        (f"python cron/deploy.py {where} --suspend {crons[0].name}", "no more runs, until --resume"),
    ]
    results.commands(console, lines)
    return 0


def timetable(crons: Sequence[Cron], suspended: Set[str], now: datetime) -> Table:
    """When each schedule fires next, as UTC; a suspended one does not."""
    table = Table(box=None, pad_edge=False)
    for column in ("schedule", "fires", "timezone", "next (UTC)"):
        table.add_column(column, overflow="fold")
    for cron in crons:
        due = "suspended" if cron.name in suspended else f"{cron.times().next(now):%Y-%m-%d %H:%M}"
        table.add_row(cron.name, cron.schedule, cron.timezone, due)
    return table


def objects(crons: Sequence[Cron], version: str = "4.1") -> list[Manifest]:
    """Every template, then every schedule, checked together and written for one version of Argo."""
    templates = [catalog.build(name) for name in catalog.DESCRIPTIONS]
    by_name = {template["metadata"]["name"]: template for template in templates}
    for cron in crons:
        catalog.check_parameters(by_name[cron.workflow], dict(cron.parameters))
    manifests = [*templates, *(build(cron) for cron in crons)]
    rules.must_hold(manifests)
    return [render.for_version(manifest, version) for manifest in manifests]


def pause(flags: argparse.Namespace) -> int:
    """Suspends or resumes on the cluster; a patch, for applying the whole object would lose its status."""
    if flags.on == "local":
        raise Refused("--suspend and --resume are for a cluster; on this machine, stop deploy.py with Ctrl-C")
    if flags.suspend is not None and flags.resume is not None:
        raise Refused("give --suspend or --resume, not both")
    name = find(flags.resume if flags.suspend is None else flags.suspend).name
    cluster = connect(flags.namespace)
    cluster.require(Needs.of([], [Right("patch", "cronworkflows", ARGO)]))
    cluster.pause(name, suspended=flags.suspend is not None)
    Console(stderr=True).print(f"{name} {'resumed' if flags.suspend is None else 'suspended'}")
    return 0


def past(flags: argparse.Namespace, crons: Sequence[Cron]) -> int:
    if not (flags.name and flags.first and flags.last):
        raise Refused("backfill needs a schedule and its dates: backfill NAME --from 2026-11-01 --to 2026-11-07")
    name = find(flags.name).name
    cron = next(one for one in crons if one.name == name)
    moments = backfill.moments(cron, flags.first, flags.last)
    console = Console(stderr=True)
    if flags.dry_run:
        for moment in moments:
            console.print(f"{cron.workflow} as of {backfill.stamp(moment)}", markup=False, highlight=False)
        return 0
    if flags.on == "local":
        return backfill.here(cron, moments, console)
    cluster = connect(flags.namespace)
    template = render.for_version(catalog.build(cron.workflow), flags.argo)
    cluster.require(Needs.of([template], [*TEMPLATES, *STARTING]))
    start.apply(cluster, template)
    return backfill.on_cluster(cluster, cron, moments, console)


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise Refused(f"{flag} {text}: write NAME=VALUE")
        found[name] = value
    return found
