"""The known formats, from files of their exact shape."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steps.runtime.errors import BadDataError, UsageError

Csv = Callable[..., Path]
Open = Callable[..., Any]


@pytest.fixture
def kubeflow(csv_file: Csv) -> Path:
    csv_file("customerId", "1553", "20400", "99", name="kubeflow/users.csv")
    return csv_file(
        "customerId,products", "1553,2|2|23", '20400,"7"', "1553,5", '1|2,"a b|c"', name="kubeflow/transactions.csv"
    ).parent


def test_the_kubeflow_example_has_one_purchase_for_each_product_in_a_list(kubeflow: Path, opened: Open) -> None:
    found = opened(kubeflow)
    assert found.pairs == [
        ("1553", "2"), ("1553", "2"), ("1553", "23"), ("1553", "5"), ("1|2", "a b"), ("1|2", "c"), ("20400", "7"),
    ]  # fmt: skip
    assert found.clean.users["id"].to_list() == ["1553", "1|2", "20400", "99"]
    assert "time" not in found.clean.purchases.columns
    assert found.about.endswith("(the Kubeflow example's format)")


def test_the_kubeflow_example_counts_lines_not_products_in_rejects(csv_file: Csv, opened: Open) -> None:
    found = opened(csv_file("customerId,products", "1,a||b", "2,", "3,c", "4,d,surplus", name="transactions.csv"))
    assert found.pairs == [("1", "a"), ("1", "b"), ("3", "c")]
    assert [(row, reason) for row, reason, _ in found.rejects] == [
        (1, "the item is missing"), (2, "the item is missing"), (4, "the line is not CSV"),
    ]  # fmt: skip


def test_a_transactions_file_of_another_make_is_read_by_its_columns(csv_file: Csv, opened: Open) -> None:
    path = csv_file("customer_id,product_id,date", "a,x,2024-01-01", name="transactions.csv")
    assert opened(path).rows == [("a", "x", 1.0, "2024-01-01")]


@pytest.fixture
def hundred_k(tmp_path: Path) -> Path:
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_bytes(b"196\t242\t3\t881250949\n186\t302\t4\t891717742\n196\t302\t1\t881250950\n")
    flags = "0|0|0|0|0|1|0|0|1" + "|0" * 10
    (folder / "u.item").write_bytes(
        f"242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M/title-exact?Kolya%20(1996)|{flags}\n"
        f"302|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/|{'0|' * 18}0\n".encode("latin-1")
    )
    (folder / "u.user").write_bytes(b"196|49|M|writer|55105\n186|39|F|executive|00000\n")
    (folder / "u1.base").write_bytes(b"1\t1\t5\t874965758\n")
    (folder / "README").write_bytes(b"SUMMARY & USAGE LICENSE\n")
    return folder


def test_movielens_100k_is_read_with_titles_genres_and_users(hundred_k: Path, opened: Open) -> None:
    found = opened(hundred_k)
    assert found.rows == [
        ("186", "302", 4.0, "1998-04-04T19:22:22"),
        ("196", "242", 3.0, "1997-12-04T15:55:49"),
        ("196", "302", 1.0, "1997-12-04T15:55:50"),
    ]
    assert found.clean.items.rows(named=True) == [
        {"id": "242", "name": "Kolya (1996)", "released": "24-Jan-1997", "genres": "Comedy|Drama"},
        {"id": "302", "name": "Misérables, Les (1995)", "released": "01-Jan-1995", "genres": ""},
    ]
    assert found.clean.users.rows() == [("186", "39", "F", "executive", "00000"), ("196", "49", "M", "writer", "55105")]


def test_movielens_100k_is_found_by_its_file_alone_and_in_an_archive(
    hundred_k: Path, opened: Open, tmp_path: Path
) -> None:
    whole = opened(hundred_k)
    alone = opened(hundred_k / "u.data")
    assert alone.rows == whole.rows
    assert alone.clean.items.equals(whole.clean.items)
    archive = Path(shutil.make_archive(str(tmp_path / "ml-100k"), "zip", tmp_path, "ml-100k"))
    assert opened(archive).clean.items.equals(whole.clean.items)


def test_movielens_1m_is_read_with_titles_in_latin_1(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"1::1193::5::978300760\n2::661::3.5::978302109\nbroken\n\n")
    (tmp_path / "movies.dat").write_bytes('1193::Cité: "One" (1995)::Adventure|Sci-Fi\n661::Two::\n'.encode("latin-1"))
    (tmp_path / "users.dat").write_bytes(b"1::F::1::10::48067\n")
    found = opened(tmp_path)
    assert found.rows == [("1", "1193", 5.0, "2000-12-31T22:12:40"), ("2", "661", 3.5, "2000-12-31T22:35:09")]
    assert found.clean.items.rows() == [("1193", 'Cité: "One" (1995)', "Adventure|Sci-Fi"), ("661", "Two", "")]
    assert found.clean.users.rows() == [("1", "F", "1", "10", "48067"), ("2", None, None, None, None)]
    assert found.rejects == [(3, "the item is missing", None)]


def test_movielens_latest_is_read_with_titles(csv_file: Csv, opened: Open) -> None:
    csv_file("movieId,title,genres", '1,"American President, The (1995)",Comedy|Drama', "2,Alone,(no genres listed)",
             name="ml/movies.csv")  # fmt: skip
    csv_file("userId,movieId,tag,timestamp", "1,1,funny,1445714994", name="ml/tags.csv")
    folder = csv_file("userId,movieId,rating,timestamp", "1,1,4.0,964982703", name="ml/ratings.csv").parent
    found = opened(folder)
    assert found.rows == [("1", "1", 4.0, "2000-07-30T18:45:03")]
    assert found.clean.items.rows() == [
        ("1", "American President, The (1995)", "Comedy|Drama"), ("2", "Alone", "(no genres listed)"),
    ]  # fmt: skip
    assert opened(folder / "ratings.csv").clean.items["name"].to_list()[0] == "American President, The (1995)"


def test_ratings_of_another_make_are_read_by_their_columns(csv_file: Csv, opened: Open) -> None:
    path = csv_file("user,isbn,rating", "a,034545104X,5", name="ratings.csv")
    assert opened(path).rows == [("a", "034545104X", 5.0, "")]


@pytest.fixture
def hm(csv_file: Csv) -> Path:
    csv_file("customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code",
             "00000dba,,,ACTIVE,NONE,49.0,52043e",
             "ffff,1.0,1.0,ACTIVE,Regularly,25.0,2973ab", name="hm/customers.csv")  # fmt: skip
    csv_file("article_id,product_code,prod_name,product_type_no,detail_desc",
             '0108775015,0108775,Strap top,253,"Jersey top, narrow"', "0663713001,0663713,Atlanta Push Body,283,",
             name="hm/articles.csv")  # fmt: skip
    csv_file("customer_id,article_id", "x,0706016001 0706016002", name="hm/sample_submission.csv")
    return csv_file(
        "t_dat,customer_id,article_id,price,sales_channel_id",
        "2018-09-20,00000dba,0663713001,0.050830508474576264,2",
        "2018-09-20,00000dba,0663713001,0.050830508474576264,2",
        "2020-09-22,0000aaaa,0108775015,0.03,1",
        name="hm/transactions_train.csv",
    ).parent


def test_the_h_and_m_competition_keeps_zeros_names_and_second_pieces(hm: Path, opened: Open) -> None:
    found = opened(hm)
    assert found.rows == [
        ("00000dba", "0663713001", 1.0, "2018-09-20"),
        ("00000dba", "0663713001", 1.0, "2018-09-20"),
        ("0000aaaa", "0108775015", 1.0, "2020-09-22"),
    ]
    assert found.clean.items.rows() == [
        ("0108775015", "Strap top", "0108775", "253", "Jersey top, narrow"),
        ("0663713001", "Atlanta Push Body", "0663713", "283", None),
    ]
    assert found.clean.users["id"].to_list() == ["00000dba", "0000aaaa", "ffff"]
    assert found.clean.users["age"].to_list() == ["49.0", None, "25.0"]


def test_the_h_and_m_competition_as_parquet_of_numbers_gets_its_zeros_back(
    hm: Path, opened: Open, tmp_path: Path
) -> None:
    folder = tmp_path / "parquet"
    folder.mkdir()
    for name in ("transactions_train", "articles"):
        pl.read_csv(hm / f"{name}.csv", schema_overrides={"article_id": pl.Int64}).write_parquet(
            folder / f"{name}.parquet"
        )
    shutil.copy(hm / "customers.csv", folder)
    assert opened(folder).rows == opened(hm).rows
    assert opened(folder).clean.items["id"].to_list() == ["0108775015", "0663713001"]


def test_the_h_and_m_competition_is_found_by_its_purchases_alone(hm: Path, opened: Open, tmp_path: Path) -> None:
    assert opened(hm / "transactions_train.csv").clean.items["name"].to_list() == ["Strap top", "Atlanta Push Body"]
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(hm / "transactions_train.csv", alone)
    assert opened(alone).clean.items.columns == ["id"]


def test_a_file_of_the_competition_with_other_columns_is_bad_data(csv_file: Csv, opened: Open) -> None:
    with pytest.raises(
        BadDataError, match=r"transactions_train.csv has no column 'customer_id'; it has 'user', 'item'"
    ):
        opened(csv_file("user,item", "a,b", name="transactions_train.csv"))


def test_articles_without_names_are_still_articles(csv_file: Csv, opened: Open) -> None:
    csv_file("article_id", "0000000001", name="hm/articles.csv")
    path = csv_file("t_dat,customer_id,article_id", "2020-01-01,a,0000000001", name="hm/transactions_train.csv")
    assert opened(path).clean.items.rows() == [("0000000001",)]


def test_named_columns_are_read_whatever_the_files_are_called(hundred_k: Path, csv_file: Csv, opened: Open) -> None:
    path = csv_file("userId,movieId,rating,timestamp", "1,2,4.0,964982703", name="ratings.csv")
    assert opened(path, columns="user=movieId,item=userId,weight=").rows == [("2", "1", 1.0, "2000-07-30T18:45:03")]


def test_every_table_of_a_folder_is_purchases_but_for_lists_of_users_and_items(csv_file: Csv, opened: Open) -> None:
    csv_file("customer;sku;bought_at", "a;x;2024-01-01", name="shop/2024-01.csv")
    csv_file("customer;sku;bought_at", "b;y;2024-02-01", name="shop/2024-02.csv")
    csv_file("sku,title,colour,name", "x,Pan,red,1", "z,Pot,blue,2", name="shop/products.csv")
    csv_file("id,city", "c,Rome", name="shop/customers.csv")
    csv_file("not a table", name="shop/.hidden.csv")
    folder = csv_file("about", name="shop/README.txt").parent
    found = opened(folder)
    assert found.rows == [("a", "x", 1.0, "2024-01-01"), ("b", "y", 1.0, "2024-02-01")]
    assert found.clean.items.columns == ["id", "name", "title", "colour"]
    assert found.clean.items["id"].to_list() == ["x", "y", "z"]
    assert found.clean.users.rows() == [("a", None), ("b", None), ("c", "Rome")]


def test_a_list_without_an_id_is_not_used_and_said(
    csv_file: Csv, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    csv_file("colour", "red", name="shop/items.csv")
    folder = csv_file("user,item", "a,x", name="shop/purchases.csv").parent
    assert opened(folder).clean.items.columns == ["id"]
    assert "items.csv has no column that looks like an id" in caplog.text


def test_a_single_file_called_items_is_purchases(csv_file: Csv, opened: Open) -> None:
    assert opened(csv_file("user,item", "a,x", name="items.csv")).pairs == [("a", "x")]


def test_files_with_different_columns_name_the_one_that_does_not_fit(csv_file: Csv, opened: Open) -> None:
    csv_file("user,item", "a,x", name="shop/1.csv")
    folder = csv_file("year,sales", "2024,5", name="shop/2.csv").parent
    with pytest.raises(
        UsageError, match=r"cannot tell which column of 2\.csv is the user and which the item: it has 'year', 'sales'"
    ):
        opened(folder)


def test_an_archive_without_tables_and_an_empty_folder_are_bad_data(tmp_path: Path, opened: Open) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("picture.jpg", b"1234")
    with pytest.raises(BadDataError, match=r"x\.zip holds no CSV or Parquet file"):
        opened(tmp_path / "x.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataError, match="empty holds no CSV or Parquet file"):
        opened(tmp_path / "empty")
