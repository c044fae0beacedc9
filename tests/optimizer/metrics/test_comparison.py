"""Intervals by the bootstrap: they cover, they are paired, they know of groups, and they agree with closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score, root_mean_squared_error

from optimizer.artifact.task import TASKS, Task
from optimizer.metrics.bootstrap import metric_draws, percentile_interval
from optimizer.metrics.comparison import compare, mcnemar, stated
from optimizer.metrics.intervals import PairedCounts, wilson
from optimizer.metrics.scoring import scoring


def errors(random: np.random.Generator, rows: int, scale: float = 1.0) -> np.ndarray:
    return (random.normal(0, scale, (rows, 1)) ** 2).astype(np.float64)


def statistics(task: Task, random: np.random.Generator, rows: int) -> np.ndarray:
    """Random but valid statistics of a task."""
    truth = random.integers(0, 2, rows)
    made = {
        "classification": truth[:, None],
        "agreement": truth[:, None],
        "binary": np.stack([np.round(random.normal(truth, 1.0), 1), truth], axis=1),
        "multilabel": random.integers(0, 4, (rows, 3)),
        "regression": errors(random, rows),
        "token_classification": np.stack([random.integers(0, 5, rows), np.full(rows, 5)], axis=1),
        "embedding": random.uniform(0.5, 1, (rows, 1)),
        "causal_lm": np.stack([random.uniform(5, 20, rows), np.full(rows, 7)], axis=1),
    }
    return made[task].astype(np.float64)


@pytest.mark.parametrize("task", TASKS)
def test_many_weightings_at_once_are_the_same_as_one_at_a_time(task: Task) -> None:
    random = np.random.default_rng(0)
    rows = statistics(task, random, 30)
    weights = random.integers(0, 3, (20, 30)).astype(np.float64)
    how = scoring(task)
    np.testing.assert_allclose(how.values(rows, weights), [how.value(rows, one) for one in weights])


def test_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    truth, scores = random.integers(0, 2, 50), np.round(random.normal(size=50), 1)
    how = scoring("binary")
    drawn = how.values(how.statistics(scores, truth), np.ones((1, 50)))
    assert drawn[0] == pytest.approx(roc_auc_score(truth, scores))
    labels, said = random.integers(0, 2, (50, 4)), random.normal(size=(50, 4))
    f1 = scoring("multilabel")
    assert f1.metric_of(f1.statistics(said, labels)) == pytest.approx(f1_score(labels, said > 0, average="micro"))
    rmse = scoring("regression")
    expected = root_mean_squared_error(labels[:, 0], said[:, 0])
    assert rmse.metric_of(rmse.statistics(said[:, 0], labels[:, 0])) == pytest.approx(expected)


def test_an_interval_of_the_difference_covers_it_as_often_as_it_says() -> None:
    """400 samples of 60 rows: 95% intervals miss 20 of them, give or take; 45 or more would be four deviations off."""
    random = np.random.default_rng(2)
    how = scoring("regression")
    true = np.sqrt(1.0 + 0.25) - 1.0
    missed = 0
    for sample in range(400):
        shared = random.normal(0, 1.0, 60)
        mine = (shared + random.normal(0, 0.5, 60)) ** 2
        found = compare(how, mine[:, None], (shared**2)[:, None], None, sample, draws=400).difference
        missed += not found.low <= true <= found.high
    assert missed < 45


def test_an_interval_of_grouped_rows_covers_where_that_of_single_rows_does_not() -> None:
    """Ten equal rows a group are one witness, not ten."""
    random = np.random.default_rng(3)
    how = scoring("embedding")
    group = np.repeat(np.arange(30), 10)
    missed = {"grouped": 0, "single": 0}
    for sample in range(200):
        mine = np.repeat(random.normal(0.5, 0.1, 30), 10)[:, None]
        for name, of in (("grouped", group), ("single", None)):
            found = stated(how, mine, of, sample, draws=300)
            missed[name] += not found.low <= 0.5 <= found.high
    assert missed["grouped"] < 25
    assert missed["single"] > 80


@settings(max_examples=20)
@given(st.integers(5, 60), st.integers(0, 2**16))
def test_changing_sides_turns_the_interval_round(rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mine, theirs = statistics("binary", random, rows), statistics("binary", random, rows)
    there = compare(scoring("binary"), mine, theirs, None, 0, draws=100).difference
    back = compare(scoring("binary"), theirs, mine, None, 0, draws=100).difference
    np.testing.assert_allclose([there.value, there.low, there.high], [-back.value, -back.high, -back.low], atol=1e-12)


@settings(max_examples=20)
@given(st.lists(st.floats(-5, 5), min_size=20, max_size=50), st.integers(2, 200))
def test_more_confidence_is_wider_and_more_witnesses_narrower(drawn: list[float], units: int) -> None:
    values = np.array(drawn)
    middle = float(np.median(values))
    narrow = percentile_interval(middle, values, units, 0.90)
    wide = percentile_interval(middle, values, units, 0.95)
    more = percentile_interval(middle, values, units + 50, 0.95)
    assert wide.low <= narrow.low <= middle <= narrow.high <= wide.high
    assert wide.low <= more.low <= more.high <= wide.high


def test_shares_of_right_rows_have_closed_forms_and_groups_make_them_no_narrower() -> None:
    random = np.random.default_rng(4)
    right = statistics("classification", random, 80)
    how = scoring("classification")
    assert stated(how, right, None, 0) == wilson(int(right.sum()), 80)
    grouped = stated(how, right, np.repeat(np.arange(8), 10), 0)
    assert grouped.low <= wilson(int(right.sum()), 80).low
    # Two groups that agree by chance are no proof that nothing was lost.
    same = compare(how, right, right, np.repeat([0, 1], 40), 0)
    assert same.difference.low < 0 < same.difference.high


def test_better_is_positive_whatever_the_metric_and_relative_where_it_has_no_end() -> None:
    random = np.random.default_rng(5)
    source = errors(random, 200)
    worse = compare(scoring("regression"), source * 1.21, source, None, 0)
    assert worse.relative
    assert worse.difference.value > 0
    assert worse.loss_bounds.value == pytest.approx(-0.1)
    # Every draw has the same ratio, so the margin is decided by any number of rows.
    assert worse.loss_bounds.high - worse.loss_bounds.low < 1e-9


def test_rows_needed_fall_with_the_distance_to_the_margin() -> None:
    random = np.random.default_rng(6)
    source, mine = errors(random, 100), errors(random, 100)
    paired = compare(scoring("regression"), mine, source, None, 0)
    far, near = paired.rows_needed(0.9), paired.rows_needed(0.3)
    assert far is not None
    assert near is not None
    assert far < near
    assert paired.rows_needed(-paired.loss_bounds.value) is None
    assert paired.resolvable > 0


def test_the_same_seed_gives_the_same_draws() -> None:
    rows = statistics("causal_lm", np.random.default_rng(7), 40)
    first, again = (metric_draws(scoring("causal_lm"), [rows], None, 3, 50)[0] for _ in range(2))
    other = metric_draws(scoring("causal_lm"), [rows], None, 4, 50)[0]
    assert (first == again).all()
    assert (first != other).any()


def test_mcnemars_p_value_is_the_exact_one() -> None:
    assert mcnemar(PairedCounts(n=100, both=90, gained=0, lost=6)) == pytest.approx(2 / 2**6)
    assert mcnemar(PairedCounts(n=100, both=90, gained=3, lost=3)) == 1
    assert mcnemar(PairedCounts(n=100, both=90, gained=0, lost=0)) == 1
