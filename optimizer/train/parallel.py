"""Starts the further processes of data-parallel training, and ends them."""

import multiprocessing
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed

from optimizer.errors import PassFailed
from optimizer.train.ranks import Alone, Distributed, Ranks
from optimizer.train.shared_memory import SharedMemory

# The others wait while the first scores an epoch.
_PATIENCE = timedelta(hours=1)
_ENDING_SECONDS = 30.0
_DYING_SECONDS = 5.0
# All processes are on this host.
_INTERFACES = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}

Follower = Callable[[Ranks, object], None]


@contextmanager
def gathered(size: int, device: str, follower: Follower, job: object) -> Iterator[tuple[Ranks, str | None]]:
    """This process and `size` - 1 new ones, which call `follower` (a function of a module) with the pickled `job`.

    Where that cannot be (a job that cannot be sent, GPUs in a sandbox), this process alone, and a sentence why.
    Raises PassFailed when there are fewer GPUs than processes, or when one of the processes dies.
    """
    if size == 1:
        yield Alone(), None
        return
    if device == "cuda" and torch.cuda.device_count() < size:
        raise PassFailed(f"{size} processes need as many GPUs; this host has {torch.cuda.device_count()}")
    try:
        message = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        yield Alone(), f"trained in one process, not {size}: this pass cannot be split ({str(error)[:100]})"
        return
    sockets = _sockets_work()
    if device == "cuda" and not sockets:
        yield Alone(), f"trained in one process, not {size}: the sandbox refuses the sockets that GPUs need to meet"
        return
    with tempfile.TemporaryDirectory() as directory, _on_loopback():
        places = [Place(rank, size, device, str(Path(directory) / "meeting"), sockets) for rank in range(size)]
        # Not forked: neither threads of other libraries nor a GPU's context survive that.
        start = multiprocessing.get_context("spawn")
        pipes, others = [], []
        for place in places[1:]:
            ours, theirs = start.Pipe()
            process = start.Process(target=_follow, args=(place, theirs, follower, message), daemon=True)
            process.start()
            # When the process dies, nobody else may hold its end open.
            theirs.close()
            pipes.append(ours)
            others.append(process)
        try:
            yield places[0].join(pipes), None
        except (RuntimeError, EOFError, OSError) as error:
            if not _one_has_died(others):
                raise
            raise PassFailed("a process of data-parallel training ended early; memory may have run out") from error
        finally:
            _end(pipes, others)


@dataclass(frozen=True)
class Place:
    """Where one process stands among the others, and how they talk."""

    rank: int
    size: int
    device: str
    # A file that is not there yet, by which they find each other.
    meeting: str
    # By torch.distributed, or else through shared memory.
    sockets: bool

    def join(self, pipes: Sequence[Connection]) -> Ranks:
        """Waits for the others."""
        if self.device == "cuda":
            torch.cuda.set_device(self.rank)
        if not self.sockets:
            return SharedMemory(self.rank, self.size, Path(self.meeting), pipes)
        torch.distributed.init_process_group(
            "nccl" if self.device == "cuda" else "gloo",
            init_method=f"file://{self.meeting}",
            rank=self.rank,
            world_size=self.size,
            timeout=_PATIENCE,
        )
        return Distributed()


def _follow(place: Place, pipe: Connection, follower: Follower, message: bytes) -> None:
    ranks = place.join([pipe])
    # From the process that started this one, over a pipe that nobody else holds.
    follower(ranks, pickle.loads(message))  # noqa: S301
    if place.sockets:
        torch.distributed.destroy_process_group()


def _end(pipes: Sequence[Connection], others: Sequence[BaseProcess]) -> None:
    for pipe in pipes:
        pipe.close()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for process in others:
        # Those that are done end by themselves, those that wait for this process see it gone.
        process.join(_ENDING_SECONDS)
        process.kill()
        process.join()


def _one_has_died(others: Sequence[BaseProcess]) -> bool:
    # Its connections are closed a moment before it has ended.
    for process in others:
        process.join(_DYING_SECONDS)
    return any(process.exitcode not in (None, 0) for process in others)


def _sockets_work() -> bool:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            return True
    except OSError:
        return False


@contextmanager
def _on_loopback() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _INTERFACES}
    os.environ.update(_INTERFACES)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
