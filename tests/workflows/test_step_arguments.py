"""Every template's arguments are flags that its program has."""

from __future__ import annotations

import importlib
import re

import pytest

from workflows.catalog import DESCRIPTIONS, build

TEMPLATES = [
    pytest.param(template, id=f"{name}-{template['name']}")
    for name in DESCRIPTIONS
    for template in build(name)["spec"]["templates"]
    if "container" in template
]


def filled(text, value):
    return re.sub(r"\{\{[^}]*\}\}", value, text)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_program_reads_the_arguments_of_its_template(template):
    python, module_flag, module = template["container"]["command"]
    assert (python, module_flag) == ("python", "-m")
    program = importlib.import_module(module)
    parser = program.parser()
    given = template["container"]["args"]
    flags = parser.parse_args([filled(word, "1") for word in given])
    for word in given:
        flag, equals, value = word.partition("=")
        read = getattr(flags, flag.removeprefix("--").replace("-", "_"))
        # A flag without a value means yes, or has a value for that case.
        assert str(read) == filled(value, "1") if equals else read, f"{flag} did not arrive"


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_empty_value_is_taken_by_every_flag(template):
    program = importlib.import_module(template["container"]["command"][2])
    program.parser().parse_args([filled(word, "") for word in template["container"]["args"]])


def test_a_misspelt_flag_would_be_noticed():
    program = importlib.import_module("steps.train")
    with pytest.raises(Exception, match="modle"):
        program.parser().parse_args(["--snapshot=s", "--model=als", "--modle=als"])
