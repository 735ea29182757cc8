"""Objects of any bucket are purchases, on a real S3 where there is one."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from steps.clients.s3_store import S3Bucket
from steps.runtime.errors import TryAgainError, UsageError
from steps.runtime.settings import Settings
from steps.sources.s3 import Address

Open = Callable[..., Any]


@dataclass(frozen=True)
class Uploads:
    """A bucket of the test's own, full of files."""

    bucket: str
    environ: dict[str, str]
    put: Callable[[str, bytes], None]


@pytest.fixture
def uploads(s3_settings: Settings) -> Iterator[Uploads]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = S3Bucket.open(s3_settings, name, "").client
    client.make_bucket(name)

    def put(key: str, data: bytes) -> None:
        client.put_object(name, key, io.BytesIO(data), len(data))

    variables = ("S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "S3_CA_FILE")
    yield Uploads(name, {one: os.environ[one] for one in variables if one in os.environ}, put)
    for found in client.list_objects(name, recursive=True):
        client.remove_object(name, found.object_name)
    client.remove_bucket(name)


def test_an_object_is_purchases(uploads: Uploads, opened: Open) -> None:
    uploads.put("deep/in side/sales.csv", b"user,item\na,x\n")
    found = opened(f"s3://{uploads.bucket}/deep/in side/sales.csv", environ=uploads.environ)
    assert found.pairs == [("a", "x")]
    assert found.about == f"s3://{uploads.bucket}/deep/in side/sales.csv"


def test_an_object_at_the_top_of_the_bucket_is_found(uploads: Uploads, opened: Open) -> None:
    uploads.put("sales.csv", b"user,item\na,x\n")
    assert opened(f"s3://{uploads.bucket}/sales.csv", environ=uploads.environ).pairs == [("a", "x")]


@pytest.mark.parametrize("folder", ["shop", "shop/"])
def test_the_tables_directly_in_a_folder_belong_together(uploads: Uploads, opened: Open, folder: str) -> None:
    uploads.put("shop/users.csv", b"customerId\n1\n2\n")
    uploads.put("shop/transactions.csv", b"customerId,products\n1,a|b\n")
    uploads.put("shop/snapshots/s-1/users.parquet", b"not of this folder")
    uploads.put("shop/notes.md", b"not a table")
    found = opened(f"s3://{uploads.bucket}/{folder}", environ=uploads.environ)
    assert found.pairs == [("1", "a"), ("1", "b")]
    assert found.clean.users["id"].to_list() == ["1", "2"]


def test_a_whole_bucket_may_be_a_folder(uploads: Uploads, opened: Open) -> None:
    uploads.put("1.csv", b"user,item\na,x\n")
    uploads.put("2.csv", b"user,item\nb,x\n")
    assert opened(f"s3://{uploads.bucket}", environ=uploads.environ).pairs == [("a", "x"), ("b", "x")]


def test_nothing_there_is_a_wrong_flag(uploads: Uploads, opened: Open) -> None:
    with pytest.raises(UsageError, match="there is no such object, and no CSV or Parquet object below it"):
        opened(f"s3://{uploads.bucket}/nothing.csv", environ=uploads.environ)


def test_wrong_keys_are_a_wrong_setting(uploads: Uploads, opened: Open) -> None:
    with pytest.raises(UsageError, match="check the keys and what they may do"):
        opened(f"s3://{uploads.bucket}/x.csv", environ={**uploads.environ, "AWS_SECRET_ACCESS_KEY": "wrong-key"})


def test_a_service_that_is_not_there_may_be_there_later(opened: Open) -> None:
    environ = {"S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(TryAgainError, match="does not answer"):
        opened("s3://bucket/x.csv", environ=environ)


def test_no_keys_are_noticed_before_anything_is_asked(opened: Open) -> None:
    with pytest.raises(UsageError, match="needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        opened("s3://bucket/x.csv")
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "S3_ENDPOINT": "nonsense"}
    with pytest.raises(UsageError, match="S3_ENDPOINT is 'nonsense'"):
        opened("s3://bucket/x.csv", environ=environ)


@pytest.mark.parametrize("text", ["s3://", "s3:///x.csv", "s3://B/x", "s3://a_b/x"])
def test_what_is_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write s3://BUCKET/KEY"):
        Address.parse(text)
