"""The container engine: the command it makes, and the same walk in real containers."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import stat
import subprocess

import pytest

from workflows.docker import DockerEngine, check_files, cores, options, quantity
from workflows.runner.record import Request, Run
from workflows.runner.session import Place
from workflows.runner.start import start
from workflows.runner.tree import Phase, Tree
from workflows.settings import SettingsError

PYTHON = "docker.io/library/python:3.11-slim"

FAKE = """#!/bin/sh
echo "$@" >> "$FAKE_LOG"
case "$1" in
  ps) [ "$FAKE_DEAD" ] && exit 1; [ "$2" = --all ] && echo leftover; exit 0;;
  info) echo "${FAKE_LIMITS:-true}";;
  image) [ "$3" != "missing:1" ];;
esac
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A docker of the test's own, which writes down how it was called."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "calls"))
    return tmp_path / "calls"


def run_of(folder, chosen, store="file:{}/store", **settings):
    request = Request("trial", {}, {}, "docker", str(folder), {"STORE": store.format(folder), **settings}, chosen)
    return Run.begin(folder / "runs", request)


def container(**fields):
    return {
        "image": "recommender-plan:1", "command": ["python", "-m", "steps.plan"], "args": ["--snapshot=s 1"],
        "env": [
            {"name": "RUN", "value": "r"},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "optional": True}}},
        ],
        "resources": {"limits": {"cpu": "64", "memory": "1Gi"}},
        "volumeMounts": [{"name": "outputs", "mountPath": "/outputs"}],
    } | fields  # fmt: skip


def launched(folder, run, **fields):
    place = Place("trial-1", folder, {"/outputs": folder / "outputs"})
    (folder / "outputs").mkdir(exist_ok=True)
    with contextlib.closing(run):
        return DockerEngine(run).launch(container(**fields), place)


def pairs(command):
    return list(itertools.pairwise(command))


def test_a_container_is_hardened_limited_and_named(fake, tmp_path):
    run = run_of(tmp_path, options("", "", []))
    command = launched(tmp_path, run).command
    assert command[:3] == ["docker", "run", "--rm"]
    assert "--read-only" in command
    for pair in [
        ("--cap-drop", "ALL"), ("--security-opt", "no-new-privileges"), ("--network", "host"), ("--name", "trial-1"),
        ("--memory", str(2**30)), ("--cpus", str(os.cpu_count())), ("--volume", f"{tmp_path}/outputs:/outputs"),
        ("--volume", f"{tmp_path}/store:/store"), ("--env", "STORE=file:/store"), ("--env", "RUN=r"),
        ("--label", f"recommender.run={run.name}"),
    ]:  # fmt: skip
        assert pair in pairs(command)
    assert command[command.index("--entrypoint") :] == [
        "--entrypoint", "python", "recommender-plan:1", "-m", "steps.plan", "--snapshot=s 1",
    ]  # fmt: skip


