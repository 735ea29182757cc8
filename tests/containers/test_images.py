"""The built images: small duties that only a real container can show."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest
import requests

pytestmark = pytest.mark.containers

Run = Callable[..., "subprocess.CompletedProcess[str]"]

HARDENED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none")
WRITABLE = ("--tmpfs=/tmp", "--tmpfs=/outputs")

MEGABYTES = {
    "run-report": 250,
    "cleanup": 500,
    "slot-sync": 500,
    "model-publish": 1000,
    "serve": 1000,
    "slot-server": 1000,
    "plan": 700,
    "client": 750,
    "evaluate": 900,
    "monitor": 900,
    "batch-predict": 950,
    "data-publish": 1200,
    "train": 2200,
    "blend": 2200,
}
"""What an image may weigh, about a third more than it did when this was written."""

LOOK_AROUND = """
import importlib.util, json, os, shutil, sys
tools = "pip pip3 gcc cc g++ c++ make ld as cargo rustc git curl wget".split()
libraries = "pip tensorflow implicit numba polars pandas hera pytest workflows cron".split()
app = [os.path.join(parent, name) for parent, _, names in os.walk("/app") for name in names]
print(json.dumps({
    "user": os.getuid(),
    "group": os.getgid(),
    "python": list(sys.version_info[:2]),
    "tools": [name for name in tools if shutil.which(name)],
    "libraries": [name for name in libraries if importlib.util.find_spec(name)],
    "shell": os.path.exists("/bin/sh"),
    "home": os.path.expanduser("~"),
    "folder": os.getcwd(),
    "app": sorted(os.path.relpath(path, "/app") for path in app),
    "writable": [path for path in ("/app", "/app/steps", "/opt/venv", "/usr", "/etc") if os.access(path, os.W_OK)],
    "private": [path for path in app if not os.stat(path).st_mode & 0o004],
    "revision": os.environ.get("SOURCE_REVISION", ""),
    "environment": sorted(os.environ),
}))
"""


def program(target: str) -> str:
    return target.replace("-", "_")


@pytest.fixture(scope="session")
def seen(container: Run) -> Callable[[str], dict[str, object]]:
    """What a program finds around it in the image of a target; looked at once."""
    found: dict[str, dict[str, object]] = {}

    def look(target: str) -> dict[str, object]:
        if target not in found:
            done = container(target, "-c", LOOK_AROUND, options=("--entrypoint=python", "--network=none"))
            assert done.returncode == 0, done.stderr
            found[target] = json.loads(done.stdout)
        return found[target]

    return look


def test_help_helps_within_seconds_for_any_user_on_a_read_only_root(container: Run, target: str) -> None:
    seconds = []
    while not seconds or (min(seconds) >= 10 and len(seconds) < 3):  # the engine may be busy with other containers
        began = time.monotonic()
        done = container(target, "--help", options=(*HARDENED, "--user=54321:0"))
        seconds.append(time.monotonic() - began)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m steps.{program(target)} ")
    assert min(seconds) < 10


def test_a_wrong_flag_is_one_sentence_and_exit_code_2(container: Run, target: str) -> None:
    done = container(target, "--no-such-flag", options=HARDENED)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_it_runs_as_nobody_in_particular(seen: Callable[[str], dict[str, object]], target: str) -> None:
    around = seen(target)
    assert (around["user"], around["group"]) == (10001, 0)
    assert around["writable"] == []
    assert around["private"] == []


def test_there_is_a_shell_but_no_installer_compiler_or_downloader(
    seen: Callable[[str], dict[str, object]], target: str
) -> None:
    around = seen(target)
    assert around["shell"] is True
    assert around["tools"] == []
    assert "pip" not in around["libraries"]


def test_it_holds_the_libraries_of_its_program_and_no_heavier_ones(
    seen: Callable[[str], dict[str, object]], target: str
) -> None:
    heavy = {
        "train": {"tensorflow", "polars", "numba"},
        "blend": {"tensorflow", "polars", "numba"},
        "evaluate": {"polars", "pandas"},
        "monitor": {"polars", "pandas"},
        "data-publish": {"polars"},
        "plan": {"polars"},
        "client": {"polars"},
        "batch-predict": {"polars", "numba"},
        "serve": {"polars", "numba"},
        "slot-server": {"polars", "numba"},
        "model-publish": {"polars", "numba"},
    }
    assert set(seen(target)["libraries"]) == heavy.get(target, set())


COMPILE = """
import numpy as np
import scipy.sparse as sp
from steps.models.fold_in import FoldIn
from steps.models.large_least_squares import LargeSides
from steps.models.large_pruning import best_of_many, search_of
from steps.models.pruning import LongestFirst
rng = np.random.default_rng(0)
bought = sp.csr_matrix(rng.random((50, 30)) < 0.3, dtype=np.float32)
sides = LargeSides.of(bought, rng.random((30, 4)).astype(np.float32), 0.3)
sides.improve(FoldIn(1.0, 0.3, 0.5), workers=2)
users, items = sides.vectors()
print(best_of_many(search_of(LongestFirst.of(items)), users, 3, bought, 2).items.shape)
"""


@pytest.mark.parametrize("place", ["train", "batch-predict"])
def test_loops_are_compiled_on_a_read_only_root(container: Run, place: str) -> None:
    done = container(place, "-c", COMPILE, options=(*HARDENED, *WRITABLE, "--entrypoint=python"))
    assert (done.returncode, done.stdout) == (0, "(50, 3)\n"), done.stderr


SEARCH = """
import numpy as np
from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.scorer import Shared
rng = np.random.default_rng(0)
users, items = rng.random((50, 4), np.float32), rng.random((5000, 4), np.float32)
tables = [IdTable.of([f"{number:04d}" for number in range(len(one))]) for one in (users, items)]
scorer = Factors(Shared(*tables, np.ones(50, bool), np.ones(5000, np.float32)), users, items)
asked = np.arange(3, dtype=np.int32)
before = scorer.recommend(asked, 3).items.tolist()
print(scorer.warm_up(), scorer.recommend(asked, 3).items.tolist() == before)
"""


def test_the_model_server_warms_up_on_a_read_only_root(container: Run) -> None:
    done = container("serve", "-c", SEARCH, options=(*HARDENED, *WRITABLE, "--entrypoint=python"))
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr


def test_it_holds_its_own_program_only(seen: Callable[[str], dict[str, object]], target: str) -> None:
    around = seen(target)
    top = {path.removeprefix("steps/") for path in around["app"] if path.count("/") == 1}
    assert top == {"__init__.py", "py.typed", f"{program(target)}.py"} - ({"py.typed"} - top)
    assert f"steps/__pycache__/{program(target)}.cpython-311.pyc" in around["app"], "compiled when it was built"
    assert around["folder"] == "/app"
    assert around["home"] == "/tmp"


def test_it_says_what_it_was_built_from(
    engine: str, image: Callable[[str], str], seen: Callable[[str], dict[str, object]], project: dict, target: str
) -> None:
    found = subprocess.run([engine, "image", "inspect", image(target)], capture_output=True, text=True, check=True)
    labels = json.loads(found.stdout)[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == f"recommender-{target}"
    assert labels["org.opencontainers.image.description"]
    assert labels["org.opencontainers.image.version"] == project["version"]
    assert labels["org.opencontainers.image.revision"] == seen(target)["revision"] != ""


def test_its_size_is_as_expected(
    engine: str, image: Callable[[str], str], record_property: Callable[[str, object], None], target: str
) -> None:
    command = [engine, "image", "inspect", "--format", "{{.Size}}", image(target)]
    megabytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6
    record_property("megabytes", round(megabytes))
    print(f"{image(target)}: {megabytes:.0f} MB")
    assert megabytes < MEGABYTES[target]


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a step said at its end, each as the text that its output file has."""
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stderr.splitlines()[-1])["figures"]
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}


