"""What control itself tells Prometheus: which engines it hears."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.fleet.board import Board


class FleetCollector(Collector):
    """Reads the board at each scrape."""

    def __init__(self, board: Board, engines: int) -> None:
        self._board = board
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """One gauge an engine."""
        connected = self._board.connected()
        family = GaugeMetricFamily(
            "stillroom_engine_connected", "1 while control hears the engine of this number.", labels=["engine"]
        )
        for index in range(self._engines):
            family.add_metric([str(index)], float(index in connected))
        yield family
