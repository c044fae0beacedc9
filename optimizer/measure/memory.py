"""Peak memory of a model: how much a fresh process grows while it loads the file and answers a large batch.

A fresh process is the only honest one: in a process that has run before, freed memory is used again and growth hides.
It imports onnxruntime and nothing heavier; what it had before loading is not counted.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from optimizer.artifact.session import SessionSpec, build
from optimizer.errors import PassFailed

_TIMEOUT_SECONDS = 300.0
_CALLS = 2
# On Linux a program inherits the peak of whoever started it; a process forked off it begins with its own size. The fork
# comes before the imports, since onnxruntime has threads.
_PROGRAM = """
import os, sys
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
from optimizer.measure.memory import answer
answer(sys.argv[1])
"""


def peak_growth_bytes(model: Path, inputs: dict[str, NDArray[Any]], spec: SessionSpec, scratch: Path) -> int:
    """Largest growth of resident memory while loading `model` and answering `inputs`, in a process of its own.

    Memory of a GPU does not count. `scratch` is a writable directory. Raises PassFailed when the process ends early.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="memory-") as directory:
        feeds = Path(directory) / "feeds.npz"
        order = Path(directory) / "order.json"
        with feeds.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{f"input.{name}": array for name, array in inputs.items()})
        order.write_text(json.dumps({"model": str(model), "feeds": str(feeds), "session": spec.model_dump()}))
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM, str(order)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=True,
                # The child finds this package where it lies, installed or not.
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )
            return int(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise PassFailed("the model's memory cannot be measured: its process ended without a figure") from error


def _growth_bytes(model: Path, inputs: dict[str, NDArray[Any]], spec: SessionSpec) -> int:
    # What any model needs (kernels' code, thread pools) is there before counting begins.
    _warm_up(spec)
    before = _peak_bytes()
    session = build(model, spec)
    for _ in range(_CALLS):
        session.run(None, inputs)
    return max(0, _peak_bytes() - before)


def _warm_up(spec: SessionSpec) -> None:
    shape = [1]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "warm-up",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    build(model.SerializeToString(), spec).run(None, {"x": np.zeros(shape, np.float32)})


def _peak_bytes() -> int:
    # Not from /proc, which a sandbox may close.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def answer(order_file: str) -> None:
    """The fresh process: prints the growth in bytes for the order that `peak_growth_bytes` wrote."""
    order = json.loads(Path(order_file).read_text())
    with np.load(order["feeds"], allow_pickle=False) as archive:
        inputs = {name.removeprefix("input."): archive[name] for name in archive.files}
    print(_growth_bytes(Path(order["model"]), inputs, SessionSpec.model_validate(order["session"])))
