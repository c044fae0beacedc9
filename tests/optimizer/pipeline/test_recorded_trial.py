"""A torch.export archive goes the whole way: narrowed, taught, exported, quantised, measured."""

from typing import Any

from optimizer.artifact.manifest import Verdict


def test_an_archive_is_slimmed_and_keeps_its_accuracy(recorded_residual: Any, make_trial: Any) -> None:
    source = make_trial(recorded_residual, "recorded-fp32", [{"use": "export"}]).run_here()
    before = source.finished().manifest
    assert before.verdict is Verdict.SOURCE
    steps = [
        {"use": "prune_structured", "ratio": 0.5},
        {"use": "distill", "epochs": 4},
        {"use": "export"},
        {"use": "quantize_static"},
    ]
    trial = make_trial(recorded_residual, "recorded-slim-int8", steps, source, cache={}).run_here()
    manifest = trial.finished().manifest
    assert trial.ran == ["prune_structured", "distill", "export", "quantize_static"]
    (measured,) = manifest.measurements
    assert measured.metric.value > before.measurements[0].metric.value - 0.1
    assert manifest.size_bytes < before.size_bytes
    again = make_trial(recorded_residual, "recorded-slim", steps[:3], source, cache=trial.steps).run_here()
    assert again.cached == ["prune_structured", "distill", "export"]
