"""What the environment says of Kafka; without `KAFKA_BROKERS` there is none, and nothing else is looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from steps.runtime.errors import UsageError
from steps.runtime.secret import Secret

SECURITIES = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class KafkaSettings:
    """How the brokers are reached, and what the topics are called."""

    brokers: str = ""
    """`HOST:PORT,HOST:PORT`; empty means that there is no Kafka."""
    security: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: Secret = field(default_factory=lambda: Secret(""))
    ca_file: str = ""
    """Whom to trust, where it is not one of the authorities that the machine knows."""
    prefix: str = "recommender"

    def __bool__(self) -> bool:
        return bool(self.brokers)

    @property
    def requests(self) -> str:
        return f"{self.prefix}-requests"

    @property
    def recommendations(self) -> str:
        return f"{self.prefix}-recommendations"

    @property
    def models(self) -> str:
        return f"{self.prefix}-models"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}-dead-letters"

    @property
    def group(self) -> str:
        """Those who share the requests among themselves."""
        return f"{self.prefix}-serve"

    @classmethod
    def from_environment(cls, get: Callable[[str], str]) -> KafkaSettings:
        """Reads and checks the variables; `get` gives a variable's text, empty where it is not set."""
        brokers = get("KAFKA_BROKERS")
        if not brokers:
            return cls()
        username = get("KAFKA_USERNAME")
        settings = cls(
            brokers=brokers,
            security=get("KAFKA_SECURITY").upper() or ("SASL_SSL" if username else cls.security),
            mechanism=get("KAFKA_MECHANISM").upper() or cls.mechanism,
            username=username,
            password=Secret(get("KAFKA_PASSWORD")),
            ca_file=get("KAFKA_CA_FILE"),
            prefix=get("KAFKA_TOPIC_PREFIX") or cls.prefix,
        )
        settings.check()
        return settings

    def check(self) -> None:
        for broker in self.brokers.split(","):
            if not BROKER.fullmatch(broker.strip()):
                # A part before an @ may be a password.
                shown = broker.rpartition("@")[2].strip()
                raise UsageError(f"KAFKA_BROKERS has {shown!r}: write HOST:PORT, with commas between several")
        for variable, value, allowed in (
            ("KAFKA_SECURITY", self.security, SECURITIES),
            ("KAFKA_MECHANISM", self.mechanism, MECHANISMS),
        ):
            if value not in allowed:
                raise UsageError(f"{variable} is {value!r}; allowed are {', '.join(allowed)}")
        with_login = self.security.startswith("SASL_")
        if with_login != bool(self.username) or with_login != bool(self.password):
            raise UsageError(
                f"KAFKA_SECURITY is {self.security}, which takes "
                + (
                    "both KAFKA_USERNAME and KAFKA_PASSWORD"
                    if with_login
                    else "no KAFKA_USERNAME and no KAFKA_PASSWORD"
                )
            )
        if self.ca_file and not self.security.endswith("SSL"):
            raise UsageError(f"KAFKA_CA_FILE is set, but KAFKA_SECURITY is {self.security}: SSL or SASL_SSL uses it")
        if self.ca_file and not Path(self.ca_file).is_file():
            raise UsageError(f"KAFKA_CA_FILE is {self.ca_file!r}: there is no such file")
        if not PREFIX.fullmatch(self.prefix):
            raise UsageError(
                f"KAFKA_TOPIC_PREFIX is {self.prefix!r}: at most 100 letters, digits, '.', '_' and '-' are allowed"
            )
