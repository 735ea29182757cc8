from __future__ import annotations

import subprocess
import sys

import pytest

from steps.models import families
from steps.runtime.errors import UsageError


@pytest.mark.parametrize("text", ["als,popularity", '["als", "popularity"]', " als , popularity "])
def test_names_are_read_as_a_list_or_as_json(text: str) -> None:
    assert families.parse_names(text) == ["als", "popularity"]


@pytest.mark.parametrize(("text", "said"), [("", "no model"), ("als,als", "twice"), ("svd", "als, deep_cf, ease, ")])
def test_wrong_names_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        families.parse_names(text)


def test_settings_of_other_families_are_left_to_them() -> None:
    assert families.settings_of("als", "als.factors=8, als.alpha=2.5") == {"factors": 8, "alpha": 2.5}
    assert families.settings_of("popularity", "als.factors=8") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("factors=8", "MODEL.NAME=VALUE"),
        ("als.factors", "MODEL.NAME=VALUE"),
        ("svd.factors=8", "als, deep_cf, ease, "),
        ("als.rank=8", "factors, regularization, alpha, unobserved"),
        ("als.factors=many", "type int"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        families.check_settings(["als"], text)


def test_naming_the_families_imports_no_framework() -> None:
    code = (
        "import sys; from steps.models import families; families.parse_names('als,popularity');"
        "families.check_settings(list(families.FAMILIES), 'als.factors=3');"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'implicit', 'pandas', 'polars')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
