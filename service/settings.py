"""What each role is told at start: frozen values, read once by the command line (CLI > environment > default)."""

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    # Directory that holds all state; see service.home.
    home: Path = Path("stillroom-home")


class _Listening(_Settings):
    host: str = "127.0.0.1"
    # Allows a host that is not loopback, where anybody who can reach it may ask for anything.
    insecure: bool = False

    @model_validator(mode="after")
    def _an_open_door_is_meant(self) -> Self:
        if not (self.insecure or _is_loopback(self.host)):
            raise ValueError(
                f"{self.host} can be reached from other machines, and nobody is asked for a token: "
                "listen on 127.0.0.1, or say that this is meant (--insecure)"
            )
        return self


class EngineSettings(_Listening):
    """The process that answers inference."""

    grpc_port: int = Field(default=8001, ge=0, le=65535)
    # "auto" takes the native front where it can be had, else grpcio.
    transport: Literal["auto", "native", "grpcio"] = "auto"
    # Number of this engine on its host.
    index: int = Field(default=0, ge=0)
    io_threads: int = Field(default=1, ge=1)
    max_message_bytes: int = Field(default=2**31 - 1, ge=1024)
    # Requests waiting for one variant before new ones are refused.
    queue_capacity: int = Field(default=1024, ge=1)
    max_batch: int = Field(default=32, ge=1)
    # How long the first request of a batch may wait for company; 0 still batches what is already waiting.
    queue_delay_us: int = Field(default=0, ge=0)
    # None: as many as this process may use.
    intra_op_threads: int | None = Field(default=None, ge=1)
    # Seconds that running requests get when the engine stops.
    drain_seconds: float = Field(default=30.0, ge=0)


class ControlSettings(_Listening):
    """The process that does everything but inference."""

    http_port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int = Field(default=8002, ge=0, le=65535)
    # Where the engine answers gRPC, for what the HTTP port passes on to it.
    engine_address: str = "127.0.0.1:8001"
    # Engines on this host.
    engines: int = Field(default=1, ge=1)
    max_upload_bytes: int = Field(default=16 * 2**30, ge=1)
    # Unfinished uploads are forgotten after this long without a byte.
    upload_expiry_seconds: float = Field(default=24 * 3600.0, gt=0)


class WorkerSettings(_Settings):
    """The process that runs optimization jobs."""

    # "best" takes every layer the host offers and records them; "require" runs no trial without those that every
    # supported kernel has (all but the network namespace, which many container hosts forbid and seccomp stands in for).
    sandbox: Literal["best", "require"] = "best"
    lease_seconds: float = Field(default=30.0, gt=1)
    poll_seconds: float = Field(default=0.5, gt=0)
    # Resident memory after which a trial is killed; None: three quarters of the host's.
    memory_limit_bytes: int | None = Field(default=None, ge=2**28)
    # Wall-clock limit of one trial.
    trial_timeout_seconds: float = Field(default=4 * 3600.0, gt=0)
    # Bytes that one trial may write; a file or a scratch directory above it ends the trial.
    scratch_limit_bytes: int = Field(default=32 * 2**30, ge=2**20)
    # Bytes of finished steps that are kept; the least recently used go first.
    cache_limit_bytes: int = Field(default=32 * 2**30, ge=0)
    # Stands in for `python -m optimizer run`; it gets the path of the spec, and lives below this interpreter's prefix.
    optimizer_command: tuple[str, ...] | None = Field(default=None, min_length=1)
