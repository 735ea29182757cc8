"""The counts in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from steps.serving.asgi import Text
from steps.serving.histogram import upper
from steps.serving.live import Live
from steps.serving.statistics import Line, Statistics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds."""


def text(statistics: Statistics, live: Live) -> Text:
    return Text("\n".join([*_requests(statistics), *_versions(statistics), *_live(live, statistics), ""]), MEDIA_TYPE)


def _requests(statistics: Statistics) -> Iterator[str]:
    lines = statistics.lines()
    yield "# HELP recommender_requests_total Requests by path and outcome."
    yield "# TYPE recommender_requests_total counter"
    for path, line in lines.items():
        good = line.requests - line.refused - line.errors
        for outcome, count in (("answered", good), ("refused", line.refused), ("failed", line.errors)):
            yield f'recommender_requests_total{{path="{path}",outcome="{outcome}"}} {count}'
    yield "# HELP recommender_request_seconds How long requests took."
    yield "# TYPE recommender_request_seconds histogram"
    for path, line in lines.items():
        yield from _histogram(path, line)


def _histogram(path: str, line: Line) -> Iterator[str]:
    for bound in BOUNDS:
        count = sum(times for place, times in enumerate(line.times) if upper(place) <= bound)
        yield f'recommender_request_seconds_bucket{{path="{path}",le="{bound:g}"}} {count}'
    yield f'recommender_request_seconds_bucket{{path="{path}",le="+Inf"}} {line.requests}'
    yield f'recommender_request_seconds_sum{{path="{path}"}} {line.seconds:.6f}'
    yield f'recommender_request_seconds_count{{path="{path}"}} {line.requests}'


def _versions(statistics: Statistics) -> Iterator[str]:
    yield "# HELP recommender_answers_total Lists by the version that made them, or that could not."
    yield "# TYPE recommender_answers_total counter"
    for version, counts in statistics.versions().items():
        for kind, count in counts.items():
            yield f'recommender_answers_total{{version="{version}",kind="{kind}"}} {count}'


def _live(live: Live, statistics: Statistics) -> Iterator[str]:
    serving = live.serving
    yield "# HELP recommender_live_version The release that answers, 0 where there is none."
    yield "# TYPE recommender_live_version gauge"
    yield f"recommender_live_version {serving.live.version if serving else 0}"
    yield "# HELP recommender_canary_version The release that is tried beside it, 0 where there is none."
    yield "# TYPE recommender_canary_version gauge"
    yield f"recommender_canary_version {live.canary.version if live.canary else 0}"
    yield "# HELP recommender_following Whether the last look for a release went well."
    yield "# TYPE recommender_following gauge"
    yield f"recommender_following {int(not live.problem)}"
    yield "# HELP recommender_start_time_seconds When the server was started."
    yield "# TYPE recommender_start_time_seconds gauge"
    yield f"recommender_start_time_seconds {statistics.started:.3f}"
