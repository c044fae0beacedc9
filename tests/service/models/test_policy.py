from hypothesis import given
from hypothesis import strategies as st

from service.models.policy import Action, Held, next_action
from service.models.servable import State

helds = st.lists(
    st.builds(
        Held,
        key=st.integers(0, 20),
        model=st.sampled_from("ab"),
        state=st.sampled_from(State),
        desired=st.booleans(),
        routed=st.booleans(),
        urgent=st.booleans(),
    ),
    unique_by=lambda held: held.key,
    max_size=8,
)


def after(held: Held, action: Action) -> Held | None:
    """What a servable is once an action has succeeded."""
    if held.key != action.key:
        return held
    if action.kind == "forget":
        return None
    state = State.READY if action.kind == "load" else State.UNLOADED
    return Held(held.key, held.model, state, held.desired, held.routed, held.urgent)


@given(helds)
def test_nothing_that_is_wanted_or_routed_is_given_up(held) -> None:
    action = next_action(held)
    if action is not None and action.kind != "load":
        (target,) = [servable for servable in held if servable.key == action.key]
        assert not target.desired
        assert not target.routed or target.state is State.NEW


@given(helds)
def test_each_action_fits_the_state_it_finds(held) -> None:
    action = next_action(held)
    if action is not None:
        (target,) = [servable for servable in held if servable.key == action.key]
        allowed = {
            "load": {State.NEW},
            "unload": {State.READY},
            "forget": {State.NEW, State.FAILED, State.UNLOADED},
        }
        assert target.state in allowed[action.kind]


@given(helds)
def test_nothing_is_unloaded_while_something_of_its_model_is_still_to_come(held) -> None:
    action = next_action(held)
    if action is not None and action.kind == "unload":
        (target,) = [servable for servable in held if servable.key == action.key]
        coming = [s for s in held if s.model == target.model and s.desired and s.state in (State.NEW, State.LOADING)]
        assert not coming


@given(helds)
def test_the_rule_comes_to_rest_with_what_is_wanted(held) -> None:
    for _ in range(3 * len(held) + 1):
        action = next_action(held)
        if action is None:
            break
        held = [result for servable in held if (result := after(servable, action)) is not None]
    assert next_action(held) is None
    assert not [servable for servable in held if servable.desired and servable.state is State.NEW]
    loading = {servable.model for servable in held if servable.desired and servable.state is State.LOADING}
    for servable in held:
        if servable.state is State.READY and not servable.desired:
            assert servable.routed or servable.model in loading


def test_what_traffic_waits_for_is_loaded_first() -> None:
    plain = Held("plain", "m", State.NEW, desired=True, routed=False)
    urgent = Held("urgent", "m", State.NEW, desired=True, routed=False, urgent=True)
    assert next_action([plain, urgent]) == Action("load", "urgent")
    assert next_action([plain]) == Action("load", "plain")
