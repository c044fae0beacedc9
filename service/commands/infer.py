"""`stillroom infer`: sends rows of a data file to a model and shows what any protocol client would be answered."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, connect

if TYPE_CHECKING:
    from optimizer.artifact.rows import Rows
    from service.client.client import Client
    from service.client.inference import Inference
    from service.client.resources import Signature
    from service.client.tensors import Array

# Figures of one row that are shown before the rest becomes an ellipsis.
_SHOWN_FIGURES = 6


@dataclass(frozen=True)
class _Answered:
    """An answer, the rows that were asked, and how long it took on this side."""

    rows: range
    answer: "Inference"
    elapsed_ms: float


def infer(
    name: ModelName,
    data: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Rows: .npz, .safetensors or .parquet, as for push.")
    ],
    rows: Annotated[str, typer.Option(metavar="FROM:TO", help="Rows to send, the last one excluded.")] = "0:8",
    version: Annotated[
        str, typer.Option("--version", metavar="VARIANT", help="Ask this variant; default: the split.")
    ] = "",
    key: Annotated[str, typer.Option(metavar="TEXT", help="Routing key: equal keys stay on one side of a split.")] = "",
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Ask a model, with rows of a data file."""
    from optimizer.artifact import dataset
    from service.commands import arguments, json_form, tables

    held = dataset.read(data, data.name)
    chosen = arguments.rows(rows, len(held))
    with connect(server) as client:
        signature = client.signature(name, version)
        answered = list(_ask(client, signature, held, chosen, version, key))
    if as_json:
        json_form.write(
            {
                "model": name,
                "labels": None if held.labels is None else held.labels[list(chosen)].tolist(),
                "answers": [
                    {
                        "version": item.answer.version,
                        "rows": [item.rows.start, item.rows.stop],
                        "elapsed_ms": item.elapsed_ms,
                        "parameters": dict(item.answer.parameters),
                        "outputs": {
                            output: json_form.tensor(array, item.answer.datatypes[output])
                            for output, array in item.answer.outputs.items()
                        },
                    }
                    for item in answered
                ],
            }
        )
        return
    tables.show_answers(
        [
            (row, _summary(item, index), "" if held.labels is None else str(held.labels[row]), item.answer.version)
            for item in answered
            for index, row in enumerate(item.rows)
        ]
    )
    from service.commands import words

    took = words.milliseconds(sum(item.elapsed_ms for item in answered))
    typer.echo(f"{len(answered)} request{'' if len(answered) == 1 else 's'}, {took} as seen from here")


def _ask(
    client: "Client", signature: "Signature", held: "Rows", chosen: range, version: str, key: str
) -> Iterator[_Answered]:
    """Sends the rows together, or one by one to a model that has no batch axis."""
    import numpy as np

    from optimizer.artifact.rows import feeds
    from optimizer.artifact.signature import BATCH, TensorSpec

    inputs = [
        TensorSpec(
            name=spec.name,
            datatype=spec.datatype,
            # The wire knows a free axis by -1 alone; only the first one can be the batch.
            shape=tuple(
                size if size >= 0 else BATCH if axis == 0 else f"axis{axis}" for axis, size in enumerate(spec.shape)
            ),
        )
        for spec in signature.inputs
    ]
    together = all(spec.batched for spec in inputs)
    for start in (chosen.start,) if together else chosen:
        taken = chosen if together else range(start, start + 1)
        tensors = feeds(held, inputs, np.asarray(taken))
        began = time.perf_counter()
        answer = client.infer(signature.model, tensors, version=version, key=key)
        yield _Answered(taken, answer, (time.perf_counter() - began) * 1000)


def _summary(item: _Answered, index: int) -> str:
    """What the model says of one row: the class and its score where there is one, else the first figures."""
    parts = []
    for name, array in item.answer.outputs.items():
        stacked = array.ndim > 0 and array.shape[0] == len(item.rows)
        parts.append(
            (f"{name}: " if len(item.answer.outputs) > 1 else "") + _figures(array[index] if stacked else array)
        )
    return "; ".join(parts)


def _figures(row: "Array") -> str:
    import numpy as np

    if row.ndim == 1 and row.dtype.kind == "f" and row.size > 1:
        best = int(np.argmax(row))
        return f"class {best} ({float(row[best]):.4g})"
    flat = row.ravel()[:_SHOWN_FIGURES]
    shown = ", ".join(f"{item:.4g}" if flat.dtype.kind == "f" else str(item) for item in flat.tolist())
    return shown + (", …" if row.size > _SHOWN_FIGURES else "")
