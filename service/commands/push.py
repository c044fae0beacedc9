"""`stillroom push`: a checkpoint, and the data that it is judged by, go to the server."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, command_line, connect


def push(
    name: ModelName,
    path: Annotated[
        Path, typer.Argument(exists=True, help="A Hugging Face directory, an .onnx or .pt2 file, or a state dict.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SPLIT=]FILE",
            help="Labelled rows (.npz, .safetensors, .parquet): one FILE, or train=FILE and eval=FILE.",
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            help="classification, binary, multilabel, regression, token_classification, embedding, causal_lm or "
            "agreement; default: what model and labels suggest."
        ),
    ] = "",
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Upload a checkpoint as the next revision of a model. Bytes that the server has are not sent again."""
    from service.commands import arguments, json_form, progress, words

    files = arguments.data_files(data or [])
    with connect(server) as client, progress.transfer() as view:
        pushed = client.push(name, path, files, task, view)
    model, checkpoint = pushed.model, pushed.checkpoint
    if as_json:
        json_form.write(json_form.pushed(model, checkpoint.revision, pushed.left_out))
        return
    size = words.size(sum(file.size_bytes for file in checkpoint.files))
    files_sent = _count(len(checkpoint.files), "file")
    typer.echo(f"{model.name} {checkpoint.revision}: {checkpoint.format} checkpoint, {files_sent}, {size}")
    if pushed.left_out:
        typer.echo(f"not part of a checkpoint, so not sent: {', '.join(pushed.left_out)}")
    if model.dataset is None:
        typer.echo("no data yet; `optimize` needs some: push again with --data FILE")
        return
    rows = ", ".join(
        _count(count, "row") if split == "all" else f"{split} {_count(count, 'row')}"
        for split, count in sorted(model.dataset.rows.items(), reverse=True)
    )
    typer.echo(f"data: {rows}; task: {model.task}")
    typer.echo(f"next: {command_line(f'optimize {model.name} --wait', server)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