@pytest.fixture(scope="module")
def options(fresh_volume: Callable[[], str]) -> tuple[str, ...]:
    """A store that the steps below share; each of them is hardened, and none has a network."""
    settings = ("--env=RUN=first", "--env=SAVED_MODEL=true")
    return (*HARDENED, *WRITABLE, f"--volume={fresh_volume()}:/store", *settings)


@pytest.fixture(scope="module")
def released(container: Run, options: tuple[str, ...]) -> dict[str, str]:
    """What the steps said, from purchases to a release, one container after the other."""
    said = figures(container("data-publish", "--source", "demo:", options=options))
    at = ("--snapshot", said["snapshot"])
    said |= figures(container("plan", *at, options=options))
    for model in json.loads(said["models"]):
        said |= figures(container("train", *at, "--model", model, options=options))
    said |= figures(container("blend", *at, options=options))
    said |= figures(container("evaluate", *at, options=options))
    said |= figures(container("model-publish", options=options))
    return said


def test_the_steps_take_purchases_to_a_release(released: dict[str, str]) -> None:
    assert released["new"] == "true"
    assert json.loads(released["models"]) == ["popularity", "als", "ease", "item_knn"]
    assert released["promote"] == "true"
    # Which of the personal models wins here is a matter of the fourth digit.
    assert released["winner"] == released["candidate"]
    assert released["winner"].removeprefix("candidates/first/") in ("als", "ease", "blend")
    assert released["version"] == "1"


