"""What an account may do, in all overlays, is what the README's table says: no less, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflows.cluster import needs

README = Path(__file__).parents[3] / "containers" / "kubernetes" / "README.md"
ROW = re.compile(r"^\| `(recommender-[a-z]+)` \|(.*)\|$", re.MULTILINE)
ALL_OF = "all of "


def documented(overlay):
    """The table's rows that hold for an overlay, as sets of (group, resource, name, verb) by account."""
    rows = [(account, [cell.strip().replace("`", "") for cell in rest.split("|")]) for account, rest in table()]
    found = {account: set() for account, _ in rows}
    for account, (where, group, resource, name, verbs) in rows:
        if where not in ("all", overlay) or resource == "nothing":
            continue
        if resource.startswith(ALL_OF):
            found[account] |= found[resource.removeprefix(ALL_OF)]
        else:
            which = "" if group == "core" else group
            found[account] |= {(which, resource, "" if name == "any" else name, verb) for verb in verbs.split(", ")}
    return found


def table():
    return ROW.findall(README.read_text(encoding="utf-8"))


def granted(objects):
    """The union of the rules that each account is bound to."""
    found = {name: set() for name in objects.names("ServiceAccount")}
    for binding in objects.of("RoleBinding"):
        assert binding["roleRef"]["kind"] == "Role"
        for subject in binding["subjects"]:
            assert subject["kind"] == "ServiceAccount"
            assert subject["namespace"] == binding["metadata"]["namespace"] == "recommender"
            found[subject["name"]] |= set(rights(objects.named("Role", binding["roleRef"]["name"])))
    return found


def rights(role):
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    for verb in rule["verbs"]:
                        yield group, resource, name, verb


def test_every_account_has_the_rights_of_the_table(overlay, objects):
    assert granted(objects) == documented(overlay)


def test_the_table_has_rows_for_these_accounts():
    accounts = {account for account, _ in table()}
    assert accounts == {f"recommender-{who}" for who in ("workflow", "trainer", "submitter", "deployer", "server")}


def test_nobody_may_everything_read_secrets_or_change_rights(objects):
    for account, found in granted(objects).items():
        for group, resource, _, verb in found:
            assert "*" not in (group, resource, verb), account
            assert resource != "secrets", account
            assert group != "rbac.authorization.k8s.io", account
    assert objects.of("ClusterRole", "ClusterRoleBinding") == []


def test_every_role_is_bound(objects):
    assert objects.names("Role") == {binding["roleRef"]["name"] for binding in objects.of("RoleBinding")}


def test_only_what_argo_runs_has_a_token_without_asking_for_it(objects):
    given = {
        one["metadata"]["name"] for one in objects.of("ServiceAccount") if one.get("automountServiceAccountToken", True)
    }
    assert given == {"recommender-workflow", "recommender-trainer"}


@pytest.mark.parametrize(("account", "needed"), [
    ("recommender-submitter", (*needs.TEMPLATES, *needs.STARTING, *needs.FOLLOWING)),
    ("recommender-deployer", (*needs.TEMPLATES, *needs.SCHEDULES)),
])  # fmt: skip
def test_an_account_may_do_what_our_own_commands_ask_for(objects, account, needed):
    assert {(right.group, right.resource, "", right.verb) for right in needed} <= granted(objects)[account]
