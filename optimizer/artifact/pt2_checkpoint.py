"""Inspects a torch.export archive (.pt2) without torch: its inputs, its classes and its operations."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.pt2_archive import DTYPES, Archive, read_archive
from optimizer.artifact.pt2_program import Program, TensorType, check_program
from optimizer.artifact.pt2_values import Reference, Value
from optimizer.artifact.rows import RESERVED
from optimizer.artifact.signature import BATCH, datatype_of
from optimizer.errors import InvalidCheckpoint

_HALVES = (6, 13)
_SEQUENCES = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_ATTENTION = ("scaled_dot_product_attention", "softmax", "_softmax", "_safe_softmax")


def inspect_pt2(name: str, files: Mapping[str, Path]) -> Inspection:
    """Inspects the archive `name` of `files`. Raises InvalidCheckpoint."""
    archive = read_archive(files[name], name)
    program = check_program(archive.program, name)
    _check_sources(program, archive, name)
    operators = Counter(node.operator for node in program.nodes)
    axes = Axes(program)
    outputs = {label: _facts(program.values[label], axes.of(label)) for label in program.outputs[:1]}
    scores = next(iter(outputs.values())).shape or ()
    return Inspection(
        format="pt2",
        kind="tensor",
        head="open",
        classes=scores[1] if len(scores) == 2 and isinstance(scores[1], int) else None,
        inputs={
            label: _facts(program.values[label], axes.of(label), _rows_looked_up(program, archive, label))
            for label in program.inputs
        },
        outputs=outputs,
        limits=axes.limits,
        attention=operators["scaled_dot_product_attention"] > 0
        or (any(operators[one] for one in _ATTENTION) and operators["matmul"] + operators["bmm"] >= 2),
        operators=dict(operators),
        weights_bytes=archive.weights_bytes,
    )


class Axes:
    """What the axes of a program's inputs and outputs are called.

    The first axis of all inputs is "batch" when it is free in each of them, and also when it has one and the same fixed
    size in all of them and in the answer: whoever exported without dynamic shapes had a batch in mind, and opening the
    program proves it or says that it is not so. Other free axes are called after the first input that has them.
    """

    def __init__(self, program: Program) -> None:
        shapes = [program.values[label].shape for label in program.inputs]
        first = {shape[0] if shape else None for shape in shapes}
        answer = program.values[program.outputs[0]].shape
        self.free = all(isinstance(size, str) for size in first)
        # The batch that was baked in, if it was.
        self.baked: int | None = None
        if len(first) == 1 and answer[:1] == shapes[0][:1] and isinstance(next(iter(first)), int):
            self.baked = int(shapes[0][0])
        self.limits: dict[str, int] = {}
        self._program = program
        self._names: dict[str, str] = {}
        if self.free:
            self._names = {str(size): BATCH for size in first}
        for label, shape in zip(program.inputs, shapes, strict=True):
            for position, size in enumerate(shape):
                if isinstance(size, str) and size not in self._names:
                    sequence = label in _SEQUENCES and position == 1 and "sequence" not in self._names.values()
                    self._names[size] = "sequence" if sequence else f"{label}_{position}"
                    if size in program.limits:
                        self.limits[self._names[size]] = program.limits[size]

    def of(self, label: str) -> tuple[int | str, ...]:
        """The named shape of an input or output."""
        shape = self._program.values[label].shape
        named = [
            self._names.get(size, f"{label}_{position}") if isinstance(size, str) else size
            for position, size in enumerate(shape)
        ]
        if self.baked is not None and shape[:1] == (self.baked,):
            named[0] = BATCH
        return tuple(named)


def _facts(value: TensorType, shape: tuple[int | str, ...], rows: int | None = None) -> InputFacts:
    limits = {} if rows is None else {"minimum": 0, "maximum": rows - 1}
    return InputFacts(datatype=datatype_of(DTYPES[value.dtype]), shape=shape, **limits)


def _rows_looked_up(program: Program, archive: Archive, label: str) -> int | None:
    """Rows of the smallest table in which an input is looked up."""
    sources = {item.name: item.source for item in program.placeholders}
    rows = []
    for node in program.nodes:
        values = [argument.value for argument in node.arguments]
        if node.operator == "embedding" and values[1:2] == [Reference(label)] and isinstance(values[0], Reference):
            tensor = archive.weights.get(sources.get(values[0].name, ""))
            if tensor is not None:
                rows.append(tensor.shape[0])
    return min(rows, default=None)


def _references(values: list[Value]) -> Iterator[str]:
    for value in values:
        if isinstance(value, Reference):
            yield value.name
        elif isinstance(value, list):
            yield from _references(value)


def _check_sources(program: Program, archive: Archive, name: str) -> None:
    inputs = program.inputs
    if not inputs or not program.outputs:
        raise InvalidCheckpoint(f"{name} takes {len(inputs)} tensors and answers {len(program.outputs)}; both need one")
    used = {label for node in program.nodes for label in _references([item.value for item in node.arguments])}
    unused = [label for label in inputs if label not in used]
    if unused:
        raise InvalidCheckpoint(
            f"{name} never reads its input {unused[0]!r}; if one tensor was passed for two inputs when it was "
            "exported, pass two"
        )
    clash = sorted(set(inputs) & set(RESERVED))
    if clash:
        raise InvalidCheckpoint(
            f"{name} has an input {clash[0]!r}, a name that data sets use for something else; rename it"
        )
    for label in (*inputs, *program.outputs):
        value = program.values.get(label)
        if value is None or value.dtype == 0:
            raise InvalidCheckpoint(f"{name}: {label!r} has a type that is not accepted")
        if value.dtype in _HALVES:
            raise InvalidCheckpoint(f"{name}: {label!r} is a 16-bit float; export the model in 32 bits (model.float())")
    for item in program.placeholders:
        if item.role == "input":
            continue
        tensor = archive.weights.get(item.source) or archive.constants.get(item.source)
        if tensor is None:
            raise InvalidCheckpoint(f"{name} lacks the values of {item.source[:80]!r}")
        if item.role == "parameter" and tensor.dtype != DTYPES[7]:
            raise InvalidCheckpoint(
                f"{name}: weight {item.source[:80]!r} is {tensor.dtype}; export the model in 32 bits (model.float())"
            )
