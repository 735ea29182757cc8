"""What an overlay names is there, its servers run as the images are built, and no pod has more rights than it needs."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
import yaml

from steps.clients.tf_serving import parse_slots
from steps.runtime.settings import Settings
from workflows.catalog import build
from workflows.templates import AUTHORITY, AUTHORITY_FOLDER, SERVICE_ACCOUNT, SETTINGS

ROOT = Path(__file__).parents[3]
TREE = ROOT / "containers" / "kubernetes"
DOCKERFILE = (ROOT / "containers" / "Dockerfile").read_text(encoding="utf-8")
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "secret"}
# Secrets that people or a vault bring; only the overlay for one machine has the first, with keys that are no secret.
FROM_OUTSIDE = {
    "recommender-s3": set(KEYS),
    "recommender-tokens": {"API_TOKENS"},
    "recommender-kafka": {"KAFKA_USERNAME", "KAFKA_PASSWORD"},
}
STEP = {
    "workflows.argoproj.io/workflow": "retrain-1",
    "app.kubernetes.io/part-of": "recommender",
    "app.kubernetes.io/component": "train",
}
EXIT_SECONDS = 10
"""How long a server of ours ends what it is answering before it stops: steps/serving/server.py."""


def matches(selector, labels):
    """Whether a selector chooses a pod of these labels."""
    for wanted in selector.get("matchExpressions", []):
        value = labels.get(wanted["key"])
        if {"Exists": value is None, "NotIn": value in wanted.get("values", [])}[wanted["operator"]]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def labels_of(overlay):
    return [pod["metadata"]["labels"] for _, pod in overlay.pods()]


def exposed(target):
    """The ports that the Dockerfile says an image listens on."""
    part = re.search(rf"^FROM with-\S+ AS {target}$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert part, f"the Dockerfile has no target {target}"
    return {int(port) for line in re.findall(r"^EXPOSE (.*)$", part[1], re.MULTILINE) for port in line.split()}


def ours(overlay):
    """The containers that run an image of ours, with the Dockerfile's target."""
    for name, container in overlay.containers():
        found = re.search(r"(?:^|/)recommender-([a-z-]+):", container["image"])
        if found:
            yield name, container, found[1]


# --- what is referred to is there ------------------------------------------------------------------------------------


def test_settings_and_secrets_that_a_container_reads_exist(objects):
    for name, container in objects.containers():
        for source in container.get("envFrom", []):
            wanted = source["configMapRef"]
            assert wanted.get("optional") or wanted["name"] in objects.names("ConfigMap"), name
        for variable in container["env"]:
            reference = variable.get("valueFrom", {})
            if "configMapKeyRef" in reference:
                wanted = reference["configMapKeyRef"]
                assert wanted["key"] in objects.named("ConfigMap", wanted["name"])["data"], name
            if "secretKeyRef" in reference:
                wanted = reference["secretKeyRef"]
                assert wanted["key"] in FROM_OUTSIDE[wanted["name"]], name


def test_tokens_and_kafka_are_for_the_model_servers_alone_and_may_be_missing(objects):
    optional = {
        "API_TOKENS": "recommender-tokens",
        **dict.fromkeys(FROM_OUTSIDE["recommender-kafka"], "recommender-kafka"),
    }
    for name, container in objects.containers():
        found = {
            variable["name"]: variable["valueFrom"]["secretKeyRef"]
            for variable in container["env"]
            if variable["name"] in optional
        }
        wanted = optional if name == "model-server/serve" else {}
        assert found == {key: {"name": secret, "key": key, "optional": True} for key, secret in wanted.items()}, name
        kafka = {"configMapRef": {"name": "recommender-kafka", "optional": True}}
        assert (kafka in container.get("envFrom", [])) is bool(wanted), name
    assert "recommender-kafka" not in objects.names("ConfigMap")