def test_the_same_purchases_are_the_same_snapshot_in_another_container(
    container: Run, options: tuple[str, ...], released: dict[str, str]
) -> None:
    again = figures(container("data-publish", "--source", "demo:", options=options))
    assert (again["snapshot"], again["new"]) == (released["snapshot"], "false")


def test_everybody_gets_predictions_of_the_release(
    container: Run, options: tuple[str, ...], released: dict[str, str]
) -> None:
    predicted = figures(container("batch-predict", "--shards", "2", options=options))
    assert predicted["users"] == released["users"]


def test_cleanup_and_the_report_of_the_run_leave_the_release_alone(
    container: Run, options: tuple[str, ...], released: dict[str, str]
) -> None:
    assert figures(container("cleanup", "--min-age-days", "0", options=options))["removed"] == "0"
    reported = figures(container("run-report", "--workflow", "retrain", "--status", "Succeeded", options=options))
    assert reported["report"].endswith("runs/first.json")


def test_slot_sync_mirrors_the_slot_of_the_release(
    container: Run, options: tuple[str, ...], released: dict[str, str]
) -> None:
    sync = ("--slot", released["slot"], "--folder", "/outputs/model", "--poll-seconds", "0")
    script = f"python -m steps.slot_sync {' '.join(sync)} && find /outputs/model -name saved_model.pb"
    done = container("slot-sync", "-c", script, options=("--entrypoint=sh", *options))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/outputs/model/1/saved_model.pb\n"


@pytest.mark.parametrize(
    ("server", "port", "path", "expected"),
    [
        ("serve", 8080, "/readyz", '"version":1'),
        ("slot-server", 8501, "/v1/models/recommender/versions/1", '"AVAILABLE"'),
    ],
)
def test_a_server_answers_through_its_port_and_stops_when_told(
    engine: str,
    image: Callable[[str], str],
    options: tuple[str, ...],
    released: dict[str, str],
    server: str,
    port: int,
    path: str,
    expected: str,
) -> None:
    def call(*arguments: str) -> str:
        return subprocess.run(
            [engine, *arguments], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    bridged = [option for option in options if not option.startswith("--network")]
    name = call("run", "--detach", *bridged, f"--publish=127.0.0.1::{port}", image(server))
    try:
        address = f"http://{call('port', name, str(port))}{path}"
        assert expected in answer(address, seconds=30)
        began = time.monotonic()
        call("stop", "--time=30", name)
        assert time.monotonic() - began < 10, "it was killed instead"
        assert call("inspect", "--format", "{{.State.ExitCode}}", name) in ("0", "130")
    finally:
        subprocess.run([engine, "rm", "--force", "--volumes", name], capture_output=True, check=False)


def answer(address: str, seconds: float) -> str:
    """What the address answers once it answers well, or its last word."""
    until = time.monotonic() + seconds
    while True:
        try:
            found = requests.get(address, timeout=5)
            if found.ok or time.monotonic() > until:
                return found.text
        except requests.ConnectionError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


def test_outputs_are_left_for_the_engine_that_mounts_their_folder(
    container: Run, fresh_volume: Callable[[], str]
) -> None:
    volume = fresh_volume()
    options = (*HARDENED, "--tmpfs=/tmp", "--tmpfs=/store", f"--volume={volume}:/outputs")
    done = container("data-publish", "--source", "demo:users=60,items=30", options=options)
    assert done.returncode == 0, done.stderr
    read = container("plan", "-c", "cat /outputs/new", options=("--entrypoint=sh", f"--volume={volume}:/outputs"))
    assert read.stdout == "true"
