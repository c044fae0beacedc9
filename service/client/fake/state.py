"""What a fake server knows, and which faults it is to show."""

import threading
from dataclasses import dataclass, field

from service.wire.stillroom.v1 import model_service_pb2 as model_pb2
from service.wire.stillroom.v1 import optimization_service_pb2 as optimization_pb2
from service.wire.stillroom.v1 import traffic_service_pb2 as traffic_pb2
from service.wire.stillroom.v1 import upload_service_pb2 as upload_pb2
from service.wire.stillroom.v1 import variant_service_pb2 as variant_pb2


@dataclass
class Faults:
    """Each fault is shown once and then forgotten."""

    # Break the next upload stream with UNAVAILABLE once it has stored so many bytes.
    break_upload_after_bytes: int | None = None
    # Close the next stream of events, without an error, after so many of them.
    close_watch_after_events: int | None = None
    # Break the next stream of events with UNAVAILABLE after so many of them.
    break_watch_after_events: int | None = None
    # Change one byte of the next download's first file.
    damage_download: bool = False
    # Send the next download's files under a name that leads out of the directory.
    hostile_download: bool = False
    # End the next download before its last file.
    cut_download: bool = False


@dataclass
class State:
    """All that is stored. Tests may read and change it while no call is running."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    # Unfinished bytes by upload id.
    partial: dict[str, bytearray] = field(default_factory=dict)
    uploads: dict[str, upload_pb2.Upload] = field(default_factory=dict)
    models: dict[str, model_pb2.Model] = field(default_factory=dict)
    jobs: dict[str, optimization_pb2.Job] = field(default_factory=dict)
    # What a watcher sees of a job, in order.
    events: dict[str, list[optimization_pb2.WatchOptimizationResponse]] = field(default_factory=dict)
    optimizations: list[optimization_pb2.CreateOptimizationRequest] = field(default_factory=list)
    # By model, in the order of publication.
    variants: dict[str, list[variant_pb2.Variant]] = field(default_factory=dict)
    # Bytes of the variants' files, by sha256.
    files: dict[str, bytes] = field(default_factory=dict)
    traffic: dict[str, traffic_pb2.Traffic] = field(default_factory=dict)
    # Whether engines apply a split at once; otherwise never.
    engines_apply: bool = True
    faults: Faults = field(default_factory=Faults)
    lock: threading.RLock = field(default_factory=threading.RLock)
