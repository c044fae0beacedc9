"""Stores weights that are equal once: an exporter folds constants at every place where shared layers are used."""

import onnx

from optimizer.intake.onnx_file import subgraphs


def store_once(model: onnx.ModelProto) -> None:
    """Lets all uses of equal matrices and kernels read one initialiser, in place.

    Vectors stay: quantisers give a bias a scale that belongs to its place.
    """
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if len(tensor.dims) >= 2 and tensor.raw_data:
            name = first.setdefault((tensor.data_type, tuple(tensor.dims), tensor.raw_data), tensor.name)
            if name != tensor.name:
                renamed[tensor.name] = name
    outputs = {output.name for output in model.graph.output}
    renamed = {name: kept for name, kept in renamed.items() if name not in outputs}
    if not renamed:
        return
    for graph in (model.graph, *subgraphs(model.graph)):
        for node in graph.node:
            for position, name in enumerate(node.input):
                node.input[position] = renamed.get(name, name)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in renamed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    shapes = [value for value in model.graph.value_info if value.name not in renamed]
    del model.graph.value_info[:]
    model.graph.value_info.extend(shapes)
