"""What engines are to hold follows from the registry, whatever the order in which it is read."""

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from service.fleet.desired import desired_state, next_version
from service.registry.serving import PublishedVariant, Snapshot, Split
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire

MANIFEST = {
    "signature": {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 3]}],
        "limits": {},
    },
    "lineage": {"recipe": "int8"},
    "measurements": [{"metric": {"name": "accuracy", "value": 0.98765432}}],
}


def location(sha256: str) -> Path:
    return Path("/blobs") / sha256


def published(model: str, revision: int, ordinal: int, verdict: str, golden: bool = True) -> PublishedVariant:
    files = {"model.onnx": f"{model}{ordinal}", "manifest.json": "m"}
    return PublishedVariant(
        tenant="t",
        model=model,
        name=f"r{revision}.v{ordinal}",
        revision=revision,
        ordinal=ordinal,
        accepted=verdict in ("source", "accept"),
        verdict=verdict,
        files={**files, "golden.npz": "g"} if golden else files,
        manifest=MANIFEST,
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    verdicts = st.sampled_from(["source", "accept", "reject", "inconclusive", "not_measured"])
    variants = tuple(
        published(draw(st.sampled_from("ab")), draw(st.integers(1, 3)), ordinal, draw(verdicts))
        for ordinal in range(draw(st.integers(0, 8)))
    )
    splits = []
    for model in "ab":
        names = [variant.name for variant in variants if variant.model == model]
        if names and draw(st.booleans()):
            arms = draw(st.lists(st.sampled_from([*names, "r9.gone"]), min_size=1, max_size=3, unique=True))
            points = {arm: 10_000 // len(arms) for arm in arms}
            splits.append(Split("t", model, draw(st.integers(1, 9)), points, f"salt-{model}"))
    return Snapshot(variants, tuple(splits))


def names(state: wire.DesiredState) -> set[tuple[str, str]]:
    return {(held.model, held.variant) for held in state.variants}


@given(snapshots())
def test_accepted_variants_and_arms_are_held_and_nothing_else(snapshot: Snapshot) -> None:
    state = desired_state(snapshot, location)
    accepted = {(variant.model, variant.name) for variant in snapshot.variants if variant.accepted}
    arms = {(table.model, arm.variant) for table in state.traffic for arm in table.arms}
    assert names(state) == accepted | arms
    assert len(state.variants) == len(names(state))


@given(snapshots())
def test_splits_are_passed_on_whole_or_not_at_all(snapshot: Snapshot) -> None:
    state = desired_state(snapshot, location)
    known = {(variant.model, variant.name) for variant in snapshot.variants}
    whole = {
        split.model: (split.generation, split.salt, split.arms)
        for split in snapshot.splits
        if all((split.model, arm) in known for arm in split.arms)
    }
    passed = {
        table.model: (table.generation, table.salt, {arm.variant: arm.basis_points for arm in table.arms})
        for table in state.traffic
    }
    assert passed == whole


@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_reading_does_not_matter(snapshot: Snapshot, order: random.Random) -> None:
    shuffled = Snapshot(
        tuple(order.sample(snapshot.variants, len(snapshot.variants))),
        tuple(order.sample(snapshot.splits, len(snapshot.splits))),
    )
    assert desired_state(shuffled, location) == desired_state(snapshot, location)


@given(snapshots())
def test_a_models_oldest_source_comes_first(snapshot: Snapshot) -> None:
    state = desired_state(snapshot, location)
    for model in "ab":
        listed = [held.variant for held in state.variants if held.model == model and held.source]
        sources = [v for v in snapshot.variants if v.model == model and v.verdict == "source"]
        assert listed == [v.name for v in sorted(sources, key=lambda v: (v.revision, v.ordinal))]


def test_a_held_variant_says_all_that_an_engine_needs() -> None:
    variants = (published("a", 1, 1, "source"), published("a", 1, 2, "accept", golden=False))
    first, second = desired_state(Snapshot(variants, ()), location).variants
    assert (first.tenant, first.model, first.variant, first.source) == ("t", "a", "r1.v1", True)
    assert (first.model_path, first.golden_path, first.digest) == ("/blobs/a1", "/blobs/g", "a1")
    assert dict(first.labels) == {"recipe": "int8", "verdict": "source", "accuracy": "0.987654"}
    assert '"batch"' in first.signature_json
    assert (second.source, second.golden_path, second.session_json) == (False, "", "")


@given(st.integers(0, 100), st.lists(st.integers(0, 100)))
def test_a_version_is_newer_than_every_other(current: int, reported: list[int]) -> None:
    version = next_version(current, reported)
    assert version > current
    assert all(version > other for other in reported)
