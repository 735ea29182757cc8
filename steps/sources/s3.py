"""Objects in S3 as files: any bucket and key, with the address and the keys of the store's settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from steps.clients.object_store import Bucket, ObjectMissingError
from steps.runtime.errors import UsageError
from steps.runtime.progress import progress
from steps.runtime.settings import BUCKET, Settings
from steps.sources.archive import is_table


@dataclass(frozen=True)
class Address:
    """`s3://bucket/key` of one object, or `s3://bucket/folder/` for the tables directly in it."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Address:
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if not BUCKET.fullmatch(bucket):
            raise UsageError(f"--source {text}: write s3://BUCKET/KEY or s3://BUCKET/FOLDER/")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def fetch(self, settings: Settings, scratch: Path) -> Path:
        """Downloads the object, or the folder's tables."""
        if not (settings.s3_access_key and settings.s3_secret_key):
            raise UsageError(f"--source {self} needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
        replace(settings, store="s3://").check()
        from steps.sources.any_bucket import AnyBucket  # its client takes longer to import than a small file to read

        bucket = AnyBucket.open(settings, self.bucket, "")
        folder = scratch / "s3"
        folder.mkdir()
        if self.key and not self.key.endswith("/"):
            path = folder / PurePosixPath(self.key).name
            try:
                bucket.get_file(self.key, path)
            except ObjectMissingError:
                path.unlink(missing_ok=True)
            else:
                return path
        self._fetch_folder(bucket, folder)
        return folder

    def _fetch_folder(self, bucket: Bucket, folder: Path) -> None:
        prefix = f"{self.key.rstrip('/')}/" if self.key else ""
        entries = [entry for entry in bucket.list(prefix) if entry.key and "/" not in entry.key.removeprefix(prefix)]
        tables = [entry for entry in entries if is_table(entry.key)]
        if not tables:
            raise UsageError(f"--source {self}: there is no such object, and no CSV or Parquet object below it")
        with progress(f"downloading {self}, KiB", sum(entry.size for entry in tables) >> 10) as bar:
            for entry in tables:
                bucket.get_file(entry.key, folder / PurePosixPath(entry.key).name)
                bar.advance(entry.size >> 10)
