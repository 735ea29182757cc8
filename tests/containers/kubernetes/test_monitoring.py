"""Alerts and the dashboard ask only for metrics that exist, and the alerts only name what is here."""

from __future__ import annotations

import json
import re

import pytest

from cron.schedules import CRONS

# Of Argo's controller (its docs/metrics.md, with the prefix argo_workflows), kube-state-metrics, and the kubelet.
METRICS = {
    "argo_workflows_total_count", "argo_workflows_error_count", "argo_workflows_cronworkflows_triggered_total",
    "argo_workflows_is_leader", "argo_workflows_pods_gauge", "argo_workflows_pod_pending_count",
    "argo_workflows_queue_depth_gauge",
    "kube_deployment_status_replicas_available", "kube_deployment_status_replicas_unavailable",
    "kube_pod_container_status_restarts_total", "kube_pod_container_status_terminated_reason",
    "kube_horizontalpodautoscaler_status_current_replicas", "kube_horizontalpodautoscaler_status_desired_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes",
    "container_cpu_usage_seconds_total", "container_memory_working_set_bytes",
}  # fmt: skip
NAME = re.compile(r"\b(?:argo|kube|kubelet|container)_[a-z_]+\b")


@pytest.fixture
def production(every):
    return every["production"]


@pytest.fixture
def alerts(production):
    groups = production.named("PrometheusRule", "recommender")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
def panels(production):
    board = json.loads(production.named("ConfigMap", "recommender-dashboard")["data"]["recommender.json"])
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_only_metrics_that_exist_are_asked_for(alerts, panels):
    expressions = [rule["expr"] for rule in alerts]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    found = [set(NAME.findall(expression)) for expression in expressions]
    assert all(found)
    assert set().union(*found) == METRICS


def test_an_alert_says_what_happened_and_what_to_do(alerts):
    names = [rule["alert"] for rule in alerts]
    assert len(set(names)) == len(names)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_what_an_alert_names_is_here(alerts, production):
    text = " ".join(rule["expr"] for rule in alerts)
    assert set(re.findall(r'namespace="([^"]+)"', text)) == {"recommender"}
    assert set(re.findall(r'deployment="([^"]+)"', text)) <= production.names("Deployment")
    assert set(re.findall(r'autoscaler="([^"]+)"', text)) <= production.names("HorizontalPodAutoscaler")
    assert set(re.findall(r'[{ ]name="([^"]+)"', text)) <= {cron.name for cron in CRONS}


def test_what_is_scraped_is_a_service_that_is_here(production):
    monitor = production.named("ServiceMonitor", "argo-workflow-controller")["spec"]
    service = production.named("Service", "workflow-controller-metrics")
    assert service["metadata"]["namespace"] in monitor["namespaceSelector"]["matchNames"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["endpoints"]} <= {one["name"] for one in service["spec"]["ports"]}


def test_a_panel_lies_beside_the_others_and_not_on_them(panels):
    taken = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
