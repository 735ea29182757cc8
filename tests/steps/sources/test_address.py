"""An address says by its beginning what it is; one that is wrong is told what it may be."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steps.runtime.errors import TryAgainError, UsageError
from steps.sources import folder

Csv = Callable[..., Path]
Open = Callable[..., Any]


def test_a_path_a_file_address_and_the_home_folder(
    csv_file: Csv, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = csv_file("user,item", "a,x", name="my shop/sales #1?.csv")
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.chdir(path.parent)
    for address in (
        path,
        f"file:{path}",
        f"file://{path}",
        path.name,
        f"file:{path.name}",
        f"~/{path.name}",
        f" {path} ",
    ):
        assert opened(address).pairs == [("a", "x")]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ftp://host/x.csv", "--source begins with ftp://; it may be demo:, a path"),
        ("  ", "--source is empty; it may be demo:, a path"),
        ("/no/such/file.csv", "--source /no/such/file.csv: there is no such file or folder"),
        ("/dev/null", "--source /dev/null is neither a file nor a folder"),
        ("http:///x.csv", "write https://HOST/PATH"),
        ("https://me:word@host/x.csv", "--source has a login in it"),
        ("demo:size=5", "--source demo: has no option 'size=5'"),
    ],
)
def test_a_wrong_address_is_told_what_it_may_be(opened: Open, address: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        opened(address)
    assert sentence in str(error.value)
    assert "word" not in str(error.value)


def test_columns_are_not_for_the_demo(opened: Open) -> None:
    with pytest.raises(UsageError, match="--columns is for files and queries"):
        opened("demo:", columns="user=a")


def test_a_file_on_the_web_is_fetched_and_removed_afterwards(
    web: Any, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    web.files["/shop/sales.csv"] = b"user,item\na,x\n"
    found = opened(f"{web.address}/shop/sales.csv?signature=secret")
    assert found.pairs == [("a", "x")]
    assert found.about == f"{web.address}/shop/sales.csv?…"
    assert list(tmp_path.iterdir()) == []


def test_an_archive_on_the_web_is_told_by_its_content(web: Any, opened: Open, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("ml/ratings.csv", "userId,movieId,rating,timestamp\n1,2,4.0,964982703\n")
        archive.writestr("ml/movies.csv", "movieId,title,genres\n2,Two,Comedy\n")
    web.files["/"] = (tmp_path / "x").read_bytes()
    assert opened(f"{web.address}/").clean.items.rows() == [("2", "Two", "Comedy")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_a_wrong_flag(csv_file: Csv, opened: Open) -> None:
    path = csv_file("user,item", "a,x")
    path.chmod(0)
    with pytest.raises(UsageError, match="cannot read --source"):
        opened(path)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(PermissionError(13, "Permission denied", "f"), UsageError), (OSError(5, "I/O error", "f"), TryAgainError)],
)
def test_a_disk_that_fails_is_one_sentence(
    csv_file: Csv, opened: Open, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[Exception]
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(folder, "open_table", fail)
    with pytest.raises(kind, match=r"cannot read --source .*: (Permission denied|I/O error) \(f\)"):
        opened(csv_file("user,item", "a,x"))


def test_who_reads_no_bucket_does_not_wait_for_its_client() -> None:
    code = "import steps.sources.address, sys; sys.exit('minio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
