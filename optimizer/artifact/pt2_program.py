"""The program of a .pt2 archive, checked: known operations on tensors, plain values, expressions of the grammar.

What comes out holds nothing of the archive that was not looked at: names are plain identifiers, targets are operations
of ATen that compute on tensors, and symbolic sizes are names. Everything else (guards, tree specs, stack traces,
metadata) is left behind.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optimizer.artifact.pt2_archive import AGAIN, DTYPES
from optimizer.artifact.pt2_expression import NotAnExpression, check_expression, is_symbol, symbol_of
from optimizer.artifact.pt2_values import Reference, Value, name_of, value_of
from optimizer.errors import InvalidCheckpoint

_NODES = 200_000
_MAJOR = 8
_ATEN = re.compile(r"torch\.ops\.(aten|prims)\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
# Operations on sizes, by the names that archives give them.
SIZE_OPERATIONS = frozenset(
    {
        "_operator.eq", "_operator.ne", "_operator.le", "_operator.ge", "_operator.lt", "_operator.gt",
        "_operator.neg", "_operator.pos", "_operator.mul", "_operator.add", "_operator.sub", "_operator.floordiv",
        "_operator.mod", "_operator.truediv", "math.trunc", "torch.sym_not", "torch.sym_int", "torch.sym_float",
        "torch.sym_max", "torch.sym_min",
    }
)  # fmt: skip
# ATen keeps what is not for callers behind an underscore, often without checks of its own; these are harmless.
_PRIVATE = frozenset(
    {
        "__and__", "__or__", "__xor__", "__lshift__", "__rshift__", "_assert_tensor_metadata", "_assert_scalar",
        "_assert_async", "_unsafe_view", "_to_copy", "_softmax", "_log_softmax", "_adaptive_avg_pool2d",
        "_native_batch_norm_legit_no_training", "_weight_norm", "_safe_softmax",
    }
)  # fmt: skip
# These read files, or hand out memory that nothing has been written to.
_REFUSED = frozenset({"from_file", "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "resize_"})

Role = Literal["parameter", "buffer", "constant", "input"]


@dataclass(frozen=True)
class Placeholder:
    """A tensor that the program is given: one of its own, by its name in the module, or one of the caller's."""

    name: str
    role: Role
    source: str


@dataclass(frozen=True)
class Argument:
    """One argument of an operation."""

    name: str
    keyword: bool
    value: Value


@dataclass(frozen=True)
class Node:
    """One operation: `several` tells a list of answers from a single one."""

    target: str
    arguments: tuple[Argument, ...]
    outputs: tuple[str, ...]
    several: bool

    @property
    def operator(self) -> str:
        """The operation's short name ("conv2d")."""
        match = _ATEN.fullmatch(self.target)
        return match.group(2) if match else self.target


@dataclass(frozen=True)
class TensorType:
    """Type (torch's number) and shape of a value; a symbolic size has its symbol or, if compound, its expression."""

    dtype: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Program:
    """A checked program."""

    placeholders: tuple[Placeholder, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, TensorType]
    # Largest size of a symbol, where the program sets one.
    limits: Mapping[str, int]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the caller's tensors, in order."""
        return tuple(item.name for item in self.placeholders if item.role == "input")


