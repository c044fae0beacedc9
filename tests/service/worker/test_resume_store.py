"""What unfinished passes go on from is kept by trial, never followed, and gone with the job."""

from pathlib import Path

from service.worker.resume_store import ResumeStore


def test_a_trial_finds_what_its_last_attempt_left(tmp_path: Path) -> None:
    store = ResumeStore(tmp_path)
    (store.open("aa", 1) / "state.safetensors").write_bytes(b"half")
    assert (ResumeStore(tmp_path).open("aa", 1) / "state.safetensors").read_bytes() == b"half"
    assert list(store.open("aa", 2).iterdir()) == []
    store.forget("aa", 1)
    assert list(store.open("aa", 1).iterdir()) == []


def test_links_are_neither_followed_nor_kept(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "resume"
    outside.mkdir()
    root.mkdir()
    (outside / "precious").write_text("stays")
    (root / "aa-1").symlink_to(outside)
    store = ResumeStore(root)
    opened = store.open("aa", 1)
    assert not opened.is_symlink()
    assert list(opened.iterdir()) == []
    (opened / "way-out").symlink_to(outside)
    store.forget("aa", 1)
    assert (outside / "precious").read_text() == "stays"


def test_what_belongs_to_no_open_job_is_collected(tmp_path: Path) -> None:
    store = ResumeStore(tmp_path)
    store.open("aa", 1).joinpath("state").write_text("x")
    locked = store.open("bb", 3)
    locked.chmod(0o000)
    (tmp_path / "odd").write_text("nobody's")
    assert store.collect(lambda job_id: job_id == "aa") == ["bb-3", "odd"]
    assert [path.name for path in tmp_path.iterdir()] == ["aa-1"]
