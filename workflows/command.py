"""What `submit.py` does once its flags are read: render, list, or run somewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from workflows import catalog, here, rules, settings
from workflows.catalog import Manifest
from workflows.cluster.contract import ClusterError
from workflows.runner.record import Request, Run, RunError
from workflows.runner.session import Engine
from workflows.runner.support import UnsupportedError
from workflows.runner.walk import InputError

REFUSALS = (
    catalog.UnknownNameError, settings.SettingsError, rules.RuleError, RunError, UnsupportedError, InputError,
    ClusterError,
)  # fmt: skip

ALL = "all"


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault)
    """What was asked for cannot be done; the message is one sentence for the person who asked."""


def run(flags: argparse.Namespace, parameters: dict[str, str]) -> int:
    try:
        return dispatch(flags, parameters)
    except REFUSALS as error:
        raise Refused(str(error)) from error


def dispatch(flags: argparse.Namespace, parameters: dict[str, str]) -> int:
    if flags.list:
        return show_list()
    if flags.on != "docker" and (flags.engine or flags.network or flags.volume):
        raise Refused("--engine, --network and --volume are for a run that begins with --on docker")
    if flags.on != "argo" and (flags.detach or flags.follow is not None):
        raise Refused("--detach and --follow are for --on argo")
    if flags.follow is not None:
        return follow(flags, parameters)
    if flags.resume is not None:
        return resume(flags, parameters)
    if flags.output:
        return write(flags, parameters)
    if flags.workflow == ALL:
        raise Refused("all is for -o yaml; one workflow is started at a time")
    manifest = catalog.build(flags.workflow or "retrain")
    catalog.check_parameters(manifest, parameters)
    if flags.on == "argo":
        from workflows.argo import submit

        watch = flags.watch is not False and not flags.detach
        return submit(manifest, parameters, namespace=flags.namespace, follow=watch, scheduled=flags.scheduled_time)
    return run_here(flags, manifest, parameters)


def follow(flags: argparse.Namespace, parameters: dict[str, str]) -> int:
    if flags.workflow or parameters or flags.detach:
        raise Refused("--follow takes only the name of what runs already, and -n")
    from workflows.argo import follow as follow_argo

    return follow_argo(flags.follow, namespace=flags.namespace)


def run_here(flags: argparse.Namespace, manifest: Manifest, parameters: dict[str, str]) -> int:
    if parameters.get(settings.DISTRIBUTED) == "true":
        raise Refused(
            f"{settings.DISTRIBUTED}=true is for a cluster: add --on argo, or leave it out to train by one worker"
        )
    runs = here.runs_folder(flags.runs)
    if flags.on == "docker":
        from workflows.docker import DockerEngine, check_files, options

        chosen = options(flags.engine or "", flags.network, flags.volume)
        check_files(parameters, chosen)
        DockerEngine.check_images(chosen, manifest)
        opened = here.begin(runs, manifest, parameters, engine="docker", options=chosen, scheduled=flags.scheduled_time)
    else:
        opened = here.begin(runs, manifest, parameters, engine="local", scheduled=flags.scheduled_time)
    return go(flags, opened)


def resume(flags: argparse.Namespace, parameters: dict[str, str]) -> int:
    if flags.workflow or flags.on:
        raise Refused("--resume takes neither a workflow nor --on: a run goes on as it was begun")

    def check(request: Request) -> None:
        catalog.check_parameters(request.manifest, parameters)
        settings.same_place(request.settings)

    return go(flags, Run.open(here.runs_folder(flags.runs), flags.resume, parameters=parameters, check=check))


def go(flags: argparse.Namespace, opened: Run) -> int:
    request = opened.request
    if request.engine == "docker":
        from workflows.docker import DockerEngine

        engine: Engine = DockerEngine(opened)
    else:
        from workflows.local import LocalEngine

        engine = LocalEngine(Path(request.folder), request.settings)
    return here.see_through(opened, engine, limit=flags.parallelism, logs=bool(flags.watch))


def write(flags: argparse.Namespace, parameters: dict[str, str]) -> int:
    from workflows.render import for_version, to_yaml, with_values

    names = list(catalog.DESCRIPTIONS) if flags.workflow == ALL else [flags.workflow or "retrain"]
    manifests = []
    for name in names:
        manifest = catalog.build(name)
        catalog.check_parameters(manifest, parameters)
        manifests.append(for_version(with_values(manifest, parameters), flags.argo))
    sys.stdout.write(to_yaml(manifests))
    return 0


def show_list() -> int:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, what in catalog.DESCRIPTIONS.items():
        console.print(f"[bold]{name}[/bold]  {what}")
        table = Table(box=None, pad_edge=False, show_header=False)
        for parameter in catalog.parameters(catalog.build(name)):
            value = parameter.get("value", "")
            table.add_row(f"  -p {parameter['name']}={value}", parameter.get("description", ""))
        console.print(table)
    return 0
