"""Who may do what in the namespace: what the table says and nothing else, and each account can do its work with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from harness import KUBERNETES, SHOP, World

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ACCOUNTS = tuple(f"recommender-{who}" for who in ("workflow", "trainer", "submitter", "deployer", "server"))
ANYBODY = {"selfsubjectreviews.authentication.k8s.io", "selfsubjectaccessreviews.authorization.k8s.io",
           "selfsubjectrulesreviews.authorization.k8s.io"}  # fmt: skip
"""What Kubernetes lets everybody ask about themselves."""

Rights = set[tuple[str, str, frozenset[str]]]


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    world.apply("kind")
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    return world


@pytest.fixture(scope="module")
def token_of(shop: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """`token_of(account)`: the environment of somebody who has that account's token and nothing else."""

    def environment(account: str) -> dict[str, str]:
        found = json.loads(shop.run("kubectl", "config", "view", "--minify", "--raw", "--flatten", "-o", "json").stdout)
        token = shop.kubectl("create", "token", account).strip()
        found["users"] = [{"name": found["users"][0]["name"], "user": {"token": token}}]
        path = tmp_path_factory.mktemp(account) / "kubeconfig"
        path.write_text(json.dumps(found), encoding="utf-8")
        return {"KUBECONFIG": str(path)}

    return environment


def can(shop: World, account: str) -> Rights:
    listed = shop.kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:{shop.namespace}:{account}")
    found = set()
    for row in listed.splitlines()[1:]:
        resource, urls, names, verbs = re.fullmatch(r"(\S*)\s+\[(.*?)\]\s+\[(.*?)\]\s+\[(.*?)\]\s*", row).groups()
        if resource and resource not in ANYBODY:
            assert not urls
            found.add((resource, names, frozenset(verbs.split())))
    return found


def told(account: str) -> Rights:
    """What the table of containers/kubernetes/README.md says of an account in every overlay."""
    found: Rights = set()
    for row in re.findall(r"^\| `(recommender-.*) \|$", (KUBERNETES / "README.md").read_text(), re.MULTILINE):
        of, overlay, group, resource, name, verbs = (cell.strip().strip("`") for cell in f"{row} ".split("|"))
        if of != account or overlay != "all":
            continue
        if resource.startswith("all of"):
            found |= told(resource.removeprefix("all of").strip(" `"))
        elif resource != "nothing":
            full = resource if group == "core" else f"{resource}.{group}"
            found.add((full, "" if name == "any" else name, frozenset(verbs.split(", "))))
    return found


@pytest.mark.parametrize("account", ACCOUNTS)
def test_an_account_may_do_what_the_table_says_and_nothing_else(shop: World, account: str) -> None:
    assert can(shop, account) == told(account)


def refused(shop: World, environment: dict[str, str], *words: str, stdin: str | None = None) -> bool:
    done = shop.run("kubectl", "-n", shop.namespace, *words, stdin=stdin, check=False, **environment)
    return done.returncode != 0 and "Forbidden" in done.stderr


def test_a_step_can_neither_read_secrets_nor_make_pods(shop: World, token_of: Callable[[str], dict[str, str]]) -> None:
    step = token_of("recommender-workflow")
    pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                      "spec": {"containers": [{"name": "c", "image": "i"}]}})  # fmt: skip
    assert refused(shop, step, "get", "secrets")
    assert refused(shop, step, "get", "secret", "recommender-s3")
    assert refused(shop, step, "create", "-f", "-", stdin=pod)
    assert refused(shop, step, "get", "pods")
    assert refused(shop, step, "get", "workflows")
    assert refused(shop, step, "get", "configmaps")


def test_a_server_has_no_token_at_all(shop: World) -> None:
    for pod in shop.get("pods", "-l", "app.kubernetes.io/part-of=recommender")["items"]:
        assert pod["spec"]["serviceAccountName"] == "recommender-server"
        assert "serviceAccountToken" not in json.dumps(pod["spec"])


def test_a_submitter_submits_and_follows_but_reads_no_secret(
    shop: World, token_of: Callable[[str], dict[str, str]]
) -> None:
    submitter = token_of("recommender-submitter")
    done = shop.submit(*SHOP, "-p", "models=popularity", **submitter)
    assert "Released version 1" in done.stdout
    assert "popularity" in done.stderr, "the logs were shown"
    assert refused(shop, submitter, "get", "secret", "recommender-s3", "-o", "yaml")
    assert refused(shop, submitter, "delete", "workflows", "--all")
    assert refused(shop, submitter, "get", "cronworkflows")


def test_a_deployer_puts_schedules_there_and_reads_no_secret(
    shop: World, token_of: Callable[[str], dict[str, str]]
) -> None:
    deployer = token_of("recommender-deployer")
    shop.deploy(**deployer)
    shop.deploy("--suspend", "cleanup-weekly", **deployer)
    assert shop.get("cronworkflow", "cleanup-weekly")["spec"]["suspend"] is True
    assert refused(shop, deployer, "get", "secret", "recommender-s3", "-o", "yaml")


def test_through_an_argo_server_a_token_is_enough(shop: World) -> None:
    """The same through REST: no kubectl, the caller's own rights."""
    server = World("argo")
    host, port = server.address("argo-server")
    token = shop.kubectl("create", "token", "recommender-submitter").strip()
    done = shop.submit(
        "cleanup", "-p", "dry-run=true", ARGO_SERVER=f"{host}:{port}", ARGO_TOKEN=f"Bearer {token}",
        ARGO_INSECURE_SKIP_VERIFY="true", KUBECONFIG="/dev/null",
    )  # fmt: skip
    assert "Removed 0 objects" in done.stdout
