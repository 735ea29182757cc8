"""The environment of a program, read once in `main()` into a frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from steps.runtime.errors import UsageError
from steps.runtime.flags import yes_or_no
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.secret import Secret

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class Settings:
    """What the environment says; every field has a default that works on a laptop."""

    store: str
    """`file:FOLDER` or `s3://`; a bare path is a folder."""
    store_prefix: str
    data_bucket: str
    models_bucket: str
    s3_endpoint: str
    s3_access_key: Secret
    s3_secret_key: Secret
    s3_region: str
    s3_ca_file: str
    slots: str
    """`blue=http://…,green=http://…`; empty means the embedded slot server."""
    saved_model: bool
    """Whether a slot reads SavedModels, as TensorFlow Serving does; our own slot server reads arrays."""
    api_token: Secret
    """May do everything at the model server."""
    api_tokens: Secret
    """`SCOPE[+SCOPE]=TOKEN,…`: what others may do there."""
    run: str
    """The run that a step belongs to: the workflow's name on Argo, the run's on a laptop."""
    source_revision: str
    kafka: KafkaSettings

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Reads and checks the variables; a wrong one is named together with what it may be."""

        def get(name: str, default: str = "") -> str:
            return environ.get(name, "").strip() or default

        settings = cls(
            store=get("STORE", "file:store"),
            store_prefix=get("STORE_PREFIX", "recommender").strip("/"),
            data_bucket=get("DATA_BUCKET", "data"),
            models_bucket=get("MODELS_BUCKET", "models"),
            s3_endpoint=get("S3_ENDPOINT", "https://s3.amazonaws.com"),
            s3_access_key=Secret(get("AWS_ACCESS_KEY_ID")),
            s3_secret_key=Secret(get("AWS_SECRET_ACCESS_KEY")),
            s3_region=get("AWS_REGION", "us-east-1"),
            s3_ca_file=get("S3_CA_FILE"),
            slots=get("SLOTS"),
            saved_model=yes_or_no("SAVED_MODEL", get("SAVED_MODEL", "true" if get("SLOTS") else "false")),
            api_token=Secret(get("API_TOKEN")),
            api_tokens=Secret(get("API_TOKENS")),
            run=get("RUN"),
            source_revision=get("SOURCE_REVISION", "unknown"),
            kafka=KafkaSettings.from_environment(get),
        )
        settings.check()
        return settings

    def check(self) -> None:
        if not PREFIX.fullmatch(self.store_prefix):
            raise UsageError(
                f"STORE_PREFIX is {self.store_prefix!r}: letters, digits, '.', '_', '-' are allowed, '/' between names"
            )
        if self.run and not NAME.fullmatch(self.run):
            raise UsageError(
                f"RUN is {self.run!r}: a run's name has at most 63 lower-case letters, digits, '-' and '.', "
                "and begins and ends with a letter or digit"
            )
        for variable, bucket in (("DATA_BUCKET", self.data_bucket), ("MODELS_BUCKET", self.models_bucket)):
            if not BUCKET.fullmatch(bucket) or ".." in bucket or re.fullmatch(r"[\d.]+", bucket):
                raise UsageError(
                    f"{variable} is {bucket!r}: a bucket's name has 3 to 63 lower-case letters, digits, '-' and '.', "
                    "no two dots together, and is no IP address"
                )
        if not self.on_s3:
            return
        if "@" in self.s3_endpoint:
            raise UsageError("S3_ENDPOINT holds a user or a password: give them as AWS_ACCESS_KEY_ID and its secret")
        if not re.fullmatch(r"https?://[^/\s]+/?", self.s3_endpoint):
            raise UsageError(f"S3_ENDPOINT is {self.s3_endpoint!r}: give http://HOST[:PORT] or https://HOST[:PORT]")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.s3_region):
            raise UsageError(f"AWS_REGION is {self.s3_region!r}: letters, digits, '_' and '-' are allowed")
        if not (self.s3_access_key and self.s3_secret_key):
            raise UsageError("STORE is s3:// but AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set")
        if self.s3_ca_file and not Path(self.s3_ca_file).is_file():
            raise UsageError(f"S3_CA_FILE is {self.s3_ca_file!r}: there is no such file")

    @property
    def on_s3(self) -> bool:
        scheme, colon, rest = self.store.partition(":")
        if colon and scheme == "s3":
            if rest not in ("", "//"):
                raise UsageError(
                    f"STORE is {self.store!r}: write s3:// and name the buckets with DATA_BUCKET and MODELS_BUCKET"
                )
            return True
        if colon and scheme != "file":
            raise UsageError(f"STORE is {self.store!r}: it is file:FOLDER or s3://")
        return False

    @property
    def store_folder(self) -> Path:
        """The folder of a `file:` store."""
        folder = self.store.removeprefix("file:")
        if folder.startswith("//"):
            folder = folder[2:]
        if not folder:
            raise UsageError("STORE is 'file:' without a folder: write file:FOLDER")
        return Path(folder).expanduser().absolute()
