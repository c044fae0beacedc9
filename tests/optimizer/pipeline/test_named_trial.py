"""A state dict of an installed architecture goes the whole way: narrowed, taught, exported, quantised, measured."""

from typing import Any

import pytest

from optimizer.artifact.manifest import Verdict


@pytest.mark.usefixtures("installed")
def test_a_state_dict_is_slimmed_and_keeps_its_accuracy(named_residual: Any, make_trial: Any) -> None:
    source = make_trial(named_residual, "named-fp32", [{"use": "export"}]).run_here()
    before = source.finished().manifest
    assert before.verdict is Verdict.SOURCE
    steps = [
        {"use": "prune_structured", "ratio": 0.5},
        {"use": "distill", "epochs": 4},
        {"use": "export"},
        {"use": "quantize_static"},
    ]
    trial = make_trial(named_residual, "named-slim-int8", steps, source, cache={}).run_here()
    manifest = trial.finished().manifest
    assert trial.ran == ["prune_structured", "distill", "export", "quantize_static"]
    (measured,) = manifest.measurements
    assert measured.metric.value > before.measurements[0].metric.value - 0.1
    assert manifest.size_bytes < before.size_bytes
    again = make_trial(named_residual, "named-slim", steps[:3], source, cache=trial.steps).run_here()
    assert again.cached == ["prune_structured", "distill", "export"]
