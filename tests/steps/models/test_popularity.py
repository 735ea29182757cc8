"""Two items: the first was bought four times long ago, the second three times of late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import choosing, evaluation, families, interactions, scorers
from steps.models.choosing import Limits, Validation
from steps.models.ids import UNKNOWN, IdTable
from steps.models.interactions import DAY, Details, History, Interactions
from steps.models.popularity import Popularity, PopularitySettings
from steps.runtime.errors import UsageError

Ids = Callable[[str, int], IdTable]
USERS = 8
STRANGER = np.array([UNKNOWN, USERS - 1], np.int32)
"""Nobody's code, and a user who bought nothing."""


@pytest.fixture
def bought(ids: Ids) -> Interactions:
    user, item = np.arange(7, dtype=np.int32), np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    time = np.array([0, 0, 0, 0, 20, 30, 30], np.int64) * DAY
    return shop(ids, user, item, np.ones(7, np.float32), time)


def shop(ids: Ids, user: np.ndarray, item: np.ndarray, weight: np.ndarray, time: np.ndarray | None) -> Interactions:
    nothing = sp.csr_matrix((0, 0), dtype=np.float32)
    details = Details(lambda: History(user, item, weight, time), lambda: nothing, lambda: nothing)
    return Interactions.of(ids("u", USERS), ids("i", 3), user, item, weight, details)


def test_without_a_half_life_every_purchase_counts_alike(bought: Interactions) -> None:
    scorer = Popularity().fit(bought).scorer
    assert scorer.score_all(STRANGER) == pytest.approx(np.tile([4 / 7, 3 / 7, 0], (2, 1)))


def test_with_one_a_purchase_counts_half_after_so_many_days(bought: Interactions) -> None:
    scorer = Popularity(PopularitySettings(half_life=10)).fit(bought).scorer
    old, late = 4 * 0.5**3, 0.5 + 2
    assert scorer.popularity == pytest.approx([old / (old + late), late / (old + late), 0])
    known = np.array([0], np.int32)
    assert scorer.score_all(known)[0] == pytest.approx(scorer.popularity), "whom it knows it shows the same"
    assert scorer.recommend(STRANGER, 1).items.tolist() == [[1], [1]]


@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_every_family_shows_strangers_what_is_popular_by_the_same_half_life(name: str, bought: Interactions) -> None:
    faded = families.make(name, "als.factors=2").fit(replace(bought, half_life=10.0)).scorer
    plain = families.make(name, "als.factors=2").fit(bought).scorer
    assert faded.recommend(STRANGER, 1).items.tolist() == [[1], [1]]
    assert plain.recommend(STRANGER, 1).items.tolist() == [[0], [0]]
    known = np.arange(7, dtype=np.int32)
    assert (faded.score_all(known) == plain.score_all(known)).all()


def test_a_dislike_is_no_purchase_and_purchases_in_parts_are_the_whole(
    ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactions, "AT_ONCE", 2)
    weight = np.array([1.0, -1.0, 2.0, 1.0, 1.0], np.float32)
    time = np.array([10, 10, 0, 10, 0], np.int64) * DAY
    found = shop(ids, np.arange(5, dtype=np.int32), np.array([0, 0, 1, 1, 2], np.int32), weight, time)
    assert replace(found, half_life=10.0).popularity.tolist() == [1.0, 2.0, 0.5]


def test_purchases_without_times_do_not_fade(ids: Ids) -> None:
    user, item = np.arange(3, dtype=np.int32), np.array([0, 0, 1], np.int32)
    found = shop(ids, user, item, np.ones(3, np.float32), None)
    assert replace(found, half_life=1.0).popularity.tolist() == [2, 1, 0]
    assert replace(found, half_life=1.0, details=None).popularity.tolist() == [2, 1, 0]


def test_what_faded_long_ago_is_still_a_number(bought: Interactions) -> None:
    scorer = Popularity(PopularitySettings(half_life=0.001)).fit(bought).scorer
    assert scorer.popularity == pytest.approx([0, 1, 0])


def test_the_validation_split_decides_how_fast_purchases_fade(bought: Interactions) -> None:
    def asked(wanted: int) -> Validation:
        later = sp.csr_matrix((np.ones(1, np.float32), ([7], [wanted])), (USERS, 3))
        held = evaluation.held_out(bought.matrix, later, 10, 7)
        return Validation(lambda worth: bought, held, "ndcg", 1)

    of_old = choosing.choose(Popularity(), [], asked(0), 7, Limits())
    of_late = choosing.choose(Popularity(), [], asked(1), 7, Limits())
    assert of_old.model.settings.half_life == 0
    assert of_late.model.settings.half_life == 14
    assert [trial.settings["half_life"] for trial in of_late.trials] == [0, 14, 180]
    given = choosing.choose(Popularity(PopularitySettings(1e6)), ["half_life"], asked(1), 7, Limits())
    assert given.model.settings.half_life == 1e6, "what somebody set stays"


