import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import slow_server
from loadtests.selfcheck import overlapped

_CHECK = "from loadtests import selfcheck; print(selfcheck.check())"
_PATCH = "from gevent import monkey; monkey.patch_all(); "
_INIT = "from grpc.experimental import gevent as g; g.init_gevent(); "


@given(st.integers(2, 100), st.floats(0.01, 5))
def test_one_after_the_other_is_no_overlap_and_side_by_side_is(calls: int, each_seconds: float) -> None:
    assert not overlapped(calls * each_seconds, calls, each_seconds)
    assert overlapped(each_seconds, calls * 2, each_seconds)


@pytest.mark.parametrize(("elapsed", "expected"), [(0.99, True), (1.0, False), (1.01, False)])
def test_half_of_the_sum_is_the_limit(elapsed: float, expected: bool) -> None:
    assert overlapped(elapsed, 8, 0.25) is expected


def checked(preparation: str) -> subprocess.CompletedProcess[str]:
    """The self-check in a process that was so prepared."""
    command = [sys.executable, "-c", preparation + _CHECK]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_process_with_grpcs_gevent_support_passes() -> None:
    done = checked(_PATCH + _INIT)
    assert done.returncode == 0, done.stderr
    assert slow_server.EACH_SECONDS <= float(done.stdout) < slow_server.CALLS * slow_server.EACH_SECONDS / 2


def test_a_process_without_it_is_found_out() -> None:
    done = checked(_PATCH)
    assert done.returncode == 1
    assert "CallsDoNotOverlap: 8 calls of 0.5 s took " in done.stderr
    assert "init_gevent() must run before the first channel" in done.stderr
