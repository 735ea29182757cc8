from __future__ import annotations

from pathlib import Path

import pytest

from steps.runtime.errors import UsageError
from steps.runtime.settings import Settings

KEYS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "do-not-print"}


def test_an_empty_environment_means_a_folder_called_store() -> None:
    settings = Settings.from_environment({})
    assert not settings.on_s3
    assert settings.store_folder == Path("store").absolute()


@pytest.mark.parametrize("text", ["file:/data/shop", "file:///data/shop", "/data/shop"])
def test_a_folder_may_be_written_in_three_ways(text: str) -> None:
    assert Settings.from_environment({"STORE": text}).store_folder == Path("/data/shop")


def test_s3_needs_both_keys() -> None:
    assert Settings.from_environment({"STORE": "s3://", **KEYS}).on_s3
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY"):
        Settings.from_environment({"STORE": "s3://", "AWS_ACCESS_KEY_ID": "me"})


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"STORE": "gs://bucket"}, "gs://bucket"),
        ({"STORE": "s3://bucket/prefix"}, "DATA_BUCKET"),
        ({"STORE": "s3://", "S3_ENDPOINT": "minio:9000", **KEYS}, "minio:9000"),
        ({"STORE": "s3://", "S3_CA_FILE": "/nowhere.pem", **KEYS}, "/nowhere.pem"),
        ({"STORE_PREFIX": "../up"}, "../up"),
        ({"DATA_BUCKET": "Data"}, "Data"),
        ({"MODELS_BUCKET": "192.168.0.1"}, "192.168.0.1"),
        ({"MODELS_BUCKET": "a..b"}, "a..b"),
        ({"STORE": "s3://", "AWS_REGION": "some where", **KEYS}, "some where"),
        ({"RUN": "Upper Case"}, "Upper Case"),
        ({"SAVED_MODEL": "maybe"}, "SAVED_MODEL is 'maybe': true or false"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(variables: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        Settings.from_environment(variables)


SLOTS = {"SLOTS": "blue=http://blue:8501,green=http://green:8501"}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, False), (SLOTS, True), ({"SAVED_MODEL": "true"}, True), ({**SLOTS, "SAVED_MODEL": "false"}, False)],
)
def test_saved_models_are_for_slots_that_somebody_named(variables: dict[str, str], wanted: bool) -> None:
    assert Settings.from_environment(variables).saved_model is wanted


def test_a_file_store_without_a_folder_is_refused() -> None:
    with pytest.raises(UsageError, match="file:FOLDER"):
        _ = Settings.from_environment({"STORE": "file:"}).store_folder


def test_no_secret_appears_in_what_settings_print() -> None:
    settings = Settings.from_environment({"STORE": "s3://", **KEYS})
    assert "do-not-print" not in f"{settings} {settings!r} {settings.s3_secret_key} {[settings.s3_secret_key]}"
    assert settings.s3_secret_key.reveal() == "do-not-print"


def test_a_password_in_the_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="S3_ENDPOINT") as caught:
        Settings.from_environment({"STORE": "s3://", "S3_ENDPOINT": "http://me:hush@minio/path", **KEYS})
    assert "hush" not in str(caught.value)
