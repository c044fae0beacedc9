import json
import subprocess
import sys

import pytest

from optimizer.recipe.trial import Failed


def _changed(trial, *path, value):
    target = trial.values
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return trial


def test_learning_rate_that_is_no_number_is_refused_before_any_work(resnet, make_trial):
    trial = make_trial(resnet, "nan", [{"use": "distill", "learning_rate": float("nan")}, {"use": "export"}])
    failed = trial.run_here().failed()
    assert (trial.status, failed.kind, failed.step) == (3, "invalid_recipe", None)
    assert "learning_rate" in failed.message
    assert len(trial.events) == 1


def test_training_that_diverges_names_its_step(resnet, make_trial):
    steps = [{"use": "distill", "learning_rate": 1e18, "warmup_share": 0}, {"use": "export"}]
    trial = make_trial(resnet, "diverges", steps)
    failed = trial.run_here().failed()
    assert (trial.status, failed.kind, failed.step) == (3, "pass_failed", "distill")
    assert "lower learning rate" in failed.message


def test_pass_that_makes_no_sense_is_not_applicable(resnet, source, make_trial):
    trial = make_trial(resnet, "fused", [{"use": "export"}, {"use": "fuse"}], source).run_here()
    assert (trial.status, trial.failed().kind, trial.failed().step) == (3, "not_applicable", "fuse")
    assert trial.cached == ["export"]


def test_steps_in_an_impossible_order_are_refused(resnet, make_trial):
    failed = make_trial(resnet, "order", [{"use": "export"}, {"use": "distill"}]).run_here().failed()
    assert failed.kind == "invalid_recipe"
    assert "distill" in failed.message


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("checkpoint",), {"revision": "r1"}, "checkpoint"),
        (("scratch",), None, "scratch"),
        (("task",), "telepathy", "task"),
        (("recipe", "steps"), [{"use": "magic"}], "magic"),
    ],
)
def test_spec_that_lacks_something_says_what(resnet, make_trial, path, value, says):
    trial = make_trial(resnet, "bad", [{"use": "export"}])
    scratch = trial.scratch
    failed = _changed(trial, *path, value=value).run_here().failed()
    assert failed.kind == "invalid_recipe"
    assert says in failed.message
    assert str(scratch) not in failed.message


def test_weights_of_another_model_are_refused(resnet, make_trial, tmp_path):
    class Other:
        directory = tmp_path / "checkpoint"
        data = resnet.data

    Other.directory.mkdir()
    config = json.loads((resnet.directory / "config.json").read_text())
    config["depths"] = [1, 3]
    (Other.directory / "config.json").write_text(json.dumps(config))
    (Other.directory / "model.safetensors").write_bytes((resnet.directory / "model.safetensors").read_bytes())
    trial = make_trial(Other, "other", [{"use": "export"}]).run_here()
    assert trial.failed().kind == "invalid_checkpoint"
    assert "missing weights" in trial.failed().message
    assert "encoder.stages.1.layers.2" in trial.failed().message


def test_data_of_another_shape_is_refused(resnet, vit, make_trial):
    trial = make_trial(vit, "shape", [{"use": "export"}])
    trial.values["dataset"]["files"]["all"] = str(resnet.directory / "config.json")
    assert trial.run_here().failed().kind == "invalid_dataset"


def test_bad_use_is_status_two():
    done = subprocess.run([sys.executable, "-m", "optimizer"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage" in done.stderr
    assert done.stdout == ""


def test_spec_that_is_not_there_is_a_failed_event(tmp_path):
    command = [sys.executable, "-m", "optimizer", "run", str(tmp_path / "nowhere.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert Failed.model_validate_json(done.stdout).kind == "invalid_recipe"
