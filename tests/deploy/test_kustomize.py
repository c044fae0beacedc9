"""The kustomize base is valid to the letter, complete, closed, and calls commands that exist."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

Manifests = dict[str, list[dict[str, Any]]]


def _objects(manifests: Manifests) -> list[dict[str, Any]]:
    return [item for items in manifests.values() for item in items]


def _pods(manifests: Manifests) -> dict[str, dict[str, Any]]:
    kinds = ("StatefulSet", "Deployment")
    return {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in _objects(manifests) if o["kind"] in kinds}


def test_every_object_fits_its_schema(manifests: Manifests) -> None:
    objects = _objects(manifests)
    assert {item["kind"] for item in objects} >= {"StatefulSet", "Deployment", "Service", "PersistentVolumeClaim"}
    for item in objects:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)


def test_the_schema_check_sees_a_slip(manifests: Manifests) -> None:
    (server,) = manifests["server.yaml"]
    wrong = {**server, "spec": {**server["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_base_lists_exactly_its_files(manifests: Manifests, kustomization: dict[str, Any]) -> None:
    assert kustomization["resources"] == sorted(manifests, key=lambda name: name.removesuffix(".yaml"))


def test_the_base_names_no_namespace(manifests: Manifests, kustomization: dict[str, Any]) -> None:
    assert "namespace" not in kustomization
    assert [item["metadata"]["name"] for item in _objects(manifests) if "namespace" in item["metadata"]] == []


def test_every_selector_finds_a_pod(manifests: Manifests) -> None:
    labels = [
        item["spec"]["template"]["metadata"]["labels"]
        for item in _objects(manifests)
        if item["kind"] in ("StatefulSet", "Deployment")
    ]
    for item in _objects(manifests):
        spec = item["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= pod.items() for pod in labels), item["metadata"]["name"]


def test_images_are_those_of_the_base(manifests: Manifests, kustomization: dict[str, Any]) -> None:
    used = {container["image"] for pod in _pods(manifests).values() for container in pod["containers"]}
    assert used == {image["name"] for image in kustomization["images"]}


def test_every_pod_passes_the_restricted_standard(manifests: Manifests) -> None:
    """Pod Security Standards, level restricted, and a read-only root on top."""
    pods = _pods(manifests)
    assert set(pods) == {"stillroom-server", "stillroom-worker"}
    for pod in pods.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all(volume.keys() & {"emptyDir", "persistentVolumeClaim"} for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"].keys() == {"requests", "limits"}


def test_volumes_are_mounted_and_claimed(manifests: Manifests) -> None:
    claims = {o["metadata"]["name"] for o in _objects(manifests) if o["kind"] == "PersistentVolumeClaim"}
    for pod in _pods(manifests).values():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        claimed = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values() if "persistentVolumeClaim" in v}
        assert claimed == claims
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == volumes.keys()


def test_the_service_reaches_the_ports_of_the_server(manifests: Manifests) -> None:
    (container,) = _pods(manifests)["stillroom-server"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "grpc": 8001, "metrics": 8002}
    (service,) = manifests["server-service.yaml"]
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; it renders the base")
def test_kubectl_renders_the_base(deploy: Path, manifests: Manifests) -> None:
    run = subprocess.run(
        ["kubectl", "kustomize", deploy / "kustomize" / "base"], check=True, capture_output=True, text=True
    )
    rendered = [item for item in yaml.safe_load_all(run.stdout) if item]
    assert len(rendered) == len(_objects(manifests))
    for item in rendered:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
