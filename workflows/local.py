"""The local engine: every container of a workflow is a process of this machine, with this interpreter."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflows.runner.leaf import on_machine
from workflows.runner.process import Launch
from workflows.runner.session import Place

ROOT = Path(__file__).resolve().parent.parent


class LocalEngine:
    """Runs a container's command here; the process's own environment stands for the ConfigMap and the Secrets."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.settings = settings

    def launch(self, container: Mapping[str, Any], place: Place) -> Launch:
        command = [*container["command"], *container.get("args", [])]
        if command[0] in ("python", "python3"):
            command[0] = sys.executable
        return Launch(
            command=[command[0], *(rewritten(word, place.mounts) for word in command[1:])],
            environment=self.environment(container, place),
            folder=self.folder,
        )

    def environment(self, container: Mapping[str, Any], place: Place) -> dict[str, str]:
        found = {**os.environ, **self.settings}
        found.setdefault("LOG_FORMAT", "text")
        found.setdefault("SOURCE_REVISION", source_revision())
        found["PYTHONUNBUFFERED"] = "1"
        if (ROOT / "pyproject.toml").exists():
            # A checkout that is not installed works too; and a folder named like a package, in the folder where the
            # user stands, must not be taken for it.
            found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
            found["PYTHONSAFEPATH"] = "1"
        for variable in container.get("env", []):
            name = variable["name"]
            if name == "HOME":
                # A laptop's home holds caches that are slow to build again: fonts, compiled kernels.
                continue
            if "value" in variable:
                found[name] = rewritten(variable["value"], place.mounts)
        return found


def rewritten(text: str, mounts: Mapping[str, Path]) -> str:
    """A path below a mount, alone or as a flag's value, becomes the path that stands for it here."""
    flag, equals, value = text.partition("=")
    if equals and flag.startswith("-"):
        path = on_machine(value, mounts)
        return f"{flag}={path}" if path else text
    return str(on_machine(text, mounts) or text)


@functools.cache
def source_revision() -> str:
    """The commit of this checkout, marked where files differ from it; `unknown` for an installed package."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
