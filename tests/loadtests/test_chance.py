import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadtests.chance import chi_square_p, chi_square_tail, smallest_expected


# Critical values as every table of the distribution gives them.
@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [(3.841, 1, 0.05), (6.635, 1, 0.01), (5.991, 2, 0.05), (7.815, 3, 0.05), (18.307, 10, 0.05), (10.828, 1, 0.001)],
)
def test_the_tail_at_known_points(statistic: float, degrees: int, tail: float) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(tail, rel=1e-3)


@given(st.floats(1e-6, 200), st.integers(1, 40))
def test_the_tail_is_the_distribution(statistic: float, degrees: int) -> None:
    expected = float(stats.chi2.sf(statistic, degrees))
    assert chi_square_tail(statistic, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("statistic", [0.0, -1e-12])
def test_nothing_is_certain_to_be_exceeded(statistic: float) -> None:
    assert chi_square_tail(statistic, 3) == 1.0


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0.05, 1)), min_size=2, max_size=8))
def test_goodness_of_fit_is_pearsons(arms: list[tuple[int, float]]) -> None:
    counts = [count for count, _ in arms]
    weight = sum(share for _, share in arms)
    shares = [share / weight for _, share in arms]
    if not sum(counts):
        counts[0] = 1
    expected = stats.chisquare(counts, [share * sum(counts) for share in shares])
    assert chi_square_p(counts, shares) == pytest.approx(float(expected.pvalue), rel=1e-6, abs=1e-200)


def test_a_perfect_split_is_no_surprise_and_a_swapped_one_is() -> None:
    assert chi_square_p([75, 25], [0.75, 0.25]) == 1.0
    assert chi_square_p([25, 75], [0.75, 0.25]) < 1e-20


@pytest.mark.parametrize(("counts", "shares"), [([1], [1.0]), ([], []), ([1, 2], [1.0])])
def test_counts_and_shares_must_pair_up(counts: list[int], shares: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        chi_square_p(counts, shares)


def test_the_smallest_expected_count_is_that_of_the_rarest() -> None:
    assert smallest_expected([60, 40], [0.9, 0.1]) == pytest.approx(10)
