"""Looks, before anything is applied, whether a cluster has all that workflows need, and names all that it lacks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workflows.cluster.contract import ClusterError
from workflows.cluster.needs import Needs, Right, store_problem

Answer = subprocess.CompletedProcess[str]
Run = Callable[[Sequence[str], Mapping[str, Any] | None], Answer]
"""Calls kubectl in the namespace with these words, and an object on its standard input."""
CALLS = 8
HELP = "All of it is in containers/kubernetes; on kind: kubectl apply -k containers/kubernetes/overlays/kind"


def require(run: Run, namespace: str, needs: Needs) -> None:
    """Raises with every single thing that is missing; what we may not look at is not called missing."""
    problems = list(dict.fromkeys(missing(run, namespace, needs)))
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise ClusterError(
            f"namespace {namespace} of the cluster is not ready, and nothing was applied:{listed}\n{HELP}"
        )


def missing(run: Run, namespace: str, needs: Needs) -> Iterator[str]:
    """One sentence a thing. Without a namespace, or Argo, the rest would only be noise."""
    with ThreadPoolExecutor(CALLS) as pool:
        space = pool.submit(run, ["get", "namespace", namespace, "-o", "name"], None)
        rights = pool.submit(denied, run, namespace, needs.rights)
        # Without an output format only a table comes, and with it no secret's content.
        objects = {
            (kind, name): pool.submit(run, ["get", kind, name, *form], None)
            for kind, names, form in (
                ("serviceaccount", needs.accounts, ["-o", "name"]),
                ("configmap", needs.config_maps, ["-o", "json"]),
                ("secret", needs.secrets, []),
                ("persistentvolumeclaim", needs.claims, ["-o", "json"]),
            )
            for name in names
        }
    if not_found(space.result()):
        yield f"there is no namespace {namespace}; create it, or choose another with -n or ARGO_NAMESPACE"
        return
    for right in rights.result():
        yield f"you may not {right} there; the Roles of containers/kubernetes/base say who may"
    settings = {name: data_of(answer.result()) for (kind, name), answer in objects.items() if kind == "configmap"}
    on_s3 = any(data is not None and data.get("STORE", "").startswith("s3:") for data in settings.values())
    for (kind, name), answer in objects.items():
        if not_found(answer.result()) and (kind != "secret" or on_s3):
            yield LACKING[kind].format(name)
        if kind == "persistentvolumeclaim" and lost(answer.result()):
            yield f"the PersistentVolumeClaim {name} has lost its volume"
    for name, data in settings.items():
        if data is not None:
            problem = store_problem(needs, data, name)
            if problem:
                yield problem


LACKING = {
    "serviceaccount": "there is no ServiceAccount {}, as which the steps run",
    "configmap": "there is no ConfigMap {}, which says where the store is",
    "secret": "there is no Secret {} with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the store is on S3",
    "persistentvolumeclaim": "there is no PersistentVolumeClaim {}, which STORE_CLAIM names",
}


def not_found(answer: Answer) -> bool:
    return answer.returncode != 0 and "(NotFound)" in answer.stderr


def data_of(answer: Answer) -> dict[str, str] | None:
    """What a ConfigMap holds; None where it is not there or we may not read it."""
    if answer.returncode != 0:
        return None
    found: dict[str, str] = json.loads(answer.stdout).get("data") or {}
    return found


def lost(answer: Answer) -> bool:
    return answer.returncode == 0 and json.loads(answer.stdout).get("status", {}).get("phase") == "Lost"


def denied(run: Run, namespace: str, rights: Sequence[Right]) -> list[Right]:
    """Those of the rights that we do not have; all are asked about at once, and what nobody answers is not denied."""
    reviews = [review(namespace, right) for right in rights]
    answer = run(["create", "-f", "-", "-o", "json"], {"apiVersion": "v1", "kind": "List", "items": reviews})
    allowed = {}
    for found in objects(answer.stdout):
        asked = found["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource", ""))))
        allowed[Right(asked["verb"], resource, asked.get("group", ""))] = found.get("status", {}).get("allowed", False)
    return [right for right in rights if not allowed.get(right, True)]


def review(namespace: str, right: Right) -> dict[str, Any]:
    resource, _, part = right.resource.partition("/")
    asked = {"namespace": namespace, "verb": right.verb, "resource": resource}
    asked |= ({"group": right.group} if right.group else {}) | ({"subresource": part} if part else {})
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects that kubectl printed one after another, or as one List."""
    decoder, place = json.JSONDecoder(), 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found, place = decoder.raw_decode(text, place)
        yield from found.get("items", [found]) if found.get("kind") == "List" else [found]


def lacking_kinds(answer: Answer, kinds: Sequence[str]) -> list[str]:
    """The kinds of Argo's that the cluster does not know, from what it says of the group."""
    known = {resource["name"] for resource in json.loads(answer.stdout).get("resources", [])}
    return [kind for kind in kinds if kind not in known]


def knows(answer: Answer, kind: str) -> bool:
    """Whether a group of the cluster has a kind, from what it says of the group."""
    if answer.returncode != 0:
        return False
    return kind in {resource["kind"] for resource in json.loads(answer.stdout).get("resources", [])}
