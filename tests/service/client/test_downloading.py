import hashlib
from pathlib import Path

import pytest

from service.client import downloading
from service.client.client import Client
from service.client.fake.server import FakeServer
from service.errors import FailedPrecondition, NotFound, ServiceError


def test_pull_writes_the_files_with_their_digests(client: Client, published: str, tmp_path: Path) -> None:
    variant = client.variant(published, "r1.int8")
    paths = client.pull(published, "r1.int8", tmp_path / "deep" / "out")
    assert sorted(path.name for path in paths) == ["manifest.json", "model.onnx"]
    assert hashlib.sha256((tmp_path / "deep" / "out" / "model.onnx").read_bytes()).hexdigest() == variant.digest
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("damage_download", "arrived damaged"),
        ("hostile_download", "not a file of this variant"),
        ("cut_download", "before manifest.json"),
    ],
)
def test_bad_download_leaves_nothing_behind(
    server: FakeServer, client: Client, published: str, tmp_path: Path, fault: str, sentence: str
) -> None:
    setattr(server.state.faults, fault, True)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ServiceError, match=sentence):
        client.pull(published, "r1.int8", target / "out")
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "", "a/../../b", "a\\b"])
def test_announced_names_that_lead_out_are_refused(
    server: FakeServer, client: Client, published: str, tmp_path: Path, name: str
) -> None:
    for variant in server.state.variants[published]:
        variant.files[0].path = name
    with pytest.raises(ServiceError, match="leads out"):
        client.pull(published, "r1.int8", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_longer_than_announced_is_refused(server: FakeServer, client: Client, published: str, tmp_path: Path) -> None:
    for variant in server.state.variants[published]:
        variant.files[0].size_bytes = 10
    with pytest.raises(ServiceError, match="longer than the 10 bytes"):
        client.pull(published, "r1.int8", tmp_path / "out")


def test_existing_directory_is_kept(client: Client, published: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(FailedPrecondition, match="not an empty directory"):
        client.pull(published, "r1.int8", tmp_path)
    assert (tmp_path / "mine").read_text() == "keep"


def test_empty_directory_is_used(client: Client, published: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert len(client.pull(published, "r1.int8", tmp_path / "out")) == 2


def test_manifest_comes_without_the_weights(client: Client, published: str) -> None:
    assert client.manifest(published, "r1.int8")["name"] == "r1.int8"
    with pytest.raises(NotFound, match=r"r1\.nope"):
        client.manifest(published, "r1.nope")


def test_bytes_before_a_name_are_refused() -> None:
    response = downloading.pb2.DownloadVariantResponse(data=b"x")
    with pytest.raises(ServiceError, match="without saying"):
        list(downloading.by_file([response]))