def test_the_exported_model_answers_strangers_alike(bought: Interactions, tmp_path: Path) -> None:
    from steps.models.quiet_tensorflow import tf

    model = Popularity(PopularitySettings(half_life=10)).fit(bought)
    model.export(tmp_path, sp.csr_matrix(bought.matrix.shape, dtype=np.float32))
    loaded, _ = scorers.load(tmp_path / "factors")
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["recommend"]
    found = served(users=tf.constant(["nobody"]), k=tf.constant(2))
    assert found["scores"].numpy()[0] == pytest.approx(np.sort(loaded.popularity)[::-1][:2])
    assert [one.decode() for one in found["items"].numpy()[0]] == ["i001", "i000"]


@pytest.fixture
def grouped(ids: Ids) -> Interactions:
    """Everybody buys item 0 most; group 0 of three users buys item 1, group 1 item 2; u006 and u007 bought nothing."""
    user = np.array([0, 0, 1, 2, 3, 3, 4, 5, 5, 5], np.int32)
    item = np.array([0, 1, 1, 1, 0, 2, 0, 0, 0, 0], np.int32)
    plain = shop(ids, user, item, np.ones(10, np.float32), np.zeros(10, np.int64))
    groups = np.array([0, 0, 0, 1, UNKNOWN, UNKNOWN, 0, UNKNOWN], np.int32)
    return replace(plain, segment=groups, shrink=2.0)


def test_a_group_has_its_favourites_drawn_towards_everybodys(grouped: Interactions) -> None:
    overall = np.array([6, 3, 1]) / 10
    of_first, of_second = np.array([1, 3, 0]), np.array([1, 0, 1])
    assert grouped.favourites == pytest.approx(np.array([(of_first + 2 * overall) / 6, (of_second + 2 * overall) / 4]))
    far = replace(grouped, shrink=1e9).favourites
    assert far == pytest.approx(np.tile(overall, (2, 1)))
    assert replace(grouped, shrink=0.0).favourites == pytest.approx(np.array([of_first / 4, of_second / 2]))
    assert replace(grouped, segment=None).favourites is None


def test_the_favourites_of_a_group_fade_too(bought: Interactions) -> None:
    in_one = replace(bought, segment=np.zeros(USERS, np.int32), half_life=10.0)
    assert in_one.favourites is not None
    assert in_one.favourites[0] == pytest.approx(in_one.popularity / in_one.popularity.sum())


@pytest.mark.parametrize("name", ["popularity", "als", "ease", "item_knn"])
def test_who_bought_nothing_gets_what_the_own_group_buys(name: str, grouped: Interactions, tmp_path: Path) -> None:
    from steps.models.quiet_tensorflow import tf

    model = families.make(name, "als.factors=2").fit(grouped)
    asked = np.array([6, 7, UNKNOWN, 5], np.int32)
    found = model.recommend(asked, 3)
    assert found.known.tolist() == [False, False, False, True]
    assert grouped.favourites is not None
    assert found.items[:3].tolist() == [[1, 0, 2], [0, 1, 2], [0, 1, 2]]
    assert found.scores[0] == pytest.approx(np.sort(grouped.favourites[0])[::-1])
    items = np.array([1, 1, 1, 1], np.int32)
    assert model.score(asked, items)[:3] == pytest.approx([grouped.favourites[0, 1], 0.3, 0.3])
    assert model.score(asked[:1], np.array([UNKNOWN], np.int32)) == [0]
    plain = families.make(name, "als.factors=2").fit(replace(grouped, segment=None))
    assert (model.scorer.score_all(asked[3:]) == plain.scorer.score_all(asked[3:])).all(), (
        "whom it knows it serves alike"
    )

    model.export(tmp_path, sp.csr_matrix(grouped.matrix.shape, dtype=np.float32))
    loaded, _ = scorers.load(
        next(tmp_path / folder for folder in ("scorer", "factors") if (tmp_path / folder).exists())
    )
    again = loaded.recommend(asked, 3)
    assert again.items.tolist() == found.items.tolist()
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures
    users = tf.constant(["u006", "u007", "nobody"])
    told = served["recommend"](users=users, k=tf.constant(3))
    assert [[one.decode() for one in row] for row in told["items"].numpy()] == [
        ["i001", "i000", "i002"],
        ["i000", "i001", "i002"],
        ["i000", "i001", "i002"],
    ]
    assert told["scores"].numpy() == pytest.approx(found.scores[:3])
    pairs = served["predict"](users=users, products=tf.constant(["i001", "i001", "i001"]))
    assert pairs["predictions"].numpy() == pytest.approx(model.score(asked, items)[:3])


def test_arrays_of_before_there_were_groups_are_read(grouped: Interactions, tmp_path: Path) -> None:
    scorer = Popularity().fit(grouped).scorer
    scorer.save(tmp_path / "factors", grouped.matrix)
    for file in (tmp_path / "factors").glob("groups.*"):
        file.unlink()
    loaded, _ = scorers.load(tmp_path / "factors")
    assert loaded.recommend(np.array([6], np.int32), 1).items.tolist() == [[0]]


@pytest.mark.parametrize("days", [-1.0, 1e7, float("nan")])
def test_a_half_life_that_cannot_be_is_refused(days: float) -> None:
    with pytest.raises(UsageError, match=r"popularity\.half_life is"):
        PopularitySettings(half_life=days)
