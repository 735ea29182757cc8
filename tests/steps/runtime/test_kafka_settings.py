"""How Kafka is reached is checked before anything else is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.runtime.errors import UsageError
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.settings import Settings

LOGIN = {"KAFKA_USERNAME": "shop", "KAFKA_PASSWORD": "do-not-print"}


def settings(**variables: str) -> KafkaSettings:
    return Settings.from_environment(variables).kafka


def test_without_brokers_there_is_no_kafka_whatever_else_is_set() -> None:
    assert not settings()
    assert not settings(KAFKA_SECURITY="nonsense", KAFKA_PASSWORD="left over")


def test_brokers_are_enough() -> None:
    found = settings(KAFKA_BROKERS="kafka:9092")
    assert found
    assert found.security == "PLAINTEXT"
    names = (found.requests, found.recommendations, found.models, found.dead_letters)
    assert names == (
        "recommender-requests", "recommender-recommendations", "recommender-models", "recommender-dead-letters",
    )  # fmt: skip


def test_topics_of_several_shops_stay_apart() -> None:
    found = settings(KAFKA_BROKERS="a:1,[::1]:2", KAFKA_TOPIC_PREFIX="shop.eu")
    assert (found.requests, found.group) == ("shop.eu-requests", "shop.eu-serve")


def test_a_login_is_sent_through_tls_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    found = settings(KAFKA_BROKERS="kafka:9093", KAFKA_CA_FILE=str(authority), **LOGIN)
    assert (found.security, found.mechanism, found.username) == ("SASL_SSL", "SCRAM-SHA-512", "shop")
    assert settings(KAFKA_BROKERS="kafka:9092", KAFKA_SECURITY="sasl_plaintext", **LOGIN).security == "SASL_PLAINTEXT"


def test_the_password_is_not_printed() -> None:
    found = settings(KAFKA_BROKERS="kafka:9093", **LOGIN)
    assert found.password.reveal() == "do-not-print"
    assert "do-not-print" not in f"{found!r} {found}"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"KAFKA_BROKERS": "kafka"}, "KAFKA_BROKERS has 'kafka'"),
        ({"KAFKA_BROKERS": "kafka:9092,"}, "KAFKA_BROKERS has ''"),
        ({"KAFKA_BROKERS": "kafka://a:9092"}, "KAFKA_BROKERS has"),
        ({"KAFKA_SECURITY": "TLS"}, "KAFKA_SECURITY is 'TLS'; allowed are PLAINTEXT, SSL"),
        ({"KAFKA_MECHANISM": "GSSAPI"}, "KAFKA_MECHANISM is 'GSSAPI'"),
        ({"KAFKA_SECURITY": "SASL_SSL"}, "both KAFKA_USERNAME and KAFKA_PASSWORD"),
        ({"KAFKA_USERNAME": "shop"}, "both KAFKA_USERNAME and KAFKA_PASSWORD"),
        ({"KAFKA_SECURITY": "SSL", **LOGIN}, "no KAFKA_USERNAME"),
        ({"KAFKA_CA_FILE": "/nowhere.pem"}, "KAFKA_SECURITY is PLAINTEXT"),
        ({"KAFKA_SECURITY": "SSL", "KAFKA_CA_FILE": "/nowhere.pem"}, "there is no such file"),
        ({"KAFKA_TOPIC_PREFIX": "my shop"}, "KAFKA_TOPIC_PREFIX is 'my shop'"),
    ],
)
def test_a_wrong_setting_is_named(variables: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError) as raised:
        settings(**{"KAFKA_BROKERS": "kafka:9092", **variables})
    assert named in str(raised.value)


def test_a_password_that_was_put_among_the_brokers_is_not_repeated() -> None:
    with pytest.raises(UsageError) as raised:
        settings(KAFKA_BROKERS="shop:do-not-print@kafka:9092")
    assert "do-not-print" not in str(raised.value)
