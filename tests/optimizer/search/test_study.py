"""Studies over a made-up objective: every sampler on the same space, and a real kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from optimizer.errors import PassFailed
from optimizer.pipeline.fold import StepFailed
from optimizer.recipe.document import parse_yaml
from optimizer.recipe.study import Study
from optimizer.recipe.trial import STUDY_FILE
from optimizer.search.figures import Figures
from optimizer.search.scorer import Hopeless
from optimizer.search.study import run

_ROOT = Path(__file__).parents[3]


def _study(**search: object) -> Study:
    lines = "\n".join(f"  {name}: {value}" for name, value in search.items())
    study = parse_yaml(
        "name: tuned\nsteps: [{use: prune_structured}, {use: distill, epochs: 1}, {use: export}]\n"
        "search:\n  space: {1.ratio: [0.25, 0.5, 0.75], 2.temperature: [1.0, 2.0, 4.0]}\n" + lines + "\n"
    )
    assert isinstance(study, Study)
    return study


def objective(recipe, number=0, of=0) -> Figures:
    """Pruning makes faster and worse; a temperature of two is best, whatever the ratio."""
    ratio, temperature = recipe.steps[0].ratio, recipe.steps[1].temperature
    return Figures(1 - 0.1 * ratio - 0.05 * abs(temperature - 2), 1 - ratio, 1 - ratio)


def _counting(asked: list[tuple[float, float]]):
    def score(recipe, number, of):
        asked.append((recipe.steps[0].ratio, recipe.steps[1].temperature))
        return objective(recipe)

    return score


@pytest.mark.parametrize("sampler", ["grid", "tpe", "gp", "nsga2"])
def test_every_sampler_finds_the_front_of_the_same_space(sampler, tmp_path):
    asked: list[tuple[float, float]] = []
    result = run(_study(sampler=sampler, trials=30, narrow="false"), _counting(asked), 0.0, tmp_path)
    best = [(recipe.steps[0].ratio, recipe.steps[1].temperature) for recipe, _ in result.finalists]
    assert best == [(0.25, 2.0), (0.5, 2.0), (0.75, 2.0)]
    assert [recipe.name for recipe, _ in result.finalists] == ["tuned-1", "tuned-2", "tuned-3"]
    # A point that was tried is never paid for again.
    assert len(asked) == len(set(asked)) <= 9
    assert "of the source's time" in result.finalists[0][1]


def test_the_floor_keeps_points_from_being_finalists(tmp_path):
    result = run(_study(sampler="grid", trials=9), objective, 0.95, tmp_path)
    assert [recipe.steps[0].ratio for recipe, _ in result.finalists] == [0.25, 0.5]


def test_single_values_are_probed_first_and_losers_left_out(tmp_path):
    asked: list[tuple[float, float]] = []
    run(_study(sampler="tpe", trials=12), _counting(asked), 0.0, tmp_path)
    probes = [(0.5, 2.0), (0.25, 2.0), (0.75, 2.0), (0.5, 1.0), (0.5, 4.0)]
    assert sorted(asked[:5]) == sorted(probes)
    # Temperatures of one and four lose accuracy and gain no time; but times equal within the noise keep them in.
    study = optuna.load_study(study_name="tuned", storage=f"sqlite:///{tmp_path / STUDY_FILE}")
    assert len(study.trials) >= 5


def test_failed_and_hopeless_points_are_told_and_passed_over(tmp_path):
    def score(recipe, number, of):
        if recipe.steps[0].ratio == 0.75:
            raise StepFailed("prune_structured", PassFailed("nothing could be pruned"))
        if recipe.steps[1].temperature == 4.0:
            raise Hopeless(0.1)
        return objective(recipe)

    result = run(_study(sampler="grid", trials=9), score, 0.0, tmp_path)
    states = [str(row[-1]) for row in result.table.rows]
    assert sum("nothing could be pruned" in state for state in states) == 3
    assert sum("given up after the export" in state for state in states) == 2
    assert {recipe.steps[0].ratio for recipe, _ in result.finalists} == {0.25, 0.5}


def test_the_budget_ends_the_search(tmp_path):
    times = iter(range(1000))
    asked: list[tuple[float, float]] = []
    study = _study(sampler="tpe", trials=9, budget_seconds=3, narrow="false")
    run(study, _counting(asked), 0.0, tmp_path, clock=lambda: float(next(times)))
    assert 1 <= len(asked) < 4


def test_goals_may_be_accuracy_and_size(tmp_path):
    result = run(_study(sampler="grid", trials=9, goals="[accuracy, size]"), objective, 0.0, tmp_path)
    assert len(result.finalists) == 3


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_study import _study, objective
from optimizer.search.study import run
asked = Path({asked!r})
def score(recipe, number, of):
    with asked.open("a") as stream:
        stream.write(f"{{recipe.steps[0].ratio}},{{recipe.steps[1].temperature}}\\n")
    if {kill} and len(asked.read_text().splitlines()) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return objective(recipe)
run(_study(sampler="grid", trials=9), score, 0.0, Path({directory!r}))
"""


def test_a_killed_study_goes_on_after_its_last_finished_point(tmp_path):
    asked = tmp_path / "asked"
    for kill, status in ((True, -signal.SIGKILL), (False, 0)):
        program = _KILLED.format(tests=str(Path(__file__).parent), asked=str(asked), kill=kill, directory=str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(_ROOT)}, check=False, cwd=tmp_path
        )
        assert done.returncode == status
    lines = asked.read_text().splitlines()
    # All nine points, and only the one that was on its way twice.
    assert len(set(lines)) == 9
    assert len(lines) == 10
    assert lines.count(lines[4]) == 2
