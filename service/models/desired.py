"""What control wants an engine to hold: from the message to Descriptions, and the copy that survives a restart."""

import contextlib
import os
from pathlib import Path

from google.protobuf.message import DecodeError
from pydantic import ValidationError

from optimizer.artifact import digest
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import Signature
from service.errors import InvalidArgument
from service.models.servable import Description
from service.wire.stillroom.internal.v1.engine_service_pb2 import DesiredState, HeldVariant


def describe(held: HeldVariant, default: SessionSpec) -> Description:
    """Checks one variant of the message; it gets the `default` session if it names none. Raises InvalidArgument."""
    name = f"{held.model}/{held.variant}"
    if not (held.tenant and held.model and held.variant and held.model_path):
        raise InvalidArgument(f"a held variant needs a tenant, a model, a variant and a model_path: {name}")
    if not digest.is_sha256(held.digest):
        raise InvalidArgument(f"the digest of {name} is not a sha256: '{held.digest}'")
    try:
        signature = Signature.model_validate_json(held.signature_json)
        session = SessionSpec.model_validate_json(held.session_json) if held.session_json else default
    except ValidationError as error:
        raise InvalidArgument(f"the signature or session of {name} cannot be read: {error}") from error
    return Description(
        tenant=held.tenant,
        model=held.model,
        variant=held.variant,
        path=Path(held.model_path),
        golden_path=Path(held.golden_path) if held.golden_path else None,
        digest=held.digest,
        signature=signature,
        session=session,
        source=held.source,
        labels=tuple(sorted(held.labels.items())),
    )


def save(state: DesiredState, path: Path) -> None:
    """Replaces the copy at `path`; after a crash either the old or the new one is whole. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as stream:
            stream.write(state.SerializeToString())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def restore(path: Path) -> DesiredState | None:
    """The copy at `path`; None when there is none, or none that can be read."""
    try:
        return DesiredState.FromString(path.read_bytes())
    except (OSError, DecodeError):
        return None
