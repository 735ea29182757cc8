"""The answer to a query is read like a table, from SQLite and from a real PostgreSQL; passwords stay secret."""

from __future__ import annotations

import importlib.util
import os
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from steps.runtime.errors import BadDataError, TryAgainError, UsageError
from steps.runtime.secret import Secret
from steps.sources import sql
from steps.sources.columns import Columns
from steps.sources.logins import Logins
from steps.sources.sql import Database

Open = Callable[..., Any]
needs_connectorx = pytest.mark.skipif(
    importlib.util.find_spec("connectorx") is None, reason="ConnectorX is not installed: pip install '.[sql]'"
)


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as database:
        database.execute("create table sales (buyer text, sku integer, bought_at text, pieces real)")
        rows = [("a", 7, "2024-01-31", 2.0), ("b", 8, "2024-02-01", 1.5), ("", 9, "2024-02-01", 1.0)]
        database.executemany("insert into sales values (?, ?, ?, ?)", rows)
    database.close()
    return path


@needs_connectorx
def test_a_query_to_sqlite_is_purchases(sqlite: Path, opened: Open) -> None:
    found = opened(f"sqlite://{sqlite}", query="select buyer, sku as item, bought_at, pieces as weight from sales")
    assert found.rows == [("a", "7", 2.0, "2024-01-31"), ("b", "8", 1.5, "2024-02-01")]
    assert found.rejects == [(3, "the user is missing", "")]


@needs_connectorx
def test_a_file_of_sqlite_may_be_named_from_here(sqlite: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sqlite.parent)
    query = "select buyer, sku from sales where buyer <> ''"
    assert opened("sqlite:///shop.db", query=query).pairs == [("a", "7"), ("b", "8")]


def test_a_file_of_sqlite_that_is_missing_is_not_made(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        opened(f"sqlite://{tmp_path}/nothing.db", query="select 1")
    assert not list(tmp_path.iterdir())


@needs_connectorx
def test_a_query_without_a_user_or_an_item_lists_its_columns(sqlite: Path, opened: Open) -> None:
    with pytest.raises(UsageError, match="which column of the query's answer is the item: it has 'buyer', 'pieces'"):
        opened(f"sqlite://{sqlite}", query="select buyer, pieces from sales")


@needs_connectorx
def test_a_query_that_the_database_refuses_is_one_sentence(sqlite: Path, opened: Open) -> None:
    with pytest.raises(UsageError, match=r"answers: .*no such table") as error:
        opened(f"sqlite://{sqlite}", query="select * from sails")
    assert "\n" not in str(error.value)


@needs_connectorx
def test_an_answer_without_rows_is_empty(sqlite: Path, opened: Open) -> None:
    with pytest.raises(BadDataError, match="has no purchases"):
        opened(f"sqlite://{sqlite}", query="select buyer, sku from sales where buyer = 'nobody'")


@pytest.mark.parametrize(
    "address",
    ["postgresql://me:word@host/shop", "postgres://:word@host/shop", "postgresql://host/shop?password=word"],
)
def test_a_password_in_the_address_is_refused_and_not_repeated(opened: Open, address: str) -> None:
    with pytest.raises(UsageError, match="give it as PGPASSWORD or SQL_PASSWORD") as error:
        opened(address, query="select 1")
    assert "word@" not in str(error.value)
    assert "=word" not in str(error.value)


@pytest.mark.parametrize("address", ["postgresql://", "postgresql://host", "sqlite:///", "sqlite://host/x.db"])
def test_an_address_without_a_database_is_refused(opened: Open, address: str) -> None:
    with pytest.raises(UsageError, match=r"write (postgresql|sqlite)://"):
        opened(address, query="select 1")


def test_a_query_belongs_to_a_database(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--query is for databases"):
        opened(tmp_path, query="select 1")
    with pytest.raises(UsageError, match="needs a --query"):
        opened("sqlite:///shop.db")


def test_a_server_that_is_not_there_may_be_there_later(opened: Open) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TryAgainError, match=f"the database at 127.0.0.1:{port} does not answer"):
        opened(f"postgresql://127.0.0.1:{port}/shop", query="select 1")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'recommender-pipeline\[sql\]'"):
        Database.parse("sqlite:///x").read("select 1", Columns(), Logins({}))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("db error: FATAL: password authentication failed for user me", UsageError),
        ("timed out waiting for connection: db error: FATAL: database shop does not exist", UsageError),
        ("timed out waiting for connection", TryAgainError),
        ("terminating connection due to administrator command", TryAgainError),
        ("cannot convert a value", BadDataError),
    ],
)
def test_what_the_driver_says_tells_whose_fault_it_is(text: str, kind: type[Exception]) -> None:
    assert type(sql._explain(text, "postgresql://host/shop", Secret(""))) is kind


def test_the_password_is_taken_out_of_what_the_driver_says() -> None:
    error = sql._explain("bad uri me:p%40ss and p@ss\nmore", "postgresql://host/shop", Secret("p@ss"))
    assert str(error) == "postgresql://host/shop answers: bad uri me:*** and *** more"


@dataclass(frozen=True)
class Server:
    """A real PostgreSQL."""

    address: str
    environ: dict[str, str]


@pytest.fixture
def postgres() -> Server:
    address, password = os.environ.get("POSTGRES_URL", ""), os.environ.get("PGPASSWORD", "")
    if not address:
        pytest.skip("no PostgreSQL: POSTGRES_URL not set (and PGPASSWORD)")
    pytest.importorskip("connectorx", reason="ConnectorX is not installed: pip install '.[sql]'")
    return Server(address, {"PGPASSWORD": password})


SALES = """
    select * from (values
        ('a', 1, timestamptz '2024-01-31 12:59:59+01', 2.50::numeric, 'buy', 'Pan'),
        ('b', 2, timestamptz '2024-02-01 00:00:00+00', 1.00::numeric, 'view', 'Pot'),
        (null, 3, timestamptz '2024-02-01 00:00:00+00', 1.00::numeric, 'buy', 'Lid')
    ) as sales (customer, sku, bought_at, quantity, event, product_name)
"""


def test_a_query_to_postgresql_is_purchases(postgres: Server, opened: Open) -> None:
    found = opened(
        postgres.address, columns="time=bought_at", events="buy=1,view=0.1", query=SALES, environ=postgres.environ
    )
    assert found.rows == [
        ("a", "1", 2.5, "2024-01-31T11:59:59"), ("b", "2", pytest.approx(0.1), "2024-02-01"),
    ]  # fmt: skip
    assert found.clean.items.rows() == [("1", "Pan"), ("2", "Pot")]
    assert found.rejects == [(3, "the user is missing", None)]


def test_many_rows_come_from_postgresql(postgres: Server, opened: Open) -> None:
    query = (
        "select n % 1000 as user, n % 77 as item, date '2024-01-01' + n % 365 as date from generate_series(1, 200000) n"
    )
    assert len(opened(postgres.address, query=query, environ=postgres.environ).clean.purchases) == 200_000


@pytest.mark.parametrize(
    ("query", "word"), [("selec 1", "syntax error"), ("select * from nothing_there", "does not exist")]
)
def test_a_query_that_postgresql_refuses_is_a_wrong_flag(postgres: Server, opened: Open, query: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        opened(postgres.address, query=query, environ=postgres.environ)
