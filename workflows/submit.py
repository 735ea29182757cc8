"""Starts a workflow: on this machine, in containers, or on Argo. `python workflows/submit.py --help` says how."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):
    # Run as a script, Python puts this folder first on the path, where docker.py would hide the package of that name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from workflows.catalog import DESCRIPTIONS

USAGE, INTERRUPTED = 2, 130

EXAMPLES = """\
workflows:
{workflows}

examples:
  python workflows/submit.py                              retrain on a generated shop, here and now
  python workflows/submit.py -p source=purchases.csv -p columns=user=customer,item=product,time=date
  python workflows/submit.py batch-predict -p k=20
  python workflows/submit.py rollback -p version=3 -p reason="worse on phones"
  python workflows/submit.py --on docker                  each step in its own container
  python workflows/submit.py --on argo                    on Kubernetes, followed to the end
  python workflows/submit.py --resume RUN                 go on with a run that failed or was stopped
  python workflows/submit.py all -o yaml | kubectl apply -f -
  python workflows/submit.py --list                       every workflow with its parameters

environment:
  STORE            where everything is kept: file:FOLDER (default file:store) or s3://
                   (with S3_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, S3_CA_FILE)
  RUNS             where runs keep their record and logs (default .runs)
  IMAGE_REGISTRY, IMAGE_TAG           the images that containers use (default: none, 0.1.0)
  STORE_CLAIM      on Argo, the PersistentVolumeClaim that every step mounts at /store, for STORE=file:/store
  RUN_AS_USER      on Argo, the user of the pods (default 10001); empty where the cluster chooses (OpenShift)
  ARGO_SERVER, ARGO_TOKEN, ARGO_NAMESPACE   submit through this Argo Server instead of kubectl

exit codes: 0 succeeded, 1 the workflow failed, 2 wrong flags or settings, or a cluster that is not ready,
            75 the cluster no longer answers, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name.ljust(14)} {what}" for name, what in DESCRIPTIONS.items())
    found = argparse.ArgumentParser(
        prog="submit.py",
        description="Starts a workflow: on this machine, in containers, or on Argo Workflows.",
        epilog=EXAMPLES.format(workflows=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("workflow", nargs="?", default="", metavar="WORKFLOW", help="see below (default: retrain)")
    found.add_argument("--on", choices=("local", "docker", "argo"), help="where it runs (default: local)")
    found.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one of its parameters; may be repeated",
    )
    found.add_argument("--list", action="store_true", help="list the workflows with their parameters")
    found.add_argument("-o", "--output", choices=("yaml",), help="print the workflow for Argo instead of running it")
    found.add_argument("--argo", default="4.1", metavar="VERSION", help="with -o: the Argo to write for (3.3 to 4.1)")
    found.add_argument(
        "--scheduled-time",
        type=moment,
        default="",
        metavar="TIME",
        help="run as if a schedule had fired then, as 2026-11-01T02:15:00Z",
    )
    found.add_argument(
        "--watch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="show the steps' logs as they are written; on Argo they always are, and --no-watch is --detach",
    )
    here = found.add_argument_group("on this machine (local and docker)")
    here.add_argument("--resume", metavar="RUN", help="go on with a run; what had succeeded is not repeated")
    here.add_argument(
        "--runs", metavar="DIR", default="", help="where runs keep their record and logs (default: .runs)"
    )
    here.add_argument(
        "--parallelism", type=positive, default=0, metavar="N", help="steps at the same time (default: cores)"
    )
    docker = found.add_argument_group("in containers (--on docker)")
    docker.add_argument("--engine", choices=("docker", "podman"), help="default: the one that answers")
    docker.add_argument("--network", default="", help="network of the containers (default: host)")
    docker.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="HOST:CONTAINER",
        help="mount a folder, for a source that is a file",
    )
    argo = found.add_argument_group("on Argo (--on argo)")
    argo.add_argument(
        "-n",
        "--namespace",
        default="",
        help="default: $ARGO_NAMESPACE, else that of kubectl's context, else recommender",
    )
    argo.add_argument("--detach", action="store_true", help="only submit it, and print its name")
    argo.add_argument("--follow", metavar="RUN", help="follow a workflow that was submitted before")
    return found


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def moment(text: str) -> str:
    """The time as a CronWorkflow's runs have it, whatever zone it was written in."""
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time with its zone; write it as 2026-11-01T02:15:00Z")
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ParameterError(ValueError):
    """A -p that is not NAME=VALUE."""


def given_parameters(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ParameterError(f"-p {text}: write NAME=VALUE")
        found[name] = value
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    from workflows.command import Refused, run

    try:
        return run(flags, given_parameters(flags.parameter))
    except (Refused, ParameterError) as error:
        sys.stderr.write(f"submit.py: {error}\n")
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # before anything ran: once a step runs, the runner listens itself
