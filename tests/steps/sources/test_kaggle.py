"""A competition is fetched through the API as Kaggle serves it, here from a server on this machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.runtime.errors import BadDataError, UsageError
from steps.sources.kaggle import Competition

Open = Callable[..., Any]
HM = "h-and-m-personalized-fashion-recommendations"
ROWS = 10_000
FILES = {
    "transactions_train.csv": b"t_dat,customer_id,article_id,price,sales_channel_id\n"
    + b"2020-01-01,a,0000000001,0.1,2\n" * ROWS,
    "customers.csv": b"customer_id,age\na,30\nb,40\n",
    "articles.csv": b"article_id,prod_name\n0000000001,Socks\n",
}


def packed(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(name, data)
    return stream.getvalue()


@pytest.fixture
def kaggle(web: Any) -> Any:
    """Kaggle's ways: a login, a redirection to a signed address elsewhere, large files as archives."""
    web.login = ("me", "key")
    for name, data in FILES.items():
        web.redirects[f"/api/competitions/data/download/{HM}/{name}"] = f"/signed/{name}?signature=x"
        web.files[f"/signed/{name}"] = packed(name, data) if name == "transactions_train.csv" else data
    return web


@pytest.fixture
def environ(web: Any) -> dict[str, str]:
    return {"KAGGLE_API_URL": f"{web.address}/api/", "KAGGLE_USERNAME": "me", "KAGGLE_KEY": "key"}


def test_the_h_and_m_competition_is_fetched_without_its_pictures(
    kaggle: Any, opened: Open, environ: dict[str, str]
) -> None:
    found = opened(f"kaggle:{HM}", environ=environ)
    assert found.rows == [("a", "0000000001", 1.0, "2020-01-01")] * ROWS
    assert found.clean.items.rows() == [("0000000001", "Socks")]
    assert found.clean.users["id"].to_list() == ["a", "b"]
    assert found.about == f"kaggle:{HM} (the H&M competition's format)"
    assert not any("/list/" in path for path, _ in kaggle.asked)


def test_a_broken_download_goes_on_and_the_archive_is_whole(kaggle: Any, opened: Open, environ: dict[str, str]) -> None:
    kaggle.break_after = [200_000]
    assert opened(f"kaggle:{HM}", environ=environ).pairs == [("a", "0000000001")] * ROWS
    resumed = [headers["Range"] for _, headers in kaggle.asked if "Range" in headers]
    assert resumed[0] == f"bytes={3 * (1 << 16)}-"


def test_an_archive_whose_check_sum_is_wrong_is_bad_data(kaggle: Any, opened: Open, environ: dict[str, str]) -> None:
    data = bytearray(kaggle.files["/signed/transactions_train.csv"])
    data[100] ^= 1
    kaggle.files["/signed/transactions_train.csv"] = bytes(data)
    with pytest.raises(BadDataError, match=r"transactions_train\.csv is no whole zip archive"):
        opened(f"kaggle:{HM}", environ=environ)


def test_the_tables_of_another_competition_are_listed_page_by_page(
    web: Any, opened: Open, environ: dict[str, str]
) -> None:
    base = "/api/competitions/data"
    pages = {
        f"{base}/list/shop": {"files": [{"name": "picture.jpg"}, {"name": "shop/items.csv"}], "nextPageToken": "2"},
        f"{base}/list/shop?pageToken=2": {"files": [{"name": "sales.zip"}], "nextPageToken": ""},
    }
    web.files = {name: json.dumps(page).encode() for name, page in pages.items()}
    web.files[f"{base}/download/shop/shop%2Fitems.csv"] = b"id,name\nx,Pan\n"
    web.files[f"{base}/download/shop/sales.zip"] = packed("sales.csv", b"user,item\na,x\n")
    found = opened("kaggle:shop", environ=environ)
    assert found.pairs == [("a", "x")]
    assert found.clean.items.rows() == [("x", "Pan")]


def test_the_older_answer_a_bare_list_is_understood(web: Any, opened: Open, environ: dict[str, str]) -> None:
    web.files["/api/competitions/data/list/shop"] = b'[{"name": "sales.csv"}]'
    web.files["/api/competitions/data/download/shop/sales.csv"] = b"user,item\na,x\n"
    assert opened("kaggle:shop", environ=environ).pairs == [("a", "x")]


def test_a_competition_without_tables_is_bad_data(web: Any, opened: Open, environ: dict[str, str]) -> None:
    web.files["/api/competitions/data/list/shop"] = b'{"files": [{"name": "picture.jpg"}]}'
    with pytest.raises(BadDataError, match="lists no CSV, Parquet or zip file among 1 files"):
        opened("kaggle:shop", environ=environ)


def test_some_files_of_a_competition_can_be_named(web: Any, opened: Open, environ: dict[str, str]) -> None:
    web.files["/api/competitions/data/download/shop/b.csv"] = b"user,item\na,x\n"
    assert opened("kaggle:shop/b.csv", environ=environ).pairs == [("a", "x")]
    assert Competition.parse("shop/a.csv, b.csv").files == ("a.csv", "b.csv")


def test_a_wrong_key_is_a_wrong_setting_and_stays_secret(
    kaggle: Any, opened: Open, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match=r"refuses access \(401\)") as error:
        opened(f"kaggle:{HM}", environ={**environ, "KAGGLE_KEY": "not-the-key"})
    assert "not-the-key" not in str(error.value) + caplog.text


def test_no_key_is_noticed_before_anything_is_asked(
    kaggle: Any, opened: Open, tmp_path: Path, environ: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="KAGGLE_USERNAME and KAGGLE_KEY"):
        opened(f"kaggle:{HM}", environ={**environ, "KAGGLE_KEY": "", "KAGGLE_CONFIG_DIR": str(tmp_path)})
    assert kaggle.asked == []


@pytest.mark.parametrize("text", ["", "a b", "../x", "-x"])
def test_what_is_no_competition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write kaggle:COMPETITION"):
        Competition.parse(text)
