"""Answers requests from Kafka as the model server does, from no model: a process to be killed by tests.

Every item names the user who asked, so that a wrong answer is seen. A turn takes a while: a kill shall come between.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from steps.runtime.kafka_settings import KafkaSettings
from steps.serving.messages import Recommend, Recommendation, Scored
from steps.serving.streams import Streams

SECONDS = 0.03


def answer(asked: Sequence[Recommend]) -> list[Recommendation]:
    time.sleep(SECONDS)
    return [
        Recommendation(version=1, model="echo", known=True, items=[Scored(f"for {one.user}", 1.0)], user=one.user)
        for one in asked
    ]


if __name__ == "__main__":
    # Before there are threads, which would take it otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    told = KafkaSettings.from_environment(lambda name: os.environ.get(name, ""))
    with Streams(told, answer, most=int(sys.argv[1])):
        signal.sigwait([signal.SIGTERM])
