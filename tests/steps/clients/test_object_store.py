"""One suite for both stores: what the pipeline relies on must hold in a folder and in S3 alike."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from steps.clients import checked
from steps.clients import folder_store as folder_module
from steps.clients.folder_store import FolderBucket
from steps.clients.object_store import (
    Bucket,
    FileRecord,
    ObjectExistsError,
    ObjectMissingError,
    Store,
    open_store,
)
from steps.runtime.errors import BadDataError, TryAgainError, UsageError
from steps.runtime.settings import Settings


@pytest.fixture
def bucket(store: Store) -> Bucket:
    return store.models


def test_what_was_put_is_read_back_and_replaced(bucket: Bucket) -> None:
    bucket.put("a/b", b"one")
    bucket.put("a/b", b"two")
    assert bucket.get("a/b") == b"two"


def test_a_missing_object_is_an_error_of_its_own(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissingError):
        bucket.get("nothing")
    with pytest.raises(ObjectMissingError):
        bucket.get_file("nothing", tmp_path / "x")
    with pytest.raises(ObjectMissingError):
        bucket.copy("nothing", "else")


def test_below_an_object_there_is_nothing(bucket: Bucket) -> None:
    bucket.put("runs/first.json", b"")
    assert bucket.list("runs/first.json/") == []


def test_create_refuses_a_key_that_is_taken_and_leaves_it(bucket: Bucket) -> None:
    bucket.create("releases/1.json", b"first")
    with pytest.raises(ObjectExistsError):
        bucket.create("releases/1.json", b"second")
    assert bucket.get("releases/1.json") == b"first"


def test_of_many_creators_exactly_one_succeeds(bucket: Bucket) -> None:
    def attempt(number: int) -> bool:
        try:
            bucket.create("releases/7.json", str(number).encode())
        except ObjectExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(32))) == 1


def test_a_listing_is_sorted_and_keeps_to_its_prefix(bucket: Bucket) -> None:
    for key in ("b/2", "a/1", "b/10", "bb/1"):
        bucket.put(key, key.encode())
    assert [entry.key for entry in bucket.list("b/")] == ["b/10", "b/2"]
    assert [entry.key for entry in bucket.list()] == ["a/1", "b/10", "b/2", "bb/1"]
    assert bucket.list("nowhere/") == []
    assert bucket.list("b/2")[0].size == 3


def test_a_listed_object_has_the_time_of_its_writing(bucket: Bucket) -> None:
    bucket.put("now", b"")
    assert abs(bucket.list("now")[0].modified - datetime.now(UTC)) < timedelta(minutes=5)


def test_existence_is_of_a_key_not_of_its_beginning(bucket: Bucket) -> None:
    bucket.put("a/manifest.json.old", b"")
    assert not bucket.exists("a/manifest.json")
    assert bucket.exists("a/manifest.json.old")


def test_deleting_twice_is_no_error(bucket: Bucket) -> None:
    bucket.put("a/b", b"")
    bucket.delete(["a/b"])
    bucket.delete(["a/b"])
    assert bucket.list() == []


def test_a_copy_has_the_content_and_survives_its_source(bucket: Bucket) -> None:
    bucket.put("a/b", b"content")
    bucket.copy("a/b", "c/d/e")
    bucket.delete(["a/b"])
    assert bucket.get("c/d/e") == b"content"


def test_a_folder_goes_up_and_comes_down_with_checksums(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.bin").write_bytes(bytes(range(256)))
    (source / "deep" / "b ü.txt").write_text("b")
    records = bucket.upload(source, "model")
    assert set(records) == {"a.bin", "deep/b ü.txt"}
    bucket.download("model", records, tmp_path / "target")
    assert (tmp_path / "target" / "deep" / "b ü.txt").read_text() == "b"
    assert FileRecord.of(tmp_path / "target" / "a.bin") == records["a.bin"]


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_a_folder_takes_files_without_a_copy_where_it_can(
    folder_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("a")
    if not links:
        monkeypatch.setattr(os, "link", Mock(side_effect=OSError(errno.EXDEV, "Invalid cross-device link")))
    folder_store.models.upload(tmp_path / "source", "model")
    stored = Path(folder_store.models.address("model/a"))
    assert stored.read_text() == "a"
    assert stored.samefile(tmp_path / "source" / "a") is links


def test_a_changed_object_is_noticed_and_nothing_comes_down(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    records = bucket.upload(source, "model")
    bucket.put("model/a", b"b")
    with pytest.raises(BadDataError, match="has changed"):
        bucket.download("model", records, tmp_path / "target")
    with pytest.raises(BadDataError, match="has changed"):
        bucket.fetch("model", records, tmp_path / "cache")
    assert not (tmp_path / "target").exists()


def test_a_missing_file_of_a_manifest_is_noticed(bucket: Bucket, tmp_path: Path) -> None:
    records = {"a": FileRecord("0" * 64, 1)}
    with pytest.raises(BadDataError, match="missing"):
        bucket.fetch("model", records, tmp_path / "cache")


def test_a_folder_is_removed_with_its_manifest_first(bucket: Bucket) -> None:
    for name in ("a", "manifest.json", "z"):
        bucket.put(f"model/{name}", b"")
    bucket.put("model2/a", b"")
    bucket.delete_under("model")
    assert [entry.key for entry in bucket.list()] == ["model2/a"]


def test_an_absent_s3_asks_to_try_again() -> None:
    settings = Settings.from_environment(
        {
            "STORE": "s3://",
            "S3_ENDPOINT": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
    )
    with pytest.raises(TryAgainError, match="does not answer") as caught:
        open_store(settings).data.put("a", b"")
    assert "secret" not in str(caught.value)


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes], Bucket]]:
    """`answering(503, b"…")` → a bucket of a server that has nothing but this answer."""
    servers = []

    def start(status: int, body: bytes) -> Bucket:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = answer  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return open_store(s3_at(f"http://127.0.0.1:{server.server_port}")).models

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def s3_at(endpoint: str, **others: str) -> Settings:
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hush"}
    return Settings.from_environment({"STORE": "s3://", "S3_ENDPOINT": endpoint, **keys, **others})


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_proxy_that_answers_for_the_store_is_told_by_its_status(
    answering: Callable[[int, bytes], Bucket], status: int
) -> None:
    bucket = answering(status, b"<html>")
    for attempt in (bucket.list, lambda: bucket.get("a"), lambda: bucket.put("a", b"")):
        with pytest.raises(TryAgainError, match=f"status {status}"):
            attempt()


def test_a_server_that_is_no_s3_is_a_wrong_setting(answering: Callable[[int, bytes], Bucket]) -> None:
    for body in (b"<html>hello</html>", b"hello"):
        with pytest.raises(UsageError, match="S3_ENDPOINT"):
            answering(200, body).list()


@pytest.mark.parametrize("endpoint", ["http://host:99999", "http://[::1"])
def test_an_address_that_is_none_is_a_wrong_setting(endpoint: str) -> None:
    with pytest.raises(UsageError, match="S3_ENDPOINT"):
        open_store(s3_at(endpoint))


def test_a_malformed_key_is_not_repeated() -> None:
    bucket = open_store(s3_at("http://127.0.0.1:9", AWS_ACCESS_KEY_ID="some\nbody")).models
    with pytest.raises(UsageError, match="AWS_ACCESS_KEY_ID") as caught:
        bucket.get("a")
    assert "Signature" not in str(caught.value)


def test_wrong_keys_are_a_wrong_setting(s3_settings: Settings) -> None:
    from dataclasses import replace

    from steps.runtime.secret import Secret

    store = open_store(replace(s3_settings, s3_secret_key=Secret("wrong-secret")))
    for attempt in (lambda: store.data.get("a"), lambda: store.data.create("a", b""), lambda: store.data.put("a", b"")):
        with pytest.raises(UsageError, match="check the keys") as caught:
            attempt()
        assert "wrong-secret" not in str(caught.value)


def test_a_read_only_folder_is_a_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UsageError, match="Read-only"):
        FolderBucket(tmp_path).put("a", b"")


def test_a_full_disk_asks_to_try_again_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(folder_module, "_to_disk", fill)
    with pytest.raises(TryAgainError, match="No space left"):
        FolderBucket(tmp_path).put("a", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_folder_is_a_file_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Not a directory"):
        FolderBucket(tmp_path / "file" / "data").put("a", b"")


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = FolderBucket(tmp_path)
    bucket.put("releases/1.json", b"")

    def refuse(path: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="Permission denied"):
        bucket.list("releases/")
    with pytest.raises(UsageError, match="Permission denied"):
        bucket.sweep(datetime.now(UTC))


def test_of_a_folder_only_what_begins_like_the_prefix_is_looked_at(tmp_path: Path) -> None:
    bucket = FolderBucket(tmp_path)
    for key in ("a/1/x", "a/10/y/z", "a/2/x", "a/10x", "b/1"):
        bucket.put(key, b"")
    looked: list[str] = []
    keep = os.scandir

    def notice(path: str | Path) -> Any:
        looked.append(Path(path).relative_to(tmp_path).as_posix())
        return keep(path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "scandir", notice)
        assert [entry.key for entry in bucket.list("a/1")] == ["a/1/x", "a/10/y/z", "a/10x"]
    assert sorted(looked) == ["a", "a/1", "a/10", "a/10/y"]


def test_sweeping_passes_over_what_its_writer_finishes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderBucket, "_files", lambda *_, **named: [tmp_path / ".unfinished-gone"])
    assert FolderBucket(tmp_path).sweep(datetime.now(UTC)) == 0


def test_a_place_where_no_folder_can_be_made_is_a_wrong_setting() -> None:
    with pytest.raises(UsageError, match="/proc/nothing"):
        FolderBucket(Path("/proc/nothing")).put("a", b"")


@pytest.mark.parametrize("key", ["/etc/passwd", "../up", "a/../../up", ".checked/a"])
def test_a_key_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        FolderBucket(tmp_path).put(key, b"")


def test_a_folder_of_objects_may_be_named_like_that_of_what_was_checked(tmp_path: Path) -> None:
    bucket = FolderBucket(tmp_path)
    bucket.put("a/.checked/b", b"data")
    assert [entry.key for entry in bucket.list("a/")] == ["a/.checked/b"]


def test_a_killed_writer_leaves_no_object_and_its_remains_are_swept(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from steps.clients import folder_store as f;"
        "f._to_disk = lambda path: os.kill(os.getpid(), signal.SIGKILL);"
        "f.FolderBucket(Path(sys.argv[1])).put('a/b', b'half')"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    bucket = FolderBucket(tmp_path)
    assert bucket.list() == []
    assert bucket.sweep(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert bucket.sweep(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_store_hands_out_files_without_copying(tmp_path: Path) -> None:
    bucket = FolderBucket(tmp_path / "store")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("a")
    records = bucket.upload(tmp_path / "source", "model")
    assert bucket.fetch("model", records, tmp_path / "cache") == tmp_path / "store" / "model"


def test_a_listing_passes_over_what_is_deleted_while_it_is_read(bucket: Bucket) -> None:
    keys = [f"slots/blue/1/{number}" for number in range(40)]

    def churn(_: int) -> None:
        for key in keys:
            bucket.put(key, b"")
        bucket.delete(keys)

    # One writer: MinIO itself answers AccessDenied to writers that race with a deleter for a prefix.
    with ThreadPoolExecutor(1) as pool:
        churning = pool.map(churn, range(8))
        for _ in range(60):
            assert all(entry.key in keys for entry in bucket.list("slots/"))
        list(churning)


def test_writers_and_deleters_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    bucket = FolderBucket(tmp_path)

    def churn(number: int) -> None:
        for _ in range(30):
            bucket.put(f"claims/1/{number}", b"")
            bucket.delete([f"claims/1/{number}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert bucket.list() == []


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file that counts as large, and was written long ago."""
    monkeypatch.setattr(checked, "LEAST_BYTES", 4)
    folder = tmp_path / "source"
    folder.mkdir()
    written(folder / "a", b"right", 1_000_000_000)
    return folder


