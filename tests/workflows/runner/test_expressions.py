"""The expressions, on values worked out by hand."""

from __future__ import annotations

import pytest

from workflows.runner.expressions import RESULTS, ExpressionError, dependencies, depends, retry, when


@pytest.mark.parametrize(("expression", "expected"), [
    ("true == true", True),
    ("false == true", False),
    ("yes == yes", True),
    ("yes != yes", False),
    ('"a b" == "a b"', True),
    ("'it''s' == 1 || true", None),
    (r"'it\'s' == 'it\'s'", True),
    ("'' == ''", True),
    ("1 == 1.0", True),
    ("2 < 10", True),
    ("'2' < '10'", False),
    ("-1 < 0", True),
    ("0.05 >= 0.05", True),
    ("!(1 == 2)", True),
    ("!true || true", True),
    ("true || false && false", True),
    ("(true || false) && false", False),
    ("a in (a, b)", True),
    ("c in ('a', 'b')", False),
    ("abc =~ '^a.c$'", True),
    ("abc !~ '^a.c$'", False),
    ("true", True),
    ("1 == '1'", False),
])  # fmt: skip
def test_when(expression, expected):
    if expected is None:
        with pytest.raises(ExpressionError):
            when(expression)
    else:
        assert when(expression) is expected


@pytest.mark.parametrize("expression", [
    "", "1 ==", "== 1", "(1 == 1", "1 == 1)", "text", "1 < text", "a-b == a-b", "1e-05 < 1", "@", "true &&", "1 in 1",
    "call(1) == 1", "true < false", "a b", "1 && true", "not (1 == 2)", "1 == 1 and 2 == 2", "1 == 1 or 1 == 2",
    "a in [a, b]", "asInt('1') == 1",
])  # fmt: skip
def test_when_refuses_what_argo_would_refuse(expression):
    with pytest.raises(ExpressionError):
        when(expression)


LAST = {"lastRetry.exitCode": "75", "lastRetry.status": "Failed", "lastRetry.duration": "1.5", "retries": "0"}


@pytest.mark.parametrize(("expression", "expected"), [
    ("lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [75, 137, 143]", True),
    ("asInt(lastRetry.exitCode) in [137, 143]", False),
    ("asInt(lastRetry.exitCode) in []", False),
    ("lastRetry.status == \"Failed\"", True),
    ("asInt(retries) < 1 && asFloat(lastRetry.duration) < 2", True),
    ("!(asInt(lastRetry.exitCode) == 75)", False),
    ("string(75) == lastRetry.exitCode", True),
    ("not (1 == 2) and 1 == 1 or 1 == 2", True),
])  # fmt: skip
def test_retry(expression, expected):
    assert retry(expression, LAST) is expected


@pytest.mark.parametrize("expression", [
    "lastRetry.nothing == 1", "asInt(lastRetry.status) == 1", "lastRetry.exitCode", "lastRetry.status =~ 'F.*'",
    "asInt(lastRetry.exitCode) in (75, 137)",
])  # fmt: skip
def test_retry_refuses_what_it_cannot_know(expression):
    with pytest.raises(ExpressionError):
        retry(expression, LAST)


@pytest.mark.parametrize(("expression", "true_results", "expected"), [
    ("a.Succeeded", {"a.Succeeded"}, True),
    ("a.Succeeded", {"a.Failed"}, False),
    ("a-1.Succeeded && b.Failed", {"a-1.Succeeded", "b.Failed"}, True),
    ("a", {"a.Skipped"}, True),
    ("a", {"a.Omitted"}, False),
    ("(a.Succeeded || a.Skipped) && !b.Failed", {"a.Skipped"}, True),
    ("(a.Succeeded || a.Skipped) && !b.Failed", {"a.Skipped", "b.Failed"}, False),
    ("a.AnySucceeded || b.AllFailed", {"b.AllFailed"}, True),
    ("a.Daemoned || a.Errored || a.Omitted", {"a.Errored"}, True),
])  # fmt: skip
def test_depends(expression, true_results, expected):
    assert depends(expression, lambda task, result: f"{task}.{result}" in true_results) is expected


def test_depends_takes_and_for_a_task_as_argo_does():
    assert dependencies("a.Succeeded and b.Succeeded") == {"a": {"Succeeded"}, "and": {""}, "b": {"Succeeded"}}
    with pytest.raises(ExpressionError):
        depends("a.Succeeded and b.Succeeded", lambda task, result: True)


def test_dependencies_names_tasks_and_results():
    found = dependencies("(a-1.Succeeded || a-1.Failed) && b && !c.AnySucceeded")
    assert found == {"a-1": {"Succeeded", "Failed"}, "b": {""}, "c": {"AnySucceeded"}}
    assert dependencies("") == {}


def test_all_results_of_argo_are_known():
    assert set(RESULTS) == {
        "Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed"
    }  # fmt: skip
