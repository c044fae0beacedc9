"""The compose file and the monitoring beside it are valid, closed and speak of metrics that exist."""

import re
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml


def test_the_compose_file_fits_the_specification(compose: dict[str, Any]) -> None:
    # The parser reads no merge keys (`<<`), which Compose itself resolves first.
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(compose))
    parsed.validate()
    parsed.validate_volumes()
    assert sorted(parsed.service_names()) == ["prometheus", "server", "worker"]


def test_the_specification_check_sees_a_slip(compose: dict[str, Any]) -> None:
    wrong = {**compose, "services": {"server": {**compose["services"]["server"], "readonly": True}}}
    with pytest.raises(ValueError, match="readonly"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(wrong))


def test_every_service_is_closed(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_worker_has_no_network(compose: dict[str, Any]) -> None:
    assert compose["services"]["worker"]["network_mode"] == "none"


def test_what_it_builds_and_mounts_exists(compose: dict[str, Any], deploy: Path) -> None:
    for service in compose["services"].values():
        if "build" in service:
            context = (deploy / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (deploy / source).is_dir()


def test_prometheus_scrapes_the_servers_metrics_port(compose: dict[str, Any], deploy: Path) -> None:
    config = yaml.safe_load((deploy / "monitoring" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    ((target,),) = [static["targets"] for static in job["static_configs"]]
    host, port = target.split(":")
    assert host in compose["services"]
    assert f"127.0.0.1:{port}:{port}" in compose["services"][host]["ports"]
    assert [name for name in config["rule_files"] if not (deploy / "monitoring" / name).is_file()] == []


def test_alerts_speak_of_metrics_that_are_documented(deploy: Path) -> None:
    rules = yaml.safe_load((deploy / "monitoring" / "alerts.yml").read_text())
    page = (deploy.parent / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"`(stillroom_\w+)`", page))
    for rule in rules["groups"][0]["rules"]:
        for name in re.findall(r"\bstillroom_\w+", rule["expr"]):
            assert name.removesuffix("_bucket") in documented, rule["alert"]