def test_secrets_are_passed_by_name_only(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-show")
    launch = launched(tmp_path, run_of(tmp_path, options("", "", []), "s3://", S3_ENDPOINT="http://minio:9000"))
    assert ("--env", "AWS_SECRET_ACCESS_KEY") in pairs(launch.command)
    assert ("--env", "S3_ENDPOINT") in pairs(launch.command)
    assert not any("do-not-show" in word for word in launch.command)
    assert not any("/store" in word for word in launch.command)
    assert launch.environment["S3_ENDPOINT"] == "http://minio:9000"


def test_a_secret_that_is_not_set_is_not_passed(fake, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    command = launched(tmp_path, run_of(tmp_path, options("", "", []))).command
    assert ("--env", "AWS_SECRET_ACCESS_KEY") not in pairs(command)


def test_it_runs_as_ourselves_or_as_the_owner_of_the_store(fake, tmp_path):
    command = launched(tmp_path, run_of(tmp_path, options("", "", []))).command
    [user] = [value for flag, value in pairs(command) if flag == "--user"]
    owner = (tmp_path / "store").stat()
    assert user == f"{owner.st_uid}:{owner.st_gid}"
    assert int(user.split(":")[0]) != 0
    outputs = (tmp_path / "outputs").stat()
    assert (outputs.st_uid, outputs.st_gid) == (owner.st_uid, owner.st_gid)


def test_no_limits_where_the_engine_cannot(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_LIMITS", "false")
    command = launched(tmp_path, run_of(tmp_path, options("", "", []))).command
    assert "--memory" not in command
    assert "--cpus" not in command


def test_network_and_volumes_are_those_of_the_flags(fake, tmp_path):
    chosen = options("docker", "none", [f"{tmp_path}:/data:ro"])
    command = launched(tmp_path, run_of(tmp_path, chosen)).command
    assert ("--network", "none") in pairs(command)
    assert ("--volume", f"{tmp_path}:/data:ro") in pairs(command)


def test_what_a_killed_client_left_of_the_same_run_is_removed_first(fake, tmp_path):
    launched(tmp_path, run_of(tmp_path, options("", "", [])))
    assert "rm --force leftover" in fake.read_text()


def test_a_killed_container_is_removed_by_name(fake, tmp_path):
    assert launched(tmp_path, run_of(tmp_path, options("", "", []))).stop == ["docker", "rm", "--force", "trial-1"]


@pytest.mark.parametrize("volume", ["nowhere:/data", "/tmp", "/tmp:data"])
def test_a_volume_that_cannot_be_is_refused(fake, volume):
    with pytest.raises(SettingsError, match="write HOST:CONTAINER"):
        options("", "", [volume])


def test_a_file_that_containers_do_not_see_is_refused_with_the_flags_that_show_it(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my purchases.csv").touch()
    with pytest.raises(SettingsError) as caught:
        check_files({"source": "my purchases.csv"}, options("", "", []))
    flags = shlex.split(str(caught.value).partition("give it to them: ")[2])
    assert flags == [
        "--volume", f"{tmp_path}/my purchases.csv:/data/my purchases.csv", "-p", "source=/data/my purchases.csv",
    ]  # fmt: skip
    check_files({"source": "/data/my purchases.csv", "k": "bin"}, options("", "", flags[1:2]))
    check_files({"source": str(tmp_path / "bin")}, options("", "", [f"{tmp_path}:{tmp_path}"]))
    check_files({"source": "demo:"}, options("", "", []))


def test_a_store_that_cannot_be_made_is_one_sentence(fake, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"STORE is .*/file/store, which cannot be made: Not a directory"):
        launched(tmp_path, run_of(tmp_path, options("", "", []), "file:{}/file/store"))


def test_podman_adds_no_folder_that_kubernetes_does_not_have(fake, tmp_path):
    (fake.parent / "bin" / "docker").rename(fake.parent / "bin" / "podman")
    assert "--read-only-tmpfs=false" in launched(tmp_path, run_of(tmp_path, options("", "", []))).command


def test_missing_images_are_named_with_the_command_that_builds_them(fake):
    manifest = {
        "spec": {"templates": [{"container": {"image": "missing:1"}}, {"container": {"image": "there:1"}}, {"dag": {}}]}
    }
    with pytest.raises(SettingsError, match=r"docker has no image missing:1; build each with: .*containers/Dockerfile"):
        DockerEngine.check_images({"engine": "docker"}, manifest)


def test_an_engine_that_does_not_answer_is_named(fake, monkeypatch):
    monkeypatch.setenv("FAKE_DEAD", "1")
    with pytest.raises(SettingsError, match="docker is installed but does not answer"):
        options("docker", "", [])


def test_no_engine_at_all_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="there is no docker or podman on the PATH"):
        options("", "", [])


@pytest.mark.parametrize(
    ("text", "value"), [("1Gi", 2**30), ("512Mi", 2**29), ("1G", 10**9), ("5", 5), ("1.5Ki", 1536)]
)
def test_quantities(text, value):
    assert quantity(text) == value


@pytest.mark.parametrize(("text", "value"), [("250m", 0.25), ("2", 2), (1, 1)])
def test_cores(text, value):
    assert cores(text) == value


def real_engine():
    """The engine that can run the base image here, if one can."""
    for name in ("podman", "docker"):
        command = [name, "run", "--rm", "--network", "none", PYTHON, "python", "-c", "0"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if (
                shutil.which(name)
                and subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
            ):
                return name
    return ""


@pytest.mark.containers
def test_a_workflow_runs_in_real_containers(make, tmp_path):
    engine = real_engine()
    if not engine:
        pytest.skip(f"no podman or docker here runs {PYTHON}")
    first = make.container(
        "first",
        "id -u > $OUTPUTS/user; touch /new 2>/dev/null || touch /tmp/new 2>/dev/null || echo ro > /scratch/x; "
        "cat /scratch/x > $OUTPUTS/root; "
        "echo kept > ${STORE#file:}/kept",
        outputs={"user": None, "root": None},
    )
    slow = make.container("slow", "exec sleep 100", activeDeadlineSeconds=2)
    workflow = make.manifest([first, slow], [make.task("first"), make.task("slow", depends="first.Succeeded")])
    for template in workflow["spec"]["templates"][:2]:
        template["container"]["image"] = PYTHON
    request = Request(
        "trial", workflow, {}, "docker", str(tmp_path), {"STORE": f"file:{tmp_path}/store"}, options(engine, "none", [])
    )
    run = Run.begin(tmp_path / "runs", request)
    tree = Tree(run.name)
    with contextlib.closing(run):
        ended = start(run, DockerEngine(run), tree, lambda question: None)
    nodes = {node.path: node for node in tree.leaves()}
    log = (run.node_folder("first") / "0" / "log").read_text()
    assert nodes["first"].phase is Phase.SUCCEEDED, log
    assert nodes["first"].outputs["root"] == "ro"
    assert nodes["first"].outputs["user"] != "0"
    assert (tmp_path / "store" / "kept").read_text() == "kept\n"
    assert nodes["slow"].message == "not done within 2 s"
    assert ended.outcome.phase is Phase.FAILED
    left = subprocess.run(
        [engine, "ps", "-aq", "--filter", f"label=recommender.run={run.name}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert left.stdout == ""
