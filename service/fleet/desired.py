"""Which variants engines hold, and how traffic is split between them: a pure function of the registry."""

from collections.abc import Callable, Iterable
from pathlib import Path

from optimizer.artifact.manifest import GOLDEN_FILE, MODEL_FILE, Verdict
from optimizer.artifact.signature import Signature
from service.registry.serving import PublishedVariant, Snapshot, Split
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire


def desired_state(snapshot: Snapshot, location: Callable[[str], Path]) -> wire.DesiredState:
    """All accepted variants and the arms of every present split, with those splits; `version` is left 0.

    `location` says where a blob lies. The order is that of (tenant, model, revision, publication), so that a model's
    oldest source comes first. An arm that names no published variant is left out with its whole split.
    """
    published = {(v.tenant, v.model, v.name): v for v in snapshot.variants}
    splits = [
        split for split in snapshot.splits if all((split.tenant, split.model, arm) in published for arm in split.arms)
    ]
    arms = {(split.tenant, split.model, arm) for split in splits for arm in split.arms}
    held = [variant for key, variant in published.items() if variant.accepted or key in arms]
    held.sort(key=lambda v: (v.tenant, v.model, v.revision, v.ordinal))
    splits.sort(key=lambda split: (split.tenant, split.model))
    return wire.DesiredState(
        variants=[_held(variant, location) for variant in held], traffic=[_table(split) for split in splits]
    )


def next_version(current: int, reported: Iterable[int]) -> int:
    """A version newer than our own last one and than everything that any engine has been told before.

    An engine remembers its last table, and may have it from a control process before this one.
    """
    return max((current, *reported)) + 1


def _held(variant: PublishedVariant, location: Callable[[str], Path]) -> wire.HeldVariant:
    golden = variant.files.get(GOLDEN_FILE)
    return wire.HeldVariant(
        tenant=variant.tenant,
        model=variant.model,
        variant=variant.name,
        model_path=str(location(variant.files[MODEL_FILE])),
        golden_path="" if golden is None else str(location(golden)),
        digest=variant.files[MODEL_FILE],
        signature_json=Signature.model_validate(variant.manifest["signature"]).model_dump_json(),
        source=variant.verdict == Verdict.SOURCE,
        labels=_labels(variant),
    )


def _labels(variant: PublishedVariant) -> dict[str, str]:
    labels = {"recipe": variant.manifest["lineage"]["recipe"], "verdict": variant.verdict}
    for measurement in variant.manifest["measurements"][:1]:
        metric = measurement["metric"]
        labels[metric["name"]] = f"{metric['value']:.6g}"
    return labels


def _table(split: Split) -> wire.TrafficTable:
    return wire.TrafficTable(
        tenant=split.tenant,
        model=split.model,
        generation=split.generation,
        salt=split.salt,
        arms=[wire.TrafficArm(variant=variant, basis_points=points) for variant, points in split.arms.items()],
    )
