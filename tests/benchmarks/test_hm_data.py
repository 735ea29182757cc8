from __future__ import annotations

from pathlib import Path

import hm_data
import numpy as np
import polars as pl
import pytest

SIZE, SEED = hm_data.Size.of(0.003), 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("hm")
    assert hm_data.require(made, SIZE, SEED)
    return made


@pytest.fixture(scope="module")
def rows(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "transactions_train.csv", schema_overrides={"article_id": pl.String})


def test_the_three_files_have_the_sizes_and_the_ids_of_the_competition(folder: Path, rows: pl.DataFrame) -> None:
    customers = pl.read_csv(folder / "customers.csv")["customer_id"]
    articles = pl.read_csv(folder / "articles.csv", schema_overrides={"article_id": pl.String})
    assert (len(customers), articles.height, rows.height) == (4_116, 5_781, 95_365)
    assert rows.columns == ["t_dat", "customer_id", "article_id", "price", "sales_channel_id"]
    for ids, shape, used in (
        (customers, "^[0-9a-f]{64}$", rows["customer_id"]),
        (articles["article_id"], "^0[0-9]{9}$", rows["article_id"]),
    ):
        assert ids.str.contains(shape).all()
        assert ids.is_sorted()
        assert ids.n_unique() == len(ids)
        assert used.is_in(ids.implode()).all()
    assert articles["prod_name"].n_unique() == articles.height


def test_purchases_are_by_day_and_of_two_years(rows: pl.DataFrame) -> None:
    assert rows["t_dat"].is_sorted()
    assert rows["t_dat"].is_between(pl.lit("2018-09-20"), pl.lit("2020-09-22")).all()
    assert rows["t_dat"].n_unique() > 700


def test_few_buy_much_and_few_articles_are_bought_much(rows: pl.DataFrame) -> None:
    bought = rows.group_by("customer_id").len()["len"].to_numpy()
    assert 9 <= np.median(bought) <= 11
    assert 22 <= bought.mean() <= 25
    assert 150 <= np.quantile(bought, 0.99) <= 280
    assert bought.max() <= 2000
    sold = rows.group_by("article_id").len()["len"].sort(descending=True).to_numpy()
    assert 0.1 <= sold[: len(sold) // 100].sum() / sold.sum() <= 0.25
    assert 0.4 <= sold[: len(sold) // 10].sum() / sold.sum() <= 0.7


def test_an_article_is_bought_at_some_time_and_fades(rows: pl.DataFrame) -> None:
    day = pl.col("t_dat").str.to_date()
    spans = rows.group_by("article_id").agg(
        pl.len(), (day.quantile(0.9) - day.quantile(0.1)).dt.total_days().alias("days")
    )
    assert np.quantile(spans.filter(pl.col("len") >= 20)["days"].to_numpy(), 0.25) < 200


def test_the_same_scale_and_seed_are_the_same_purchases(folder: Path, tmp_path: Path) -> None:
    hm_data.require(tmp_path / "again", SIZE, SEED)
    hm_data.require(tmp_path / "other", SIZE, SEED + 1)
    one, again, other = (
        (where / "transactions_train.csv").read_bytes() for where in (folder, tmp_path / "again", tmp_path / "other")
    )
    assert one == again
    assert one != other


def test_whole_files_are_used_again_and_others_are_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(scale: str) -> str:
        hm_data.main(["--scale", scale, "--folder", str(tmp_path)])
        return capsys.readouterr().out

    assert "made in" in make("0.001")
    whole = (tmp_path / "customers.csv").read_bytes()
    assert "there already" in make("0.001")
    (tmp_path / "customers.csv").write_bytes(whole[:1000])
    assert "made in" in make("0.001")
    assert (tmp_path / "customers.csv").read_bytes() == whole
    assert "made in" in make("0.002")


def test_of_each_there_may_be_as_many_as_one_likes(tmp_path: Path) -> None:
    counts = ["--customers", "300", "--articles", "7", "--rows", "50000"]
    hm_data.main([*counts, "--folder", str(tmp_path)])
    rows = pl.read_csv(tmp_path / "transactions_train.csv")
    assert (rows.height, rows["article_id"].n_unique()) == (50_000, 7)
    assert 290 <= rows["customer_id"].n_unique() <= 300


@pytest.mark.parametrize("flags", [["--scale", "11"], ["--customers", "100", "--rows", "200000"], ["--rows", "1000"]])
def test_sizes_out_of_all_bounds_are_refused(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        hm_data.main([*flags, "--folder", str(tmp_path)])
    assert not list(tmp_path.iterdir())