def written(path: Path, content: bytes, time: float) -> None:
    path.write_bytes(content)
    os.utime(path, (time, time))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose checksums are taken."""
    found: list[str] = []
    of = FileRecord.of

    def noticed(path: Path) -> FileRecord:
        found.append(path.name)
        return of(path)

    monkeypatch.setattr(FileRecord, "of", noticed)
    return found


def test_a_large_file_is_read_once_by_who_gives_it_and_by_nobody_after(
    tmp_path: Path, big: Path, reads: list[str]
) -> None:
    (big / "small").write_text("s")
    records = FolderBucket(tmp_path / "store").upload(big, "model")
    assert sorted(reads) == ["a", "small"]
    for _ in range(2):
        del reads[:]
        FolderBucket(tmp_path / "store").fetch("model", records, tmp_path / "cache")
        assert reads == ["small"]


def test_a_large_file_that_was_copied_into_the_store_is_read_there_once(
    tmp_path: Path, big: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = FolderBucket(tmp_path / "store")
    monkeypatch.setattr(folder_module, "_link_or_copy", lambda path, target: written(target, path.read_bytes(), 1e9))
    records = bucket.upload(big, "model")
    for expected in (["a"], []):
        del reads[:]
        bucket.fetch("model", records, tmp_path / "cache")
        assert reads == expected


def test_a_copy_inside_the_store_is_read_again(tmp_path: Path, big: Path, reads: list[str]) -> None:
    bucket = FolderBucket(tmp_path / "store")
    records = bucket.upload(big, "model")
    bucket.copy("model/a", "slot/a")
    del reads[:]
    bucket.fetch("model", records, tmp_path / "cache")
    assert reads == []
    bucket.fetch("slot", records, tmp_path / "cache")
    assert reads == ["a"]


@pytest.mark.parametrize("how", ["in place", "by another file", "by another of the same time"])
def test_a_large_file_that_was_changed_since_is_noticed(tmp_path: Path, big: Path, how: str) -> None:
    bucket = FolderBucket(tmp_path / "store")
    records = bucket.upload(big, "model")
    bucket.fetch("model", records, tmp_path / "cache")
    stored = tmp_path / "store" / "model" / "a"
    if how == "in place":
        stored.write_bytes(b"wrong")
    else:
        written(tmp_path / "other", b"wrong", 1_000_000_000 if "same" in how else 1_000_000_001)
        (tmp_path / "other").replace(stored)
    with pytest.raises(BadDataError, match="has changed"):
        bucket.fetch("model", records, tmp_path / "cache")


def test_a_file_that_is_being_written_is_not_remembered(tmp_path: Path, big: Path, reads: list[str]) -> None:
    (big / "a").write_bytes(b"right")
    os.utime(big / "a", (4e9, 4e9))  # whoever reads it now may read it before the last write
    bucket = FolderBucket(tmp_path / "store")
    records = bucket.upload(big, "model")
    for _ in range(2):
        del reads[:]
        bucket.fetch("model", records, tmp_path / "cache")
        assert reads == ["a"]


def test_what_is_remembered_of_files_is_no_object_and_goes_with_them(tmp_path: Path, big: Path) -> None:
    bucket = FolderBucket(tmp_path)
    bucket.upload(big, "model")
    kept = tmp_path / checked.FOLDER
    assert len(list(kept.iterdir())) == 1
    assert [entry.key for entry in bucket.list("model/")] == ["model/a"]
    assert not any(checked.FOLDER in entry.key for entry in bucket.list())
    bucket.delete_under("model")
    assert list(kept.iterdir()) == []


def test_a_store_that_may_not_be_written_to_is_read_each_time(tmp_path: Path, big: Path, reads: list[str]) -> None:
    bucket = FolderBucket(tmp_path / "store")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / checked.FOLDER).write_text("in the way: no folder can be made")
    records = bucket.upload(big, "model")
    del reads[:]
    bucket.fetch("model", records, tmp_path / "cache")
    assert reads == ["a"]
