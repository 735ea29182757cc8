"""When a candidate is good enough, read from flags. Imports no array library, so that a help text stays quick."""

from __future__ import annotations

from dataclasses import dataclass

from steps.runtime.errors import UsageError
from steps.runtime.flags import number

METRICS = ("ndcg", "recall", "precision", "map", "hit_rate")
"""What can decide: the metrics that have one value a user."""
ONLINE_METRICS = {
    "ndcg": "what was clicked or bought counts more the higher it stood; 1 where it always stood at the top",
    "hit_rate": "the share of the lists shown of which something was bought",
    "ctr": "the share of the places shown that were clicked",
}
"""What is measured with real users, and what it means."""


@dataclass(frozen=True)
class Rules:
    """The gate's thresholds."""

    metric: str
    k: int
    tolerance: float
    """How much worse than the live model, as a share of it, is still not worse."""
    floor: tuple[str, int, float] | None = None
    """A metric, its k and a value that alone is enough."""


def parse_metric(text: str) -> tuple[str, int]:
    """`ndcg@10` → the metric's name and k."""
    name, at, k = text.partition("@")
    if name not in METRICS or not at or not k.isdecimal() or not 1 <= int(k) <= 1000:
        allowed = ", ".join(f"{metric}@10" for metric in METRICS)
        raise UsageError(f"{text!r} is not a metric; allowed are {allowed}, each with a k from 1 to 1000")
    return name, int(k)


def read_rules(metric: str, tolerance: str, floor: str) -> Rules:
    """Rules from the flags of the same names."""
    name, k = parse_metric(metric)
    wanted = None
    if floor:
        text, equals, value = floor.partition("=")
        if not equals:
            raise UsageError(f"--min-metric is {floor!r}: write NAME@K=VALUE, such as recall@10=0.05")
        wanted = (*parse_metric(text), number("--min-metric", value, 0, 1))
    return Rules(name, k, number("--tolerance", tolerance, 0, 1), wanted)
