"""Secrets come from the environment or from mounted files, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.runtime.errors import UsageError
from steps.sources.logins import Logins


def test_kaggle_by_environment() -> None:
    login = Logins({"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "word"}).kaggle()
    assert login.pair() == ("me", "word")
    assert "word" not in repr(login)


def test_kaggle_by_a_mounted_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("word\n")
    environ = {"KAGGLE_USERNAME": "me", "KAGGLE_KEY_FILE": str(tmp_path / "key")}
    assert Logins(environ).kaggle().pair() == ("me", "word")


def test_kaggle_by_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "kaggle.json").write_text('{"username": "me", "key": "word"}')
    assert Logins({"KAGGLE_CONFIG_DIR": str(tmp_path)}).kaggle().pair() == ("me", "word")
    named = {"KAGGLE_KEY_FILE": str(tmp_path / "kaggle.json"), "KAGGLE_USERNAME": "other"}
    assert Logins(named).kaggle().pair() == ("other", "word")


@pytest.mark.parametrize("text", ["{", '{"username": "me"}'])
def test_a_broken_kaggle_file_is_named_without_its_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "kaggle.json").write_text(text)
    with pytest.raises(UsageError, match=r"kaggle\.json is no kaggle\.json"):
        Logins({"KAGGLE_CONFIG_DIR": str(tmp_path)}).kaggle()


def test_a_named_file_that_is_missing_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"KAGGLE_KEY_FILE is '.*nothing': this file cannot be read"):
        Logins({"KAGGLE_KEY_FILE": str(tmp_path / "nothing")}).kaggle()


def test_the_password_of_a_database_has_two_names() -> None:
    assert Logins({"SQL_PASSWORD": "a", "PGPASSWORD": "b"}).sql_password().reveal() == "a"
    assert Logins({"PGPASSWORD": "b"}).sql_password().reveal() == "b"
    assert not Logins({}).sql_password()


def test_nothing_of_the_environment_is_in_a_repr() -> None:
    assert repr(Logins({"PGPASSWORD": "word"})) == "Logins(***)"
