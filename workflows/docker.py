"""The container engine: the same walk, with each step in its own image, run by docker or podman."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from workflows.runner.process import Launch
from workflows.runner.record import Run
from workflows.runner.session import Place
from workflows.settings import MOUNTED_STORE, OTHERS, PLACE, SettingsError, store_folder
from workflows.templates import USER

ENGINES = ("docker", "podman")
LABEL = "recommender.run"
FILES = ("source", "users-file")
"""The parameters that may name a file."""


def options(engine: str, network: str, volumes: Sequence[str]) -> dict[str, str]:
    """What a run keeps of the flags, so that a resumed run is driven the same way."""
    for volume in volumes:
        host, colon, inside = volume.partition(":")
        if not colon or not inside.startswith("/") or not Path(host).expanduser().exists():
            raise SettingsError(
                f"--volume {volume}: write HOST:CONTAINER, an existing path here and an absolute one there"
            )
    mounted = [
        str(Path(volume.partition(":")[0]).expanduser().absolute()) + ":" + volume.partition(":")[2]
        for volume in volumes
    ]
    return {"engine": find(engine), "network": network or "host", "volumes": json.dumps(mounted)}


def check_files(parameters: Mapping[str, str], chosen: Mapping[str, str]) -> None:
    """Refuses a file of this machine that no container would see, with the flags that show it to them."""
    mounted = [volume.split(":")[1] for volume in json.loads(chosen["volumes"])]
    for name in FILES:
        given = parameters.get(name, "")
        path = Path(given).expanduser()
        if given and path.exists() and not any(PurePosixPath(given).is_relative_to(mount) for mount in mounted):
            inside = f"/data/{path.name}"
            flags = ["--volume", f"{path.absolute()}:{inside}", "-p", f"{name}={inside}"]
            raise SettingsError(
                f"{name} is {given!r} of this machine, which containers do not see; "
                f"give it to them: {shlex.join(flags)}"
            )


def find(wanted: str) -> str:
    """The engine that was asked for, or the first one that answers."""
    present = [name for name in ([wanted] if wanted else ENGINES) if shutil.which(name)]
    for name in present:
        if ask(name, "ps", "--quiet").returncode == 0:
            return name
    if present:
        raise SettingsError(f"{' and '.join(present)} is installed but does not answer; is its service running?")
    raise SettingsError(f"there is no {wanted or ' or '.join(ENGINES)} on the PATH; install one, or use --on local")


def ask(engine: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([engine, *words], capture_output=True, text=True, timeout=60, check=False)


class DockerEngine:
    """Makes a `docker run` of a container template; the store and the node's folders are mounted."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.name = run.request.options["engine"]
        self.network = run.request.options["network"]
        self.volumes: list[str] = json.loads(run.request.options["volumes"])
        self.settings = run.request.settings
        self.store = store_folder(self.settings["STORE"])
        self.user = self.choose_user()
        self.limits = limits_work(self.name)
        self.remove_leftovers()

    @staticmethod
    def check_images(chosen: Mapping[str, str], manifest: Mapping[str, Any]) -> None:
        """Says which images are missing before anything runs; with a registry, the engine fetches them itself."""
        if os.environ.get("IMAGE_REGISTRY", "").strip():
            return
        images = sorted({t["container"]["image"] for t in manifest["spec"]["templates"] if "container" in t})
        missing = [image for image in images if ask(chosen["engine"], "image", "inspect", image).returncode != 0]
        if missing:
            raise SettingsError(
                f"{chosen['engine']} has no image {', '.join(missing)}; build each with: {chosen['engine']} build "
                "-f containers/Dockerfile --target PROGRAM -t IMAGE . (or set IMAGE_REGISTRY and IMAGE_TAG)"
            )

    def choose_user(self) -> tuple[int, int]:
        """Ourselves, so that the mounted folders can be written; for root, whoever owns the store, else the images'
        user."""
        uid, gid = os.getuid(), os.getgid()
        if self.store is not None and not self.store.exists():
            try:
                self.store.mkdir(parents=True)
            except OSError as error:
                raise SettingsError(f"STORE is {self.store}, which cannot be made: {error.strerror}") from error
            if uid == 0:
                os.chown(self.store, USER, USER)
        if uid != 0:
            return uid, gid
        if self.store is not None:
            owner = self.store.stat()
            return owner.st_uid, owner.st_gid
        return USER, USER

    def remove_leftovers(self) -> None:
        """Containers of this very run that outlived a killed client: two of one step must not write at once."""
        found = ask(self.name, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={self.run.name}").stdout.split()
        if found:
            ask(*self.remove(), *found)

    def remove(self) -> list[str]:
        """Podman would first wait for ten seconds, which the step has had already."""
        return [self.name, "rm", "--force", *(["--time", "0"] if self.name == "podman" else [])]

    def launch(self, container: Mapping[str, Any], place: Place) -> Launch:
        for folder in place.mounts.values():
            if os.getuid() == 0:
                os.chown(folder, *self.user)
        command = [
            *(self.name, "run", "--rm", "--name", place.name, "--label", f"{LABEL}={self.run.name}"),
            *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--user", f"{self.user[0]}:{self.user[1]}", "--network", self.network),
            # Podman would mount a temporary folder over /tmp and /run, which Kubernetes does not.
            *(["--read-only-tmpfs=false"] if self.name == "podman" else []),
            *(["--userns", "keep-id"] if self.name == "podman" and os.getuid() != 0 else []),
            *(self.resources(container) if self.limits else []),
            *self.mounts(place),
            *self.variables(container),
            *("--entrypoint", container["command"][0], container["image"]),
            *container["command"][1:],
            *container.get("args", []),
        ]
        return Launch(
            command=command,
            environment={**os.environ, **self.settings},
            folder=Path(self.run.request.folder),
            stop=[*self.remove(), place.name],
            measured=False,
        )

    def mounts(self, place: Place) -> list[str]:
        pairs = [f"{folder}:{mount}" for mount, folder in place.mounts.items()]
        if self.store is not None:
            pairs.append(f"{self.store}:{MOUNTED_STORE}")
        if self.settings.get("S3_CA_FILE"):
            pairs.append(f"{Path(self.settings['S3_CA_FILE']).absolute()}:{self.settings['S3_CA_FILE']}:ro")
        return [word for pair in (*pairs, *self.volumes) for word in ("--volume", pair)]

    def variables(self, container: Mapping[str, Any]) -> list[str]:
        """What the template sets, by value; settings and secrets by name only, so that no process list shows them."""
        words = []
        for variable in container.get("env", []):
            if "value" in variable:
                words += ["--env", f"{variable['name']}={variable['value']}"]
            elif variable["name"] in os.environ:
                words += ["--env", variable["name"]]
        for name in (*PLACE, *OTHERS):
            if name == "STORE" and self.store is not None:
                words += ["--env", f"STORE=file:{MOUNTED_STORE}"]
            elif name in self.settings or name in os.environ:
                words += ["--env", name]
        if "LOG_FORMAT" not in os.environ:
            words += ["--env", "LOG_FORMAT=text"]
        return words

    @staticmethod
    def resources(container: Mapping[str, Any]) -> list[str]:
        """The template's limits, no more cores than there are."""
        limits = container.get("resources", {}).get("limits", {})
        words = []
        if "memory" in limits:
            words += ["--memory", str(quantity(limits["memory"]))]
        if "cpu" in limits:
            words += ["--cpus", f"{min(cores(limits['cpu']), os.cpu_count() or 1):g}"]
        return words


def limits_work(engine: str) -> bool:
    """Whether the engine may limit memory: rootless ones on old control groups may not."""
    form = "{{.MemoryLimit}}" if engine == "docker" else "{{.Host.CgroupControllers}}"
    answer = ask(engine, "info", "--format", form).stdout
    return "true" in answer or "memory" in answer


def quantity(text: str | int) -> int:
    """Bytes of a Kubernetes quantity: `512Mi`, `1G`, `1048576`."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    written = str(text)
    for unit, factor in units.items():
        if written.endswith(unit):
            return int(float(written.removesuffix(unit)) * factor)
    return int(written)


def cores(text: str | int | float) -> float:
    """Cores of a Kubernetes quantity: `250m`, `2`."""
    written = str(text)
    return float(written.removesuffix("m")) / 1000 if written.endswith("m") else float(written)
