"""An object store in S3, through the `minio` client: MinIO, AWS and others alike."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import requests
import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error

from steps.clients.object_store import Bucket, Entry, ObjectExistsError, ObjectMissingError
from steps.runtime.errors import TryAgainError, UsageError
from steps.runtime.settings import Settings

REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidBucketName")
MISSING = ("NoSuchKey", "NoSuchBucket", "NoSuchObject")
CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0


class S3Bucket(Bucket):
    """Keys below `prefix` in one bucket, which is made when the first object is written."""

    def __init__(self, client: Minio, bucket: str, prefix: str, verify: str | bool = True) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix
        self.verify = verify

    @classmethod
    def open(cls, settings: Settings, bucket: str, prefix: str) -> S3Bucket:
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            maxsize=16,
            # A store that hangs is asked once more, not three times: each costs READ_SECONDS.
            retries=urllib3.Retry(total=3, read=1, backoff_factor=0.3, status_forcelist=(500, 502, 504)),
            cert_reqs="CERT_REQUIRED",
            ca_certs=settings.s3_ca_file or None,
        )
        try:
            address = urlsplit(settings.s3_endpoint)
            client = Minio(
                address.netloc,
                access_key=settings.s3_access_key.reveal(),
                secret_key=settings.s3_secret_key.reveal(),
                region=settings.s3_region,
                secure=address.scheme == "https",
                http_client=pool,
            )
        except ValueError as error:
            raise UsageError(f"S3_ENDPOINT is {settings.s3_endpoint!r}: {error}") from error
        return cls(client, bucket, prefix, settings.s3_ca_file or True)

    def put(self, key: str, data: bytes) -> None:
        with self._errors(key):
            self._with_bucket(lambda: self.client.put_object(self.bucket, self._name(key), io.BytesIO(data), len(data)))

    def create(self, key: str, data: bytes) -> None:
        # The client has no parameter for a condition, so the request is signed by it and sent by hand.
        with self._errors(key):
            if not self.client.bucket_exists(self.bucket):
                self._make_bucket()
            url = self.client.get_presigned_url("PUT", self.bucket, self._name(key), expires=timedelta(minutes=5))
        try:
            answer = requests.put(
                url,
                data=data,
                headers={"If-None-Match": "*"},
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                verify=self.verify,
            )
        except requests.RequestException as error:
            raise TryAgainError(f"the store did not answer when creating {self.address(key)}") from error
        if answer.status_code == 412:
            raise ObjectExistsError(self.address(key))
        if answer.status_code == 409 or answer.status_code >= 500:
            raise TryAgainError(f"the store answered {answer.status_code} when creating {self.address(key)}")
        if not answer.ok:
            raise UsageError(f"the store refuses to create {self.address(key)}: status {answer.status_code}")

    def get(self, key: str) -> bytes:
        with self._errors(key):
            answer = self.client.get_object(self.bucket, self._name(key))
            try:
                return bytes(answer.read())
            finally:
                answer.close()
                answer.release_conn()

    def list(self, prefix: str = "") -> list[Entry]:
        entries = []
        with self._errors(prefix):
            try:
                for found in self.client.list_objects(self.bucket, self._name(prefix), recursive=True):
                    key = found.object_name.removeprefix(f"{self.prefix}/")
                    entries.append(Entry(key, found.size or 0, found.last_modified or datetime.now(UTC)))
            except S3Error as error:
                if error.code != "NoSuchBucket":
                    raise
        return entries

    def delete(self, keys: Iterable[str]) -> None:
        with self._errors():
            names = [DeleteObject(self._name(key)) for key in keys]
            for error in self.client.remove_objects(self.bucket, names) if names else ():
                raise TryAgainError(f"the store did not delete {self.bucket}/{error.name}: {error.code}")

    def put_file(self, key: str, path: Path) -> None:
        with self._errors(key):
            self._with_bucket(lambda: self.client.fput_object(self.bucket, self._name(key), str(path)))

    def get_file(self, key: str, path: Path) -> None:
        with self._errors(key):
            self.client.fget_object(self.bucket, self._name(key), str(path))

    def copy(self, source: str, target: str) -> None:
        with self._errors(source):
            # compose, not copy: it also takes objects of more than 5 GiB.
            self.client.compose_object(
                self.bucket, self._name(target), [ComposeSource(self.bucket, self._name(source))]
            )

    def sweep(self, older_than: datetime) -> int:
        # A broken multipart upload is no object, and S3 ends it by a lifecycle rule of the bucket.
        return 0

    def address(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{self._name(key)}".rstrip("/")

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def _with_bucket(self, write: Callable[[], object]) -> None:
        """Runs a write, and once more after making the bucket where it is missing."""
        try:
            write()
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            self._make_bucket()
            write()

    def _make_bucket(self) -> None:
        try:
            self.client.make_bucket(self.bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):  # another writer was first
                raise

    @contextmanager
    def _errors(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            if error.code in MISSING:
                raise ObjectMissingError(self.address(key)) from error
            sentence = f"the store answers {error.code} for {self.address(key)}"
            if error.code in REFUSED:
                raise UsageError(f"{sentence}: check the keys and what they may do") from error
            raise TryAgainError(sentence) from error
        except InvalidResponseError as error:
            # A proxy before the store, or the store while it starts: a status, but not S3's own words.
            raise TryAgainError(f"the store answers {_status(error)} for {self.address(key)}") from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            reason = type(getattr(error, "reason", None) or error).__name__
            raise TryAgainError(f"the store does not answer at {self.address(key)}: {reason}") from error
        except OSError as error:
            reason = f"{error.filename or self.address(key)}: {error.strerror or type(error).__name__}"
            raise TryAgainError(f"cannot copy from or to the store: {reason}") from error
        except (ValueError, ParseError) as error:
            # Its text may hold the header with the signature.
            raise UsageError(
                f"what answers for {self.address(key)} does not speak S3, or a key is malformed: "
                "check S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error


def _status(error: InvalidResponseError) -> str:
    found = re.search(r"[Rr]esponse code: (\d+)", str(error))
    return f"status {found[1]}" if found else "something that is not S3"
