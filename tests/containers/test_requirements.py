"""The pinned requirements of the images: whole, hashed, alike in all images, and what the programs import."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "containers" / "requirements"

# Imported in a function of code that other programs share, and reached by none but `train` and `batch_predict`.
ONLY_TRAIN_REACHES = {"tensorflow-cpu", "keras", "keras-rs", "llvmlite", "numba", "optuna", "threadpoolctl"}
# A model for comparison on one's own machine.
IN_NO_IMAGE = {"implicit"}
# Needed by a library at run time, without an import of ours.
IMPORTED_BY_OTHERS = {"connectorx", "pyarrow", "rich", "httptools", "uvloop"}
DISTRIBUTIONS = {"tensorflow": "tensorflow-cpu"}


def pins(group: str) -> dict[str, str]:
    text = (REQUIREMENTS / f"{group}.txt").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def asked_for(group: str) -> set[str]:
    """What a group's .in file names, with what it includes."""
    found: set[str] = set()
    for line in (REQUIREMENTS / f"{group}.in").read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found |= asked_for(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            found.add(canonicalize_name(Requirement(line).name))
    return found


@dataclass(frozen=True)
class Import:
    module: str
    lazy: bool
    """Inside a function: only a run that comes there needs it."""


def imports_of(tree: ast.AST, lazy: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            # `from steps.artifacts import names` may name a module or something in it.
            yield Import(module, lazy)
            yield from (Import(f"{module}.{alias.name}", lazy) for alias in node.names if module.startswith("steps"))
        elif isinstance(node, ast.Constant) and re.fullmatch(r"steps(\.\w+)+", str(node.value)):
            yield Import(str(node.value), True)  # a model family is imported by its name
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_of(node, lazy or inside)


@cache
def imports_of_module(module: str) -> tuple[Import, ...]:
    path = ROOT / Path(*module.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    source = next((file for file in files if file.is_file()), None)
    return tuple(imports_of(ast.parse(source.read_text(encoding="utf-8")))) if source else ()


def reached(program: str, *, lazily: bool) -> set[str]:
    """The distributions that a program imports, itself or through `steps`; with `lazily` also those in functions."""
    todo, seen, found = [f"steps.{program}"], set(), set()
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        for one in imports_of_module(module):
            if one.lazy and not lazily:
                continue
            top = one.module.partition(".")[0]
            if top == "steps":
                todo.append(one.module)
            elif top not in sys.stdlib_module_names:
                found.add(canonicalize_name(DISTRIBUTIONS.get(top, top)))
    return found


def test_no_file_says_where_packages_come_from(group: str) -> None:
    text = (REQUIREMENTS / f"{group}.txt").read_text(encoding="utf-8")
    assert not re.findall(r"https?:|file:|/|--index|--extra-index|--find-links|--trusted-host", text)


def test_every_pin_has_a_hash(group: str) -> None:
    text = (REQUIREMENTS / f"{group}.txt").read_text(encoding="utf-8")
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(group)) > 0
    for entry in entries:
        assert re.fullmatch(r"\S+==\S+( \\\n +--hash=sha256:[0-9a-f]{64})+\n", entry), entry.splitlines()[0]


def test_everything_asked_for_is_pinned(group: str) -> None:
    assert asked_for(group) <= pins(group).keys()


def test_a_package_has_one_version_in_all_images(group_of: dict[str, str]) -> None:
    versions: dict[str, set[str]] = {}
    for group in set(group_of.values()):
        for name, version in pins(group).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_pins_are_within_the_ranges_of_the_project(group: str, project: dict[str, object]) -> None:
    dependencies = [*project["dependencies"], *project["optional-dependencies"]["sql"]]
    ranges = {DISTRIBUTIONS.get(one.name, one.name): one.specifier for one in map(Requirement, dependencies)}
    assert asked_for(group) <= ranges.keys(), "an image needs what the project does not declare"
    outside = {name: pins(group)[name] for name in asked_for(group) & ranges.keys()}
    assert all(ranges[name].contains(version) for name, version in outside.items()), outside


def test_a_program_finds_all_it_imports_in_its_image(target: str, group_of: dict[str, str]) -> None:
    program, installed = target.replace("-", "_"), pins(group_of[target]).keys()
    if not (ROOT / "steps" / f"{program}.py").is_file():
        pytest.fail(f"the Dockerfile has a target {target}, but there is no steps/{program}.py")
    assert reached(program, lazily=False) <= installed
    assert reached(program, lazily=True) - ONLY_TRAIN_REACHES - IN_NO_IMAGE <= installed


def test_a_group_holds_nothing_that_none_of_its_programs_imports(group: str, group_of: dict[str, str]) -> None:
    programs = [target.replace("-", "_") for target, its_group in group_of.items() if its_group == group]
    used = set().union(*(reached(program, lazily=True) for program in programs))
    assert asked_for(group) - used - IMPORTED_BY_OTHERS == set()


def test_only_the_images_that_make_models_hold_tensorflow(target: str, group_of: dict[str, str]) -> None:
    assert ("tensorflow-cpu" in pins(group_of[target])) == (target in ("train", "blend"))


def test_there_is_an_image_for_every_program(group_of: dict[str, str]) -> None:
    programs = {path.stem.replace("_", "-") for path in (ROOT / "steps").glob("[a-z]*.py")}
    assert set(group_of) >= programs
