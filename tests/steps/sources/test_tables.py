"""Files of every usual encoding, separator and packing hold the same purchases; broken lines are kept apart."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steps.runtime.errors import BadDataError, UsageError
from steps.sources import tables

Csv = Callable[..., Path]
Open = Callable[..., Any]

TEXT = "user,item\r\nÄnne,Öl\r\n李,x\r\n"
PAIRS = [("Änne", "Öl"), ("李", "x")]


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.replace("李", "Li").replace("Ä", "A").replace("Ö", "O").encode("utf-16-le"),
        TEXT.replace("李", "Li").replace("Ä", "A").replace("Ö", "O").encode("utf-16-be"),
        gzip.compress(TEXT.encode(), mtime=0),  # the test has the same name in every process
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode(),
        TEXT.replace(",", "|").encode(),
        TEXT.replace("\r\n", "\n").rstrip().encode(),
        TEXT.replace("user,item", '"user, ""the"" one",item').encode(),
    ],
)
def test_the_same_purchases_in_any_encoding_separator_and_packing(tmp_path: Path, opened: Open, data: bytes) -> None:
    path = tmp_path / "purchases.csv"
    path.write_bytes(data)
    found = opened(path, columns='user=user, "the" one' if b'""the""' in data else "")
    plain = [("Anne", "Ol"), ("Li", "x")]
    assert found.pairs in (PAIRS, plain)
    assert found.rejects == []


def test_what_is_not_utf_8_is_read_as_windows_1252_and_said(
    csv_file: Csv, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    assert opened(csv_file("user,item", "Änne,5€", encoding="cp1252")).pairs == [("Änne", "5€")]
    assert "purchases.csv is not UTF-8: read as Windows-1252" in caplog.text


def test_bytes_that_windows_1252_lacks_are_read_as_latin_1(csv_file: Csv, opened: Open) -> None:
    assert opened(csv_file("user,item", "\xe4\x81,x", encoding="latin-1")).pairs == [("ä\x81", "x")]


def test_a_character_cut_in_two_by_a_chunk_is_still_utf_8(
    csv_file: Csv, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHUNK", 16)
    path = csv_file("user,item", "123äöüß€€€,x")
    found = tables.as_utf8(path, path.parent, "x")
    assert found == path


def test_half_of_a_utf_16_file_is_bad_data(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("user,item\na,b\n".encode("utf-16")[:-1])
    with pytest.raises(BadDataError, match=r"x\.csv begins like UTF-16 but is not"):
        opened(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "x.csv has no purchases: it is empty"),
        (b"\n\n", "x.csv has no purchases: its first line is empty"),
        (b"user,item\n", "has no purchases: it is empty"),
        (b'"user,item\n', "the first line of x.csv is not CSV"),
        (gzip.compress(b"user,item\na,b\n", mtime=0)[:-6], "x.csv is a broken gzip file"),
        (b"PAR1 and then nothing of the kind", "x.csv is a broken Parquet file"),
        (b'user,item\na,b\nc,"d\n', "x.csv has a quote in line 3 that does not end"),
    ],
)
def test_a_file_that_holds_no_purchases_is_one_sentence(
    tmp_path: Path, opened: Open, data: bytes, sentence: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    with pytest.raises(BadDataError) as error:
        opened(path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_lines_that_are_not_csv_are_rejected_and_the_others_are_read(csv_file: Csv, opened: Open) -> None:
    found = opened(
        csv_file(
            "user,item,time",
            "a,x,2024-01-01",
            "b,y,2024-01-02,surplus",
            'c,"z"z,2024-01-03',
            "d",
            "",
            'e,"two\nlines",2024-01-04',
            "f,w,never",
        )
    )
    assert found.rows == [("a", "x", 1.0, "2024-01-01"), ("e", "two\nlines", 1.0, "2024-01-04")]
    assert found.rejects == [
        (2, "the line is not CSV", "line 3: 4 fields, the header has 3"),
        (3, "the line is not CSV", "line 4: ',' expected after '\"'"),
        (4, "the item is missing", None),
        (7, "the time cannot be read", "never"),
    ]


def test_only_the_broken_one_of_several_files_is_read_line_by_line(
    csv_file: Csv, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    csv_file("user,item,time", "a,x,1/13/2024", name="shop/1.csv")
    csv_file("user,item,time", "b,x,1/2/2024,", "c,x,1/2/2024", name="shop/2.csv")
    folder = csv_file("user,item,time", "d,x,1/2/2024", name="shop/3.csv").parent
    found = opened(folder)
    assert [(user, time) for user, _, _, time in found.rows] == [
        ("a", "2024-01-13"), ("c", "2024-01-02"), ("d", "2024-01-02"),
    ]  # fmt: skip
    assert "2.csv has lines that are not CSV" in caplog.text
    assert "1.csv has" not in caplog.text
    assert "3.csv has" not in caplog.text


def test_parquet_keeps_its_types(tmp_path: Path, opened: Open) -> None:
    frame = pl.DataFrame({"user": [7, None], "item": ["0042", "x"], "rating": [2.5, 1.0]})
    frame.write_parquet(tmp_path / "any.name")
    found = opened(tmp_path / "any.name")
    assert found.rows == [("7", "0042", 2.5, "")]
    assert found.rejects == [(2, "the user is missing", None)]


def test_parquet_and_csv_give_the_same_purchases(tmp_path: Path, opened: Open) -> None:
    frame = pl.DataFrame({"user": [2, 1], "item": ["b", "a"], "time": ["2024-01-01", "2024-01-02"], "weight": [1, 2]})
    frame.write_csv(tmp_path / "x.csv")
    frame.with_columns(pl.col("time").str.to_datetime()).write_parquet(tmp_path / "x.parquet")
    assert opened(tmp_path / "x.csv").rows == opened(tmp_path / "x.parquet").rows


def test_a_broken_list_of_products_is_bad_data(csv_file: Csv, opened: Open) -> None:
    csv_file("user,item", "a,x", name="shop/purchases.csv")
    folder = csv_file("id,name", 'x,"quo"te', name="shop/items.csv").parent
    with pytest.raises(BadDataError, match=r"items\.csv cannot be read"):
        opened(folder)


def test_a_column_that_the_header_has_twice_is_not_chosen_by_chance(csv_file: Csv, opened: Open) -> None:
    path = csv_file("user,item,note,note", "a,x,1,2")
    assert opened(path).pairs == [("a", "x")]
    with pytest.raises(UsageError, match="more than one column"):
        opened(path, columns="weight=note")
