"""Starts the further processes of data-parallel training, and ends them."""

import multiprocessing
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed

from optimizer.errors import PassFailed
from optimizer.train.ranks import Alone, Distributed, Ranks

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

    Where that cannot be (no sockets in a sandbox, a job that cannot be sent), this process alone, and a sentence why.
    Raises PassFailed when there are fewer GPUs than processes, or when one of the processes dies.
    """
    if size == 1:
        yield Alone(), None
        return
    if device == "cuda" and torch.cuda.device_count() < size:
        raise PassFailed(f"{size} processes need as many GPUs; this host has {torch.cuda.device_count()}")
    reason, message = _obstacle(), b""
    try:
        message = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = f"this pass cannot be split ({str(error)[:100]})"
    if reason is not None:
        yield Alone(), f"trained in one process, not {size}: {reason}"
        return
    with tempfile.TemporaryDirectory() as directory, _on_loopback():
        meeting = str(Path(directory) / "meeting")
        # Not forked: neither threads of other libraries nor a GPU's context survive that.
        start = multiprocessing.get_context("spawn")
        others = [
            start.Process(target=_follow, args=(rank, size, device, meeting, follower, message), daemon=True)
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            _join(0, size, device, meeting)
            yield Distributed(), None
        except RuntimeError as error:
            if not _one_has_died(others):
                raise
            raise PassFailed("a process of data-parallel training ended early; memory may have run out") from error
        finally:
            _end(others)


def _follow(rank: int, size: int, device: str, meeting: str, follower: Follower, message: bytes) -> None:
    _join(rank, size, device, meeting)
    # From the process that started this one, over a pipe that nobody else holds.
    follower(Distributed(), pickle.loads(message))  # noqa: S301
    torch.distributed.destroy_process_group()


def _join(rank: int, size: int, device: str, meeting: str) -> None:
    if device == "cuda":
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(
        backend, init_method=f"file://{meeting}", rank=rank, world_size=size, timeout=_PATIENCE
    )


def _end(others: Sequence[BaseProcess]) -> None:
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


def _obstacle() -> str | None:
    """Why processes cannot talk to each other here; None when they can."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
            return None
    except OSError as error:
        return f"the sandbox refuses sockets between them ({error.strerror})"


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
