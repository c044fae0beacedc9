"""Fingerprints of hosts: from the kernel's own words, on hosts that this one is not."""

from pathlib import Path

import onnxruntime
import pytest

from optimizer.artifact.hardware import fingerprint, target_fingerprint

X86 = (
    "processor\t: 0\nmodel name\t: AMD  EPYC 7B13\nflags\t\t: fpu sse4_1 avx avx2 fma rdseed\n\n"
    "processor\t: 1\nflags\t\t: avx512f\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n"


def test_an_x86_host(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    found = fingerprint(tmp_path / "cpuinfo", tmp_path / "absent")
    assert (found.cpu, found.gpu) == ("AMD EPYC 7B13", None)
    assert found.isa == ("sse4_1", "avx", "fma", "avx2")
    assert not found.has_vnni
    assert found.cores >= 1
    assert found.onnxruntime == onnxruntime.__version__
    assert target_fingerprint(found, "cpu") == "cpu:sse4_1,avx,fma,avx2"


def test_an_arm_host(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    assert fingerprint(tmp_path / "cpuinfo", tmp_path).isa == ("asimd", "asimddp", "i8mm", "bf16")


@pytest.mark.parametrize("text", ["", "nonsense", "\xff"])
def test_a_host_that_says_nothing_still_has_a_fingerprint(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found = fingerprint(tmp_path / "cpuinfo", tmp_path / "absent")
    assert found.cpu
    assert len(found.isa) == 1


def test_a_gpu_is_named_without_asking_a_driver(tmp_path: Path) -> None:
    card = tmp_path / "gpus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   \t\t 1\n")
    found = fingerprint(tmp_path / "absent", tmp_path / "gpus")
    assert found.gpu == "NVIDIA H200"
    assert target_fingerprint(found, "cuda") == "cuda:NVIDIA H200"


def test_this_host_has_a_fingerprint() -> None:
    assert fingerprint() == fingerprint()
