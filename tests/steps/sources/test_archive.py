"""Archives are unpacked whole and checked, and only into their folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from steps.runtime.errors import BadDataError, TryAgainError
from steps.sources import archive


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "shop.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("shop/", b"")
        file.writestr("shop/a.csv", b"user,item\n" + b"u,i\n" * 100)
        file.writestr("__MACOSX/shop/._a.csv", b"junk")
        file.writestr("shop/readme.txt", b"words")
        file.writestr("shop/image.png", b"pixels")
    return path


def unpacked(path: Path, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    archive.unpack(path, folder, path.name)
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())


def test_only_tables_are_unpacked(packed: Path, tmp_path: Path) -> None:
    assert archive.is_zip(packed)
    assert unpacked(packed, tmp_path / "to") == ["shop/a.csv"]


@pytest.mark.parametrize("damage", ["flip", "cut", "text"])
def test_a_damaged_archive_is_bad_data(packed: Path, tmp_path: Path, damage: str) -> None:
    data = packed.read_bytes()
    broken = {
        "flip": data.replace(b"u,i\nu,i\n", b"u,i\nu,j\n", 1),
        "cut": data[: len(data) // 2],
        "text": b"PK\x03\x04 and nothing more",
    }
    packed.write_bytes(broken[damage])
    with pytest.raises(BadDataError, match=r"shop\.zip is no whole zip archive"):
        unpacked(packed, tmp_path / "to")


@pytest.mark.parametrize("name", ["../out.csv", "/out.csv", "a/../../out.csv", "a\\..\\out.csv"])
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo(name), b"user,item\n")
    with pytest.raises(BadDataError, match="leads out of the archive"):
        unpacked(path, tmp_path / "to")
    assert not (tmp_path / "out.csv").exists()


def test_an_archive_that_does_not_fit_on_the_disk_is_not_begun(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 100

    monkeypatch.setattr(archive.shutil, "disk_usage", lambda folder: Full)
    with pytest.raises(TryAgainError, match="unpacks to 0 MiB"):
        unpacked(packed, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())
