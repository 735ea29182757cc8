"""What a cluster must hold before workflows can run there: read from the very objects that will be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.settings import DISTRIBUTED, MOUNTED_STORE

Manifest = Mapping[str, Any]
ARGO = "argoproj.io"
STORE_CLAIM = "STORE_CLAIM"


@dataclass(frozen=True)
class Right:
    """Something that the caller must be allowed to do in the namespace."""

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


TEMPLATES = tuple(Right(verb, "workflowtemplates", ARGO) for verb in ("get", "create", "patch"))
SCHEDULES = tuple(Right(verb, "cronworkflows", ARGO) for verb in ("get", "create", "patch"))
STARTING = tuple(Right(verb, "workflows", ARGO) for verb in ("get", "create"))
FOLLOWING = (Right("list", "pods"), Right("get", "pods/log"))


@dataclass(frozen=True)
class Needs:
    """Names of objects in the namespace, kinds that the cluster must know, and rights."""

    kinds: tuple[str, ...]
    rights: tuple[Right, ...]
    accounts: tuple[str, ...] = ()
    config_maps: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    """The Secrets with the keys of the store, which are needed only where that is S3."""
    claims: tuple[str, ...] = ()
    store_mounted: bool = False
    others: tuple[tuple[str, str], ...] = ()
    """Kinds that others bring to a cluster: the API that has them, such as kubeflow.org/v1, and the kind."""

    @classmethod
    def of(
        cls, manifests: Sequence[Manifest], rights: Sequence[Right], parameters: Mapping[str, str] | None = None
    ) -> Needs:
        """What these WorkflowTemplates need once they run with these parameters, and the rights to bring them there."""
        specs = [manifest["spec"] for manifest in manifests if "templates" in manifest["spec"]]
        # Objects of other kinds are made where training is distributed, and nowhere else.
        distributed = (parameters or {}).get(DISTRIBUTED) == "true"
        making = [t for spec in specs for t in spec["templates"] if "resource" in t and distributed]
        containers = [t["container"] for spec in specs for t in spec["templates"] if "container" in t]
        volumes = [volume for spec in specs for t in spec["templates"] for volume in t.get("volumes", [])]
        claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v]
        return cls(
            kinds=unique(right.resource for right in rights if right.group == ARGO),
            rights=tuple(rights),
            accounts=unique(one["serviceAccountName"] for one in [*specs, *making] if "serviceAccountName" in one),
            config_maps=unique(required_maps(containers)),
            secrets=unique(store_secrets(containers)),
            claims=unique(claims),
            store_mounted=any(
                mount["mountPath"] == MOUNTED_STORE for one in containers for mount in one.get("volumeMounts", [])
            ),
            others=tuple(dict.fromkeys(made_kind(template["resource"]["manifest"]) for template in making)),
        )


def made_kind(manifest: str) -> tuple[str, str]:
    """The API and the kind of an object that is written out as YAML, its tags still in it."""
    found = {key: value for key, _, value in (line.partition(": ") for line in manifest.splitlines())}
    return found["apiVersion"], found["kind"]


def required_maps(containers: Sequence[Manifest]) -> Iterator[str]:
    for container in containers:
        for source in container.get("envFrom", []):
            reference = source.get("configMapRef", {})
            if reference.get("name") and not reference.get("optional"):
                yield reference["name"]


def store_secrets(containers: Sequence[Manifest]) -> Iterator[str]:
    """Their keys are optional in the templates, for a store that is a folder has none."""
    for container in containers:
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference and variable["name"].startswith("AWS_"):
                yield reference["name"]


def unique(names: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def store_problem(needs: Needs, settings: Mapping[str, str], config_map: str) -> str:
    """Why the STORE of the ConfigMap does not fit the workflows; empty where it does."""
    store = settings.get("STORE", "").strip()
    where = f"ConfigMap {config_map} has STORE"
    if not store:
        return f"{where} not set; it names where everything is kept, s3:// or file:{MOUNTED_STORE}"
    if store.startswith("s3:"):
        return (
            f"{where} {store}, so the volume of {STORE_CLAIM} would stay empty; unset {STORE_CLAIM}"
            if (needs.store_mounted)
            else ""
        )
    folder = store.removeprefix("file:").removeprefix("//")
    inside = folder == MOUNTED_STORE or folder.startswith(f"{MOUNTED_STORE}/")
    if not needs.store_mounted:
        return f"{where} {store}, but no volume is mounted there; set {STORE_CLAIM} to a PersistentVolumeClaim's name"
    return "" if inside else f"{where} {store}, but the volume is mounted at {MOUNTED_STORE}"
