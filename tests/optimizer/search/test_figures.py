from hypothesis import given
from hypothesis import strategies as st

from optimizer.recipe.study import Range
from optimizer.search.figures import Figures, allowed_loss, front, narrowed, probes, spread

_GOALS = ("accuracy", "latency")
_shares = st.floats(0.01, 1.0)
_points = st.dictionaries(st.integers(0, 50), st.builds(Figures, _shares, _shares, _shares), min_size=1, max_size=12)


@given(_points)
def test_the_front_is_what_nothing_beats(points):
    found = front(points, _GOALS)
    assert found
    for number, mine in points.items():
        beaten = any(
            other.accuracy >= mine.accuracy and other.latency <= mine.latency
            and (other.accuracy > mine.accuracy or other.latency < mine.latency)
            for other in points.values()
        )  # fmt: skip
        assert (number in found) is not beaten
    accuracies = [points[number].accuracy for number in found]
    assert accuracies == sorted(accuracies, reverse=True)


@given(st.lists(st.integers(), unique=True, min_size=1, max_size=30), st.integers(1, 10))
def test_a_spread_keeps_the_order_and_both_ends(ordered, count):
    chosen = spread(ordered, count)
    assert len(chosen) == min(count, len(ordered)) == len(set(chosen))
    assert [value for value in ordered if value in chosen] == chosen
    assert chosen[0] == ordered[0]
    if count > 1:
        assert chosen[-1] == ordered[-1]


def test_probes_differ_from_the_base_in_one_value():
    space = {"a": (1, 2, 3), "b": ("x", "y"), "c": Range(low=0.0, high=1.0)}
    base = {"a": 2, "b": "x", "c": 0.5}
    found = probes(space, base)
    assert found[0] == base
    assert len(found) == 1 + 2 + 1
    assert all(sum(point[name] != base[name] for name in base) <= 1 for point in found)


def test_values_that_lose_on_every_goal_or_fail_are_left_out():
    space = {"a": (1, 2, 3, 4), "b": ("x", "y"), "c": Range(low=0.0, high=1.0)}
    base = {"a": 1, "b": "x", "c": 0.5}
    figures = [
        (base, Figures(0.90, 0.50, 1.0)),
        (base | {"a": 2}, Figures(0.80, 0.70, 1.0)),  # worse and slower
        (base | {"a": 3}, Figures(0.80, 0.30, 1.0)),  # worse and faster
        (base | {"a": 4}, None),  # failed
        (base | {"b": "y"}, Figures(0.89, 0.52, 1.0)),  # slower within the noise
    ]
    assert narrowed(space, base, figures, _GOALS) == {"a": (1, 3), "b": ("x", "y"), "c": space["c"]}


def test_a_name_whose_values_all_fail_keeps_them():
    base = {"a": 1}
    assert narrowed({"a": (1, 2)}, base, [(base, None), ({"a": 2}, None)], _GOALS) == {"a": (1, 2)}


def test_the_allowed_loss_is_points_or_a_share():
    assert allowed_loss("classification", 0.9, 0.02) == 0.02
    assert allowed_loss("causal_lm", -12.0, 0.02) == 0.24
