"""The settings that the programs read from the environment: what the ConfigMap and the Secrets are on a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLACE = (
    "STORE", "STORE_PREFIX", "DATA_BUCKET", "MODELS_BUCKET", "S3_ENDPOINT", "AWS_REGION", "S3_CA_FILE", "SLOTS",
    "SAVED_MODEL",
)  # fmt: skip
"""Where a run works. Kept with the run, so that a resumed run works at the same place; no secret is among them."""
MOUNTED_STORE = "/store"
"""Where a container finds the store that is a folder here."""
DISTRIBUTED = "distributed"
"""The parameter that has several workers train a model, which takes a cluster."""
OTHERS = ("SOURCE_REVISION", "LOG_FORMAT", "LOG_LEVEL")


class SettingsError(ValueError):
    """Settings that do not fit the run."""


def place(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The settings that are given, with STORE always, and as an absolute path where it is a folder."""
    given = os.environ if environ is None else environ
    found = {name: given[name].strip() for name in PLACE if given.get(name, "").strip()}
    found["STORE"] = absolute_store(found.get("STORE", "file:store"))
    return found


def absolute_store(store: str) -> str:
    """`file:` with an absolute folder; anything else as it is, for the programs check it themselves."""
    folder = store_folder(store)
    return store if folder is None else f"file:{folder}"


def store_folder(store: str) -> Path | None:
    """The folder of a `file:` store (a bare path is one too); None for S3 or for what is no store at all."""
    scheme, colon, rest = store.partition(":")
    if colon and scheme != "file":
        return None
    folder = (rest if colon else store).removeprefix("//")
    return Path(folder).expanduser().absolute() if folder else None


def same_place(recorded: Mapping[str, str], environ: Mapping[str, str] | None = None) -> None:
    """Refuses to resume a run somewhere else: what it has done already would not be there."""
    given = os.environ if environ is None else environ
    for name in PLACE:
        now = given.get(name, "").strip()
        if name == "STORE" and now:
            now = absolute_store(now)
        if now and now != recorded.get(name, ""):
            was = recorded.get(name, "") or "not set"
            raise SettingsError(
                f"the run was begun with {name} {was}, and now it is {now}; unset it, or start a new run"
            )


def check_secrets(manifest: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
    """Refuses a workflow that needs a Secret's or a ConfigMap's value which the environment does not have."""
    given = os.environ if environ is None else environ
    for template in manifest["spec"]["templates"]:
        for variable in template.get("container", {}).get("env", []):
            source = next(iter(variable.get("valueFrom", {}).values()), None)
            if source is not None and not source.get("optional") and variable["name"] not in given:
                raise SettingsError(f"template {template['name']!r} needs {variable['name']} in the environment")
