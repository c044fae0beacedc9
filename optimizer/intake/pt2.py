"""Opens a torch.export archive (.pt2) as a torch model of layers, without torch's own loader.

The archive is checked and read by `optimizer.artifact.pt2_archive`; the graph is rebuilt, lifted to layers, and proved
to answer as it was recorded.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from optimizer.artifact.pt2_archive import read_archive, read_tensors
from optimizer.artifact.pt2_checkpoint import Axes
from optimizer.artifact.pt2_program import Program, check_program
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidCheckpoint, InvalidDataset, UnsupportedModel
from optimizer.intake.lift import lift, remove_dropout
from optimizer.intake.lift_sizes import free_batch, free_widths
from optimizer.intake.pt2_graph import graph_of
from optimizer.intake.stages import Checkpoint, TorchModel

# Batches that prove that the rows do not depend on how many there are.
_FOREIGN = (1, 3)
# Relative to the largest answer; other batch sizes may take other kernels.
_TOLERANCE = 1e-4

_RUN_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, NotImplementedError)


def load(checkpoint: Checkpoint, rows: Rows) -> TorchModel:
    """The archive's network; it takes the program's inputs in their order, and answers its first output.

    Raises InvalidCheckpoint for an archive that is not accepted, InvalidDataset for rows that leave out an input,
    UnsupportedModel for a program that this torch cannot run or that does not treat rows alike.
    """
    ((name, path),) = checkpoint.files.items()
    archive = read_archive(path, name)
    program = check_program(archive.program, name)
    axes = Axes(program)
    facts = checkpoint.inspection.inputs
    missing = [label for label in program.inputs if label not in rows.arrays]
    if missing:
        raise InvalidDataset(f"the data lacks the arrays {', '.join(missing)}, which the model takes")
    inputs = tuple(
        TensorSpec(name=label, datatype=facts[label].datatype, shape=axes.of(label)) for label in program.inputs
    )
    if not all(spec.batched for spec in inputs):
        raise UnsupportedModel(f"the inputs of {name} have no common first axis, the batch; {_EXPORT}")
    plain = graph_of(program, read_tensors(path, {**archive.constants, **archive.weights}), name)
    try:
        remove_dropout(plain.graph)
        plain.recompile()
        network = _lifted(plain, axes.baked)
    except (*_RUN_ERRORS, AttributeError, KeyError) as error:
        # Arguments that the operation does not have: torch has written no such program.
        raise InvalidCheckpoint(f"{name} is damaged: an operation is called wrongly ({_first_line(error)})") from error
    _prove(plain, network, program, axes, feeds_of(rows, inputs))
    return TorchModel(network.eval(), {}, inputs, dict(axes.limits), calling="positional")


_EXPORT = (
    "export it with a free batch: torch.export.export(model, args, dynamic_shapes=...) with "
    '{0: torch.export.Dim("batch")} for every input'
)


def feeds_of(rows: Rows, inputs: tuple[TensorSpec, ...]) -> Any:
    """A function that gives a batch of so many rows as tensors, repeating rows where there are too few."""

    def take(batch: int) -> tuple[Tensor, ...]:
        arrays = feeds(rows, inputs, np.resize(np.arange(len(rows)), batch))
        return tuple(torch.from_numpy(array) for array in arrays.values())

    return take


def _lifted(plain: fx.GraphModule, baked: int | None) -> fx.GraphModule:
    network = lift(plain)
    free_widths(network.graph, baked)
    if baked is not None:
        free_batch(network.graph, baked)
    network.graph.lint()
    network.recompile()
    return network.eval()


def _prove(plain: fx.GraphModule, network: fx.GraphModule, program: Program, axes: Axes, take: Any) -> None:
    """The layers answer as the recorded calls do, and rows alike in batches that were not recorded."""
    recorded = axes.baked or 2
    try:
        with torch.inference_mode():
            expected = plain(*take(recorded))
    except _RUN_ERRORS as error:
        raise UnsupportedModel(f"the program cannot be run: {_first_line(error)}") from error
    try:
        with torch.inference_mode():
            answers = {batch: network(*take(batch)) for batch in {recorded, *_FOREIGN, 2 * recorded + 1}}
    except _RUN_ERRORS as error:
        if axes.baked is not None:
            raise UnsupportedModel(
                f"the program was exported at a fixed batch of {axes.baked} and does not run at another "
                f"({_first_line(error)}); {_EXPORT}"
            ) from error
        raise UnsupportedModel(f"the program cannot be run at every batch: {_first_line(error)}") from error
    for batch, answer in answers.items():
        shared = min(batch, recorded)
        if answer.shape != (batch, *expected.shape[1:]) or not _alike(answer[:shared], expected[:shared]):
            if axes.baked is not None:
                raise UnsupportedModel(
                    f"the program was exported at a fixed batch of {axes.baked} and answers wrongly at {batch}; "
                    f"{_EXPORT}"
                )
            raise UnsupportedModel(
                f"the program answers a row differently among {batch} rows than among {recorded}; every row must be "
                "answered for itself"
            )


def _alike(answer: Tensor, expected: Tensor) -> bool:
    scale = max(1e-6, float(expected.abs().max()))
    return bool((answer - expected).abs().max() <= _TOLERANCE * scale)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
