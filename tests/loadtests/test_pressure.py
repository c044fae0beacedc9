from loadtests.pressure import PressureGauge


class Counter:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_share_is_busy_time_by_wall_time() -> None:
    wall, cpu = Counter(), Counter()
    gauge = PressureGauge(wall, cpu)
    wall.now, cpu.now = 100.0, 7.0
    gauge.start()
    wall.now, cpu.now = 110.0, 11.0
    found = gauge.stop()
    assert found.cpu_share == 0.4
    assert found.cpu_share_worst == 0.4
    assert (found.dispatch_lag_p99_ms, found.wake_lag_p99_ms) == (0.0, 0.0)


def test_a_request_that_left_early_was_not_late() -> None:
    gauge = PressureGauge(Counter(), Counter())
    gauge.start()
    for _ in range(100):
        gauge.dispatched(-1.0)
    assert gauge.stop().dispatch_lag_p99_ms < 0.01


def test_lag_is_told_in_milliseconds() -> None:
    gauge = PressureGauge(Counter(), Counter())
    gauge.start()
    for _ in range(90):
        gauge.dispatched(0.001)
    for _ in range(10):
        gauge.dispatched(0.2)
    assert 199 < gauge.stop().dispatch_lag_p99_ms < 201
