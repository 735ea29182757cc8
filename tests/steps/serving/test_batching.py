"""What is asked at the same time is answered together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from steps.serving.asgi import RefusedError
from steps.serving.batching import Together


def double(numbers: Sequence[int]) -> list[int | Exception]:
    return [2 * number if number >= 0 else ValueError(f"{number} is less than nothing") for number in numbers]


def test_what_comes_in_one_turn_is_one_batch_and_everybody_gets_his_own() -> None:
    batches = []

    def answer(numbers: Sequence[int]) -> list[int | Exception]:
        batches.append(len(numbers))
        return double(numbers)

    async def ask() -> list[int]:
        together = Together(answer, seconds=60, most=4)
        return await asyncio.gather(*(together.ask(number) for number in range(10)))

    assert asyncio.run(ask()) == [2 * number for number in range(10)]
    assert batches == [4, 4, 2]


def test_a_single_question_does_not_wait_for_others() -> None:
    async def ask() -> int:
        return await Together(double, seconds=60, most=4).ask(21)

    assert asyncio.run(ask()) == 42


def test_what_one_may_not_have_does_not_keep_the_others_from_theirs() -> None:
    async def ask() -> list[object]:
        together = Together(double, seconds=60, most=4)
        return await asyncio.gather(*(together.ask(number) for number in (1, -1, 2)), return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (first, third) == (2, 4)
    assert str(second) == "-1 is less than nothing"


def test_when_all_fails_everybody_is_told() -> None:
    def broken(numbers: Sequence[int]) -> list[int | Exception]:
        raise RuntimeError("no model")

    async def ask() -> list[object]:
        together = Together(broken, seconds=60, most=4)
        return await asyncio.gather(*(together.ask(number) for number in range(6)), return_exceptions=True)

    assert [str(one) for one in asyncio.run(ask())] == ["no model"] * 6


def test_what_has_waited_too_long_is_refused_and_not_calculated() -> None:
    asked = []

    def slow(numbers: Sequence[int]) -> list[int | Exception]:
        asked.extend(numbers)
        time.sleep(0.2)
        return double(numbers)

    async def ask() -> list[object]:
        together = Together(slow, seconds=0.1, most=1)
        return await asyncio.gather(*(together.ask(number) for number in range(3)), return_exceptions=True)

    first, *others = asyncio.run(ask())
    assert first == 0
    assert all(isinstance(one, RefusedError) and one.status == 503 for one in others)
    assert asked == [0]


def test_who_has_gone_is_not_calculated_for() -> None:
    asked = []

    def answer(numbers: Sequence[int]) -> list[int | Exception]:
        asked.extend(numbers)
        return double(numbers)

    async def ask() -> int:
        together = Together(answer, seconds=60, most=4)
        gone, there = together.ask(1), together.ask(2)
        gone.cancel()
        return await there

    assert asyncio.run(ask()) == 4
    assert asked == [2]


@pytest.mark.parametrize("error", [KeyError("x"), RefusedError(503, "later")])
def test_an_error_is_handed_on_as_it_is(error: Exception) -> None:
    async def ask() -> int:
        return await Together(lambda numbers: [error], seconds=60, most=4).ask(1)  # type: ignore[arg-type,return-value]

    with pytest.raises(type(error)):
        asyncio.run(ask())
