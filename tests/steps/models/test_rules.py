from __future__ import annotations

import pytest

from steps.models.rules import Rules, parse_metric, read_rules
from steps.runtime.errors import UsageError


def test_a_metric_is_read_with_its_k() -> None:
    assert parse_metric("recall@20") == ("recall", 20)


@pytest.mark.parametrize("text", ["", "ndcg", "ndcg@", "ndcg@0", "ndcg@x", "auc@10", "ndcg@1001", "ndcg@²"])
def test_a_wrong_metric_is_refused_with_the_allowed_ones(text: str) -> None:
    with pytest.raises(UsageError, match="ndcg@10"):
        parse_metric(text)


def test_rules_are_read_from_their_flags() -> None:
    assert read_rules("ndcg@5", "0.1", "") == Rules("ndcg", 5, 0.1, None)
    assert read_rules("ndcg@5", "0", "recall@20=0.5").floor == ("recall", 20, 0.5)


@pytest.mark.parametrize(
    ("tolerance", "floor"), [("2", ""), ("x", ""), ("0", "recall@10"), ("0", "recall=0.1"), ("0", "recall@10=2")]
)
def test_a_wrong_threshold_is_refused(tolerance: str, floor: str) -> None:
    with pytest.raises(UsageError):
        read_rules("ndcg@10", tolerance, floor)
