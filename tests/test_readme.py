"""What the README promises is run, or at least exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_notebook_lines_print_what_the_readme_says() -> None:
    found = re.search(r"<!-- notebook -->\n```python\n(.*?)```\n\nIt prints `(.*?)`", README, flags=re.DOTALL)
    assert found
    lines = [line for line in found[1].splitlines() if line]
    assert len(lines) <= 10
    ran = subprocess.run([sys.executable, "-c", found[1]], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == found[2]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"python -m steps\.(\w+)", README))))
def test_every_program_that_is_named_exists(name: str) -> None:
    assert (ROOT / "steps" / f"{name}.py").is_file()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:steps|workflows|cron|containers|tests)/[\w./]*)`", README)))
)
def test_every_path_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_workflow_parameter_that_is_named_exists() -> None:
    listed = subprocess.run(
        [sys.executable, str(ROOT / "workflows" / "submit.py"), "--list"], capture_output=True, text=True, check=True
    ).stdout
    known = set(re.findall(r"-p ([\w-]+)=", listed))
    named = set(re.findall(r"-p (?:[a-z]+\.)?([\w-]+)=", README))
    assert named
    assert named <= known


def test_every_flag_that_is_named_exists() -> None:
    for program in ("workflows/submit.py", "cron/deploy.py", "tests/benchmarks/models.py"):
        told = subprocess.run(
            [sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in commands():
            if program in command:
                flags = {part for part in shlex.split(command.partition("|")[0]) if part.startswith("-")}
                assert all(flag in told for flag in flags), command


def test_every_image_that_runs_on_one_machine_is_carried_there() -> None:
    found = re.search(r"kind load docker-image recommender-\{(.*?)\}:", README)
    assert found
    workflows = (ROOT / "tests" / "workflows" / "golden").glob("*.yaml")
    rendered = [*workflows, ROOT / "tests" / "containers" / "kubernetes" / "golden" / "kind.yaml"]
    run = {name for path in rendered for name in re.findall(r"image: recommender-([\w-]+):", path.read_text())}
    assert set(found[1].split(",")) == run


def test_the_test_command_is_the_one_that_the_check_runs() -> None:
    assert re.search(r"<!-- test-command -->\n```sh\npytest\n```", README)