def check_program(program: Mapping[str, Any], name: str) -> Program:
    """The checked form of an archive's program; `name` begins the messages. Raises InvalidCheckpoint."""
    try:
        _check_expressions(program, name)
        version = _table(program["schema_version"])["major"]
        if version != _MAJOR:
            raise InvalidCheckpoint(f"{name} has form {version!r} of programs; known is {_MAJOR}; {AGAIN}")
        module = _table(program["graph_module"])
        graph, signature = _table(module["graph"]), _table(module["signature"])
        if graph.get("custom_obj_values"):
            raise InvalidCheckpoint(f"{name} holds custom objects; export a model without custom classes")
        return Program(
            placeholders=tuple(_placeholders(graph, signature, name)),
            nodes=tuple(_nodes(graph, name)),
            outputs=tuple(_outputs(graph, signature, name)),
            values={name_of(key): _tensor_type(meta) for key, meta in _table(graph["tensor_values"]).items()},
            limits=_limits(_table(program["range_constraints"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidCheckpoint(f"{name} is damaged: its program has no or a wrong {str(error)[:80]}") from None


def _check_expressions(program: Mapping[str, Any], name: str) -> None:
    for text in _expressions(program):
        try:
            if not isinstance(text, str):
                raise NotAnExpression("is not text")
            check_expression(text)
        except NotAnExpression as error:
            raise InvalidCheckpoint(
                f"{name} holds the expression {str(text)[:60]!r}, which {error}; expressions can run code in other "
                "programs, and none but plain sizes are accepted"
            ) from None


def _expressions(value: Any) -> Iterator[Any]:
    """What is called an expression, anywhere in the program."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "expr_str" in item:
                yield item["expr_str"]
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _placeholders(graph: Mapping[str, Any], signature: Mapping[str, Any], name: str) -> Iterator[Placeholder]:
    specs = signature["input_specs"]
    for spec in specs:
        ((kind, value),) = spec.items()
        if kind == "parameter":
            yield Placeholder(name_of(value["arg"]["name"]), "parameter", str(value["parameter_name"]))
        elif kind == "buffer":
            yield Placeholder(name_of(value["arg"]["name"]), "buffer", str(value["buffer_name"]))
        elif kind == "tensor_constant":
            yield Placeholder(name_of(value["arg"]["name"]), "constant", str(value["tensor_constant_name"]))
        elif kind == "user_input" and "as_tensor" in value["arg"]:
            label = name_of(value["arg"]["as_tensor"]["name"])
            yield Placeholder(label, "input", label)
        elif kind == "user_input" and "as_none" in value["arg"]:
            continue
        elif kind == "constant_input":
            # Its value stands in the operations that use it.
            continue
        else:
            raise InvalidCheckpoint(f"{name} has an input of the kind {kind[:40]!r}; allowed are tensors")


def _nodes(graph: Mapping[str, Any], name: str) -> Iterator[Node]:
    nodes = graph["nodes"]
    if len(nodes) > _NODES:
        raise InvalidCheckpoint(f"{name} has {len(nodes)} operations; at most {_NODES} are allowed")
    for node in nodes:
        target = _target(node["target"], name)
        arguments = tuple(
            Argument(name_of(item["name"]) if item["name"] else "", item.get("kind") == 2, value_of(item["arg"], name))
            for item in node["inputs"]
        )
        outputs: list[str] = []
        several = len(node["outputs"]) != 1
        for output in node["outputs"]:
            found = value_of(output, name)
            several = several or isinstance(found, list)
            for item in found if isinstance(found, list) else [found]:
                outputs.append(item.name if isinstance(item, Reference) else "")
        yield Node(target, arguments, tuple(outputs), several)


def _target(target: Any, name: str) -> str:
    if isinstance(target, str):
        match = _ATEN.fullmatch(target)
        if target in SIZE_OPERATIONS:
            return target
        if match:
            operation = match.group(2)
            if operation not in _REFUSED and (not operation.startswith("_") or operation in _PRIVATE):
                return target
    raise InvalidCheckpoint(
        f"{name} uses the operation {str(target)[:80]!r}, which is not accepted; allowed are the public operations of "
        "ATen (torch.ops.aten)"
    )


def _outputs(graph: Mapping[str, Any], signature: Mapping[str, Any], name: str) -> Iterator[str]:
    for spec in signature["output_specs"]:
        ((kind, value),) = spec.items()
        if kind in ("buffer_mutation", "parameter_mutation", "user_input_mutation"):
            raise InvalidCheckpoint(
                f"{name} changes its own weights or inputs when it is called; call model.eval() before exporting it"
            )
        if kind != "user_output":
            raise InvalidCheckpoint(f"{name} has an output of the kind {kind[:40]!r}; allowed are tensors")
        if "as_tensor" in value["arg"]:
            yield name_of(value["arg"]["as_tensor"]["name"])


def _tensor_type(meta: Mapping[str, Any]) -> TensorType:
    dtype = meta["dtype"]
    return TensorType(dtype if dtype in DTYPES else 0, tuple(_size(size) for size in meta["sizes"]))


def _size(size: Mapping[str, Any]) -> int | str:
    if "as_int" in size:
        fixed = int(size["as_int"])
        if not 0 <= fixed < 2**48:
            raise ValueError("size")
        return fixed
    text = size["as_expr"]["expr_str"]
    return symbol_of(text) or str(text)


def _limits(ranges: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for key, value in ranges.items():
        largest = value["max_val"]
        if is_symbol(key) and isinstance(largest, int) and 0 < largest < 2**31:
            found[key] = largest
    return found


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("table")
    return value