def test_accounts_and_volumes_of_a_pod_exist(objects):
    for name, pod in objects.pods():
        spec = pod["spec"]
        assert spec["serviceAccountName"] in objects.names("ServiceAccount"), name
        for volume in spec["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in objects.names("PersistentVolumeClaim"), name
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounted = {
            mount["name"]
            for container in [*spec.get("initContainers", []), *spec["containers"]]
            for mount in container["volumeMounts"]
        }
        assert mounted == volumes, name


def test_a_service_leads_to_a_port_of_pods_that_are_here(objects):
    for service in objects.of("Service"):
        if service["metadata"]["namespace"] == "argo":
            continue  # its pods are Argo's
        selector = {"matchLabels": service["spec"]["selector"]}
        pods = [pod for _, pod in objects.pods() if matches(selector, pod["metadata"]["labels"])]
        assert len(pods) == 1, service["metadata"]["name"]
        named = {port["name"] for one in pods[0]["spec"]["containers"] for port in one.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_what_scales_and_what_protects_has_its_target(objects):
    for scaler in objects.of("HorizontalPodAutoscaler"):
        target = objects.named("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in target["spec"], "applying it again would undo what the scaler did"
        assert scaler["spec"]["minReplicas"] >= 2
    for budget in objects.of("PodDisruptionBudget"):
        assert any(matches(budget["spec"]["selector"], labels) for labels in labels_of(objects))


def test_the_model_server_is_at_least_two(objects):
    if "model-server" not in objects.names("HorizontalPodAutoscaler"):
        assert objects.named("Deployment", "model-server")["spec"]["replicas"] == 2


def test_a_probe_asks_a_port_that_its_container_has(objects):
    for name, container in objects.containers():
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for way in ("httpGet", "tcpSocket"):
                if way in container.get(probe, {}):
                    assert container[probe][way]["port"] in ports, name


def test_the_workflows_find_their_account_and_settings(objects):
    assert SERVICE_ACCOUNT in objects.names("ServiceAccount")
    assert SETTINGS in objects.names("ConfigMap")
    retrain = build("retrain")["spec"]
    assert retrain["serviceAccountName"] == SERVICE_ACCOUNT
    train = next(template for template in retrain["templates"] if template["name"] == "train")
    # The policies of the network know a step by these; the label of the workflow comes from Argo.
    assert train["metadata"]["labels"].items() <= STEP.items()


def test_the_settings_are_such_that_every_program_takes_them(objects):
    values = objects.named("ConfigMap", SETTINGS)["data"]
    settings = Settings.from_environment({**values, **KEYS})
    assert set(values) <= {
        "STORE", "STORE_PREFIX", "DATA_BUCKET", "MODELS_BUCKET", "S3_ENDPOINT", "AWS_REGION", "S3_CA_FILE", "SLOTS",
        "SAVED_MODEL",
    }  # fmt: skip
    services = {
        f"http://{one['metadata']['name']}:{port['port']}"
        for one in objects.of("Service")
        for port in one["spec"]["ports"]
    }
    assert set(parse_slots(settings.slots).values()) <= services
    if settings.on_s3 and settings.s3_endpoint.startswith("http://"):
        assert settings.s3_endpoint in services


# --- a server is what its image is -----------------------------------------------------------------------------------


def test_a_server_runs_its_program_with_flags_that_it_has(objects):
    found = list(ours(objects))
    assert found
    for name, container, target in found:
        program = f"steps.{target.replace('-', '_')}"
        assert container["command"] == ["python", "-m", program], name
        module = importlib.import_module(program)
        module.parser().parse_args([word.replace("$(SLOT)", "blue") for word in container["args"]])


def test_a_server_listens_where_its_image_says(objects):
    for name, container, target in ours(objects):
        ports = {port["containerPort"] for port in container.get("ports", [])}
        assert ports <= exposed(target), name
        written = " ".join(container["args"])
        assert all(re.search(rf"=(?:\$\(SLOT\)=)?{port}\b", written) for port in ports), name


def test_images_have_the_version_of_this_project(objects, project):
    for name, container, _ in ours(objects):
        assert container["image"].endswith(f":{project['version']}"), name
        assert container["imagePullPolicy"] == "IfNotPresent", name


def test_tensorflow_serving_has_the_folder_that_is_kept_for_it(every):
    for overlay in ("production", "openshift"):
        containers = dict(every[overlay].containers())
        for slot in ("blue", "green"):
            serving, sync, first = (
                containers[f"tf-serving-{slot}/{name}"] for name in ("tf-serving", "slot-sync", "first-sync")
            )
            folder = next(word.partition("=")[2] for word in sync["args"] if word.startswith("--folder="))
            assert f"--model_base_path={folder}" in serving["args"]
            assert "--model_name=recommender" in serving["args"]
            assert "--poll-seconds=0" in first["args"]
            assert {"name": "models", "mountPath": "/models"} in sync["volumeMounts"]


def test_each_slot_knows_which_one_it_is(objects):
    for slot in ("blue", "green"):
        pod = objects.named("Deployment", f"tf-serving-{slot}")["spec"]["template"]
        assert pod["metadata"]["labels"]["recommender/slot"] == slot
        named = [
            variable["valueFrom"]["fieldRef"]["fieldPath"]
            for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
            for variable in container["env"]
            if variable["name"] == "SLOT"
        ]
        assert set(named) == {"metadata.labels['recommender/slot']"}


def test_no_request_is_lost_when_a_model_server_goes(objects):
    deployment = objects.named("Deployment", "model-server")
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = deployment["spec"]["template"]["spec"]
    drain = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    ready = pod["containers"][0]["readinessProbe"]
    assert ready["httpGet"]["path"] == "/readyz"
    assert drain >= ready["periodSeconds"]
    assert drain + EXIT_SECONDS < pod["terminationGracePeriodSeconds"]
    server = (ROOT / "steps" / "serving" / "server.py").read_text(encoding="utf-8")
    assert f"timeout_graceful_shutdown={EXIT_SECONDS}" in server


# --- rights of pods --------------------------------------------------------------------------------------------------


def test_every_pod_is_restricted(overlay, objects):
    for name, pod in objects.pods():
        spec = pod["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys(), name
        assert {next(key for key in volume if key != "name") for volume in spec["volumes"]} <= {
            "configMap", "emptyDir", "persistentVolumeClaim",
        }, name  # fmt: skip
        assert spec["automountServiceAccountToken"] is False, name
        fixed = {"runAsUser", "runAsGroup", "fsGroup"}
        assert (fixed & context.keys()) == (set() if overlay == "openshift" else fixed), name
    for name, container in objects.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name


def test_every_container_says_what_it_uses_and_what_it_may(objects):
    for name, container in objects.containers():
        for which in ("requests", "limits"):
            assert set(container["resources"][which]) == {"cpu", "memory", "ephemeral-storage"}, name


def test_the_namespace_enforces_what_its_pods_hold(overlay, objects):
    labels = objects.named("Namespace", "recommender")["metadata"]["labels"]
    wanted = "baseline" if overlay == "legacy-k8sapi" else "restricted"
    assert labels["pod-security.kubernetes.io/enforce"] == wanted
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_keys_are_only_in_the_overlay_for_one_machine(every):
    assert {name for name, overlay in every.items() if overlay.of("Secret")} == {"kind"}
    for overlay in every.values():
        for name, container in overlay.containers():
            for variable in container["env"]:
                if re.search("KEY|SECRET|PASSWORD|USER|TOKEN", variable["name"]):
                    assert "value" not in variable, name
    for path in TREE.rglob("*.yaml"):
        if path.parent.name != "kind":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?i)(literals|stringData|password\s*[:=])", text), path


# --- network ---------------------------------------------------------------------------------------------------------


def allowed(overlay, source, target, port):
    """Whether one pod reaches another, where a plugin enforces the policies: both sides must allow it."""
    return way(overlay, "Egress", source, target, port) and way(overlay, "Ingress", target, source, port)


def way(overlay, direction, chosen, other, port):
    """Whether one side's policies allow it; `other` is None for an address outside this namespace."""
    policies = [
        policy["spec"]
        for policy in overlay.of("NetworkPolicy")
        if direction in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], chosen)
    ]
    assert policies, "a pod that no policy concerns may do everything"
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        port in {one["port"] for one in rule["ports"]} and (peers not in rule or among(rule[peers], other))
        for policy in policies
        for rule in policy.get(rules, [])
    )


