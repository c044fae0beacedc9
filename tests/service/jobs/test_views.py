"""Events say nothing impossible, whatever a child reports."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from service.jobs.views import Happening

numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.none() | numbers, st.none() | numbers, st.none() | numbers, st.floats(0, 100))
def test_an_event_is_finite_and_never_goes_back(
    percent: float | None, loss: float | None, eta: float | None, before: float
) -> None:
    body = Happening("progress", percent=percent, loss=loss, eta_seconds=eta).body("running", before)
    assert before <= body["percent"] <= 100
    assert body["loss"] is None or math.isfinite(body["loss"])
    assert body["eta_seconds"] is None or math.isfinite(body["eta_seconds"])
    assert json.loads(json.dumps(body, allow_nan=False)) == body
