"""Points scored for real: a residual network folded, asked the selection rows, and timed against its source."""

import pytest

from optimizer.artifact.digest import of_file, of_tree
from optimizer.artifact.hardware import fingerprint
from optimizer.pipeline.fold import Bench
from optimizer.pipeline.inputs import read_inputs
from optimizer.pipeline.steps import StepStore
from optimizer.recipe.document import parse_yaml
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.trial import TrialSpec
from optimizer.search.scorer import Hopeless, Scorer


@pytest.fixture(scope="module")
def scorer(resnet, resnet_onnx, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("study")
    spec = TrialSpec.model_validate(
        {
            "tenant": "default",
            "model": "tiny",
            "task": "classification",
            "variant": "r1.tuned",
            "checkpoint": {
                "revision": "r1",
                "digest": of_tree({path.name: of_file(path) for path in resnet.directory.iterdir()}),
                "format": "huggingface",
                "directory": str(resnet.directory),
            },
            "dataset": {"digest": of_file(resnet.data), "files": {"all": str(resnet.data)}},
            "recipe": {"name": "tuned", "steps": [{"use": "export"}]},
            "source": {
                "name": "r1.fp32",
                "model": str(resnet_onnx.path),
                "manifest": str(resnet_onnx.path),
                "evaluation": str(resnet_onnx.path),
            },
            "session": {"intra_op_threads": 1},
            "scratch": str(scratch),
        }
    )
    inputs = read_inputs(spec)
    return Scorer.of(Bench(spec, inputs, fingerprint(), StepStore(scratch / "steps", {}), lambda event: None))


def _recipe(*steps: str) -> Recipe:
    recipe = parse_yaml("name: point\nsteps: [" + ", ".join(steps) + "]")
    assert isinstance(recipe, Recipe)
    return recipe


def test_the_source_scores_as_itself(scorer):
    figures = scorer.figures(_recipe("{use: export}"), 0.0, lambda share, what: None)
    assert figures.accuracy == scorer.source_accuracy() > 0.9
    assert figures.size == pytest.approx(1.0, rel=0.05)


def test_a_smaller_network_is_smaller_and_its_steps_are_not_run_twice(scorer):
    told: list[str] = []
    recipe = _recipe("{use: prune_structured, ratio: 0.5}", "{use: export}", "{use: quantize_static}")
    figures = scorer.figures(recipe, -1.0, lambda share, what: told.append(what))
    assert figures.size < 0.2
    assert {"prune_structured", "export", "quantize_static"} <= set(told)
    told.clear()
    again = scorer.figures(recipe, -1.0, lambda share, what: told.append(what))
    assert (again.accuracy, again.size) == (figures.accuracy, figures.size)
    assert "prune_structured" not in told


def test_a_point_that_is_hopeless_after_the_export_is_given_up(scorer):
    recipe = _recipe("{use: prune_structured, ratio: 0.5}", "{use: export}", "{use: quantize_static, rows: 9}")
    told: list[str] = []
    with pytest.raises(Hopeless, match="given up after the export"):
        scorer.figures(recipe, 1.01, lambda share, what: told.append(what))
    assert "quantize_static" not in told