def among(peers, labels):
    return labels is not None and any(
        "namespaceSelector" not in peer and matches(peer["podSelector"], labels) for peer in peers
    )


def pod_labels(overlay, name):
    return overlay.named("Deployment", name)["spec"]["template"]["metadata"]["labels"]


def test_who_must_talk_may_and_nobody_else(overlay, objects):
    server, blue = pod_labels(objects, "model-server"), pod_labels(objects, "tf-serving-blue")
    assert allowed(objects, STEP, blue, 8501)
    assert allowed(objects, server, blue, 8501)
    assert not allowed(objects, blue, server, 8080)
    assert not allowed(objects, blue, STEP, 8501)
    assert not allowed(objects, {"app": "stranger"}, blue, 8501)
    assert not allowed(objects, STEP, server, 22)
    assert way(objects, "Ingress", server, None, 8080)
    assert not way(objects, "Egress", server, None, 80)
    assert way(objects, "Egress", STEP, None, 6443), "the API server: Argo reports what a step left"
    if "minio" in objects.names("Deployment"):
        minio = pod_labels(objects, "minio")
        for client in (STEP, server, blue):
            assert allowed(objects, client, minio, 9000)
            assert not allowed(objects, client, minio, 9001)
        assert not allowed(objects, {"app": "stranger"}, minio, 9000)
        assert not way(objects, "Egress", server, None, 443)
        assert not way(objects, "Egress", minio, None, 443)
    elif overlay != "kind-volume":
        assert way(objects, "Egress", server, None, 443)
        assert way(objects, "Egress", blue, None, 443)
    else:
        assert not way(objects, "Egress", server, None, 443)


