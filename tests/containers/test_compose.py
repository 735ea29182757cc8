"""compose.yaml agrees with the Dockerfile, with the programs' flags, and holds no secret."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.runtime.settings import Settings

CONTAINERS = Path(__file__).parents[2] / "containers"
LONG_RUNNING = {"slot-blue", "slot-green", "serve"}
# The sidecar of TensorFlow Serving, which is not part of this file.
WITHOUT_SERVICE = {"slot-sync"}
SUBSTITUTION = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


def with_defaults(text: str) -> str:
    """The text as compose reads it in an environment that has only what it demands."""
    return SUBSTITUTION.sub(
        lambda found: f"given-{found['name']}" if found["kind"] == "?" else found["rest"] or "", text
    )


@pytest.fixture(scope="module")
def text() -> str:
    return (CONTAINERS / "compose.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services(text: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(with_defaults(text))["services"]


@pytest.fixture(scope="module")
def own(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services that run our images."""
    return {name: service for name, service in services.items() if "build" in service}


def test_every_program_is_a_service_built_from_its_target(
    own: dict[str, dict[str, Any]], group_of: dict[str, str], project: dict[str, object]
) -> None:
    targets = {service["build"]["target"] for service in own.values()}
    assert targets == set(group_of) - WITHOUT_SERVICE
    for service in own.values():
        assert service["image"] == f"recommender-{service['build']['target']}:{project['version']}"
        assert (CONTAINERS / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_steps_run_once_on_request_and_services_stay(own: dict[str, dict[str, Any]]) -> None:
    for name, service in own.items():
        if name in LONG_RUNNING:
            assert "profiles" not in service
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"][0] == "CMD"
        else:
            assert name == service["build"]["target"]
            assert service["profiles"] == ["steps"]
            assert service["restart"] == "no"


def test_another_run_changes_the_steps_and_no_service(text: str, services: dict[str, dict[str, Any]]) -> None:
    other = yaml.safe_load(with_defaults(text.replace("${RUN:-}", "another")))["services"]
    assert {name for name in services if services[name] != other[name]} == set(services) - LONG_RUNNING - {"minio"}


def test_every_service_is_hardened_and_has_places_to_write(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name
        assert not {"privileged", "cap_add", "network_mode", "pid", "user"} & service.keys(), name


def test_the_images_write_only_where_something_is_mounted(own: dict[str, dict[str, Any]]) -> None:
    for name, service in own.items():
        assert service["environment"]["TMPDIR"] in service["volumes"], name
        assert "/outputs" in service["tmpfs"], name


def test_no_port_is_open_to_the_network(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


def test_ports_of_this_machine_are_used_once(services: dict[str, dict[str, Any]]) -> None:
    ports = [port.split(":")[1] for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports)) == 5


def test_the_keys_must_be_given_and_have_no_default(text: str) -> None:
    secret = [
        found for found in SUBSTITUTION.finditer(text) if "SECRET" in found["name"] or "ACCESS_KEY" in found["name"]
    ]
    assert {found["name"] for found in secret} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for found in secret:
        assert found["kind"] == "?", found.group()
        assert "containers/.env" in found["rest"], "the message says where to set it"


def test_the_server_is_given_the_keys_that_the_programs_use(services: dict[str, dict[str, Any]]) -> None:
    minio = services["minio"]["environment"]
    for service in ("data-publish", "serve", "slot-blue", "model-publish"):
        environment = services[service]["environment"]
        assert environment["AWS_ACCESS_KEY_ID"] == minio["MINIO_ROOT_USER"] == "given-AWS_ACCESS_KEY_ID"
        assert environment["AWS_SECRET_ACCESS_KEY"] == minio["MINIO_ROOT_PASSWORD"] == "given-AWS_SECRET_ACCESS_KEY"
        assert environment["S3_ENDPOINT"] == "http://minio:9000"


def test_tokens_are_for_those_who_check_or_send_them_and_none_is_the_default(
    text: str, own: dict[str, dict[str, Any]]
) -> None:
    having = {name: {key for key in one["environment"] if key.startswith("API_TOKEN")} for name, one in own.items()}
    assert having.pop("serve") == {"API_TOKEN", "API_TOKENS"}
    assert having.pop("client") == {"API_TOKEN"}
    assert not any(having.values())
    assert "API_TOKENS: ${API_TOKENS:-}" in text
    assert not own["serve"]["environment"]["API_TOKENS"]
    assert not own["serve"]["environment"]["API_TOKEN"]


@pytest.mark.parametrize("variable", [f"KAFKA_{name}" for name in (
    "BROKERS", "SECURITY", "MECHANISM", "USERNAME", "PASSWORD", "TOPIC_PREFIX",
)])  # fmt: skip
def test_what_is_said_of_kafka_reaches_those_who_use_it(
    text: str, own: dict[str, dict[str, Any]], variable: str
) -> None:
    assert f"${{{variable}:-}}" in text
    for service in ("serve", "model-publish", "client"):
        assert not own[service]["environment"][variable]


def test_a_program_accepts_the_environment_of_its_service(own: dict[str, dict[str, Any]]) -> None:
    for service in own.values():
        environment = {name: value for name, value in service["environment"].items() if value is not None}
        assert Settings.from_environment(environment).on_s3


def test_a_program_accepts_the_command_of_its_service(own: dict[str, dict[str, Any]]) -> None:
    for name in LONG_RUNNING:
        module = importlib.import_module(f"steps.{own[name]['build']['target'].replace('-', '_')}")
        flags = module.parser().parse_args(own[name]["command"])
        ports = own[name]["command"][-1].rpartition("=")[2]
        assert own[name]["ports"][0].endswith(f":{ports}")
        assert flags.host == "127.0.0.1", "the image says 0.0.0.0, the program alone does not"


def test_the_slots_are_named_where_they_listen(own: dict[str, dict[str, Any]]) -> None:
    for address in own["model-publish"]["environment"]["SLOTS"].split(","):
        slot, _, url = address.partition("=")
        service, _, port = url.removeprefix("http://").partition(":")
        assert service == f"slot-{slot}"
        assert own[service]["command"] == ["--slots", f"{slot}={port}"]
        assert f"127.0.0.1', {port})" in own[service]["healthcheck"]["test"][-1]


def test_nothing_starts_before_the_store_answers(own: dict[str, dict[str, Any]]) -> None:
    for service in own.values():
        assert service["depends_on"]["minio"] == {"condition": "service_healthy"}


def test_every_setting_is_explained_in_the_example(text: str) -> None:
    example = (CONTAINERS / "example.env").read_text(encoding="utf-8")
    explained = set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    # Said on the command line, for one run.
    assert {found["name"] for found in SUBSTITUTION.finditer(text)} - {"RUN", "LOG_FORMAT"} == explained
    assert re.search(r"^AWS_ACCESS_KEY_ID=\nAWS_SECRET_ACCESS_KEY=$", example, re.MULTILINE), "no key is suggested"
