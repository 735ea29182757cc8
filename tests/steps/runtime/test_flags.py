from __future__ import annotations

import pytest

from steps.runtime.errors import UsageError
from steps.runtime.flags import number, whole_number, yes_or_no


def test_values_in_range_are_read() -> None:
    assert whole_number("--k", "12", 1, 100) == 12
    assert number("--share", "0.5", 0, 1) == 0.5
    assert yes_or_no("--again", "true") is True
    assert yes_or_no("--again", "false") is False


@pytest.mark.parametrize("text", ["", "many", "1.5", "0", "101"])
def test_a_wrong_whole_number_names_flag_and_value(text: str) -> None:
    with pytest.raises(UsageError, match="--k is"):
        whole_number("--k", text, 1, 100)


@pytest.mark.parametrize("text", ["", "much", "nan", "-0.1", "inf"])
def test_a_wrong_number_names_flag_and_value(text: str) -> None:
    with pytest.raises(UsageError, match="--share is"):
        number("--share", text, 0, 1)


def test_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(UsageError, match="'yes'"):
        yes_or_no("--again", "yes")