def test_the_model_servers_reach_kafka_where_an_overlay_says_so(overlay, objects, tmp_path, golden):
    above = {
        "resources": [os.path.relpath(TREE / "overlays" / overlay, tmp_path.resolve())],
        "components": [os.path.relpath(TREE / "components" / "kafka", tmp_path.resolve())],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(above))
    opened = type(objects)(golden.render(tmp_path.resolve()))
    assert len(opened) == len(objects) + 1
    for port in (9092, 9093):
        assert not way(objects, "Egress", pod_labels(objects, "model-server"), None, port)
        assert way(opened, "Egress", pod_labels(opened, "model-server"), None, port)
        assert not way(opened, "Egress", pod_labels(opened, "tf-serving-blue"), None, port)
        assert not way(opened, "Egress", STEP, None, port)


def test_everybody_may_ask_for_names(overlay, objects):
    spec = objects.named("NetworkPolicy", "dns")["spec"]
    assert spec["podSelector"] == {}
    port = 5353 if overlay == "openshift" else 53
    assert [(one["protocol"], one["port"]) for one in spec["egress"][0]["ports"]] == [("UDP", port), ("TCP", port)]


def test_nothing_is_open_that_no_policy_opens(objects):
    spec = objects.named("NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


# --- another namespace ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["kind", "kind-volume", "openshift"])
def test_an_overlay_of_ones_own_moves_everything_to_another_namespace(base, tmp_path, golden, every):
    above = {"namespace": "shop", "resources": [os.path.relpath(TREE / "overlays" / base, tmp_path.resolve())]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(above))
    moved = golden.render(tmp_path.resolve())
    assert len(moved) == len(every[base])
    for one in moved:
        metadata = one["metadata"]
        assert (metadata["name"] if one["kind"] == "Namespace" else metadata["namespace"]) == "shop"
        assert {subject["namespace"] for subject in one.get("subjects", [])} <= {"shop"}


# --- one store for all -----------------------------------------------------------------------------------------------


def test_a_shared_volume_is_where_the_settings_say_and_slots_only_read_it(every):
    """A model server writes there: feedback, and what it has served."""
    overlay = every["kind-volume"]
    store = Settings.from_environment(overlay.named("ConfigMap", SETTINGS)["data"]).store_folder
    for name, pod in overlay.pods():
        mounts = {mount["name"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        only_read = {} if name == "model-server" else {"readOnly": True}
        assert mounts["store"] == {"name": "store", "mountPath": str(store), **only_read}, name
        claims = [volume["persistentVolumeClaim"] for volume in pod["spec"]["volumes"] if volume["name"] == "store"]
        assert claims == [{"claimName": "recommender-store", **only_read}], name
    assert overlay.names("Deployment") == {"model-server", "tf-serving-blue", "tf-serving-green"}


def test_whatever_asks_the_store_has_the_authority_before_it_where_there_is_one(every):
    steps = [
        ("step " + t["name"], t["container"], t) for t in build("retrain")["spec"]["templates"] if "container" in t
    ]
    servers = [
        (f"{name}/{container['name']}", container, pod["spec"])
        for overlay in every.values()
        for name, pod in overlay.pods()
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        if "envFrom" in container
    ]
    assert steps
    assert servers
    for name, container, holder in [*steps, *servers]:
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] == AUTHORITY]
        assert mounts == [{"name": AUTHORITY, "mountPath": AUTHORITY_FOLDER, "readOnly": True}], name
        [volume] = [volume for volume in holder["volumes"] if volume["name"] == AUTHORITY]
        assert volume["configMap"] == {"name": AUTHORITY, "optional": True}, name


def test_the_minio_of_one_machine_has_the_keys_that_the_steps_use(kind):
    container = kind.named("Deployment", "minio")["spec"]["template"]["spec"]["containers"][0]
    used = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in container["env"]
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert used == {
        "MINIO_ROOT_USER": {"name": "recommender-s3", "key": "AWS_ACCESS_KEY_ID"},
        "MINIO_ROOT_PASSWORD": {"name": "recommender-s3", "key": "AWS_SECRET_ACCESS_KEY"},
    }
    assert set(kind.named("Secret", "recommender-s3")["data"]) == set(KEYS)
    assert kind.named("Deployment", "minio")["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(("selector", "chosen"), [
    ({}, True),
    ({"matchLabels": {"app.kubernetes.io/component": "train"}}, True),
    ({"matchLabels": {"app.kubernetes.io/component": "slot"}}, False),
    ({"matchExpressions": [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]}, True),
    ({"matchExpressions": [{"key": "recommender/slot", "operator": "Exists"}]}, False),
    ({"matchExpressions": [{"key": "app.kubernetes.io/component", "operator": "NotIn", "values": ["train"]}]}, False),
])  # fmt: skip
def test_selectors_are_read_as_kubernetes_reads_them(selector, chosen):
    assert matches(selector, STEP) is chosen
