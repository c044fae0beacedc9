"""Makes a smaller network of the checkpoint's: fewer layers, or another config, with the weights that fit."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidCheckpoint, InvalidRecipe, NotApplicable, UnsupportedModel
from optimizer.intake import architecture, editing
from optimizer.intake.edits import KeepLayers
from optimizer.intake.graph_predictor import GraphPredictor
from optimizer.intake.predictor import Predictor, predictor_of, tensors_of
from optimizer.intake.stages import EMBEDDING, OnnxModel, TorchModel
from optimizer.passes.context import Context
from optimizer.recipe.student import Student
from optimizer.train.layers import layers_of

# What configs call the number of layers.
_LAYERS = "num_hidden_layers"
# Rows that show whether teacher and student answer alike.
_ROWS = 2


def run(config: Student, model: TorchModel | OnnxModel, context: Context) -> TorchModel:
    """Builds the student; may change `model`.

    Raises InvalidRecipe for a config that makes no network or one that answers something else, NotApplicable when the
    student would be no smaller or the network has no layers that could be counted.
    """
    if isinstance(model, OnnxModel):
        return _of_graph(config, model, context)
    return _of_fewer_layers(config, model, context) if not config.config else _of_config(config, model, context)


def _of_fewer_layers(config: Student, model: TorchModel, context: Context) -> TorchModel:
    before = model.parameters
    layers = layers_of(predictor_of(model), _rows(model.inputs, context))
    if not layers.tokens:
        raise NotApplicable("a convolutional network has no layers to choose from; give the student a `config`")
    assert config.layers is not None
    kept = _kept(len(layers.blocks), config.layers)
    stack = layers.blocks[0].rpartition(".")[0]
    student = editing.apply(model, KeepLayers(module=stack, layers=kept))
    context.notes.append(f"keeps layers {', '.join(str(index + 1) for index in kept)} of {len(layers.blocks)}")
    context.notes.append(f"parameters {before / 1e6:.3g} M -> {student.parameters / 1e6:.3g} M")
    return student


def _of_config(config: Student, model: TorchModel, context: Context) -> TorchModel:
    if architecture.resized(model, context.references.source):
        raise InvalidRecipe("`student` must come before passes that prune: a pruned network has no config to change")
    wanted = dict(config.config)
    kept: tuple[int, ...] | None = None
    if config.layers is not None:
        count = _count(model.network)
        kept = _kept(count, config.layers)
        wanted = {_layers_key(model.network): len(kept)} | wanted
    student = _built(model, wanted, context)
    copied = copy_weights(model.network, student.network, kept)
    _require_alike(predictor_of(model), student, context)
    before, after = model.parameters, student.parameters
    if after >= before:
        raise NotApplicable(f"the student would have {after} weights, and the checkpoint has {before}")
    context.notes.append(f"parameters {before / 1e6:.3g} M -> {after / 1e6:.3g} M")
    context.notes.append(f"{copied} of {len(student.network.state_dict())} tensors start from the checkpoint's")
    return student


def _of_graph(config: Student, graph: OnnxModel, context: Context) -> TorchModel:
    if config.layers is not None or "model_type" not in config.config:
        raise InvalidRecipe(
            "the student of an ONNX checkpoint needs a whole `config`, with `model_type`: a graph has no layers to keep"
        )
    inputs = graph.signature.inputs
    if not graph.signature.batched:
        raise NotApplicable("the graph takes one row at a time, and a student is trained on many")
    teacher = GraphPredictor(graph, [spec.name for spec in inputs], context.session, context.task)
    answers = teacher(*_rows(inputs, context))
    shell = TorchModel(nn.Identity(), {"num_labels": answers.shape[-1]}, inputs, graph.signature.limits)
    student = _built(shell, config.config, context)
    if context.task == "embedding":
        student = replace(student, output=EMBEDDING)
    taken = inspect.signature(student.network.forward).parameters
    if not all(spec.name in taken for spec in inputs):
        # The graph has names of its own for what the network takes.
        student = replace(student, calling="positional")
    _require_alike(teacher, student, context)
    context.notes.append(f"a {config.config['model_type']} of {student.parameters / 1e6:.3g} M parameters, all fresh")
    return student


def _built(model: TorchModel, config: Mapping[str, Any], context: Context) -> TorchModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        try:
            return editing.of_another_config(model, config)
        except (InvalidCheckpoint, UnsupportedModel) as error:
            raise InvalidRecipe(f"the student's config does not do: {error}") from error


def copy_weights(teacher: nn.Module, student: nn.Module, kept: tuple[int, ...] | None) -> int:
    """Gives the student every tensor of the teacher that has the same name and shape; returns how many.

    `kept` are the teacher's layers that the student's stack consists of, in order.
    """
    theirs = teacher.state_dict()
    stack = _stack(teacher, student) if kept is not None else None
    copied = 0
    for name, tensor in student.state_dict().items():
        other = theirs.get(_renamed(name, stack, kept))
        if other is not None and other.shape == tensor.shape:
            tensor.copy_(other)
            copied += 1
    return copied


def _renamed(name: str, stack: str | None, kept: tuple[int, ...] | None) -> str:
    """The teacher's name of a student's tensor."""
    if stack is None or kept is None or not name.startswith(f"{stack}."):
        return name
    index, _, rest = name[len(stack) + 1 :].partition(".")
    return f"{stack}.{kept[int(index)]}.{rest}"


def _stack(teacher: nn.Module, student: nn.Module) -> str:
    """Path of the list of modules that is shorter in the student."""
    theirs = {name: len(module) for name, module in teacher.named_modules() if isinstance(module, nn.ModuleList)}
    for name, module in student.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) < theirs.get(name, 0):
            return str(name)
    raise NotApplicable("the network's config counts its layers, but no stack of modules became shorter with it")


def _kept(count: int, layers: int | str) -> tuple[int, ...]:
    wanted = max(1, count // 2) if layers == "half" else int(layers)
    if wanted >= count:
        raise NotApplicable(f"the network has {count} layers, so a student of {wanted} would be no smaller")
    return tuple(position * count // wanted for position in range(wanted))


def _count(network: nn.Module) -> int:
    count = getattr(getattr(network, "config", None), _LAYERS, None)
    if not isinstance(count, int) or isinstance(count, bool):
        raise NotApplicable("the network's config does not count its layers; give the student a `config` instead")
    return count


def _layers_key(network: Any) -> str:
    """What this architecture's config.json calls the number of layers ("n_layer")."""
    names: dict[str, str] = type(network.config).attribute_map
    return names.get(_LAYERS, _LAYERS)


def _require_alike(teacher: Predictor, student: TorchModel, context: Context) -> None:
    rows = _rows(student.inputs, context)
    try:
        with torch.inference_mode():
            wanted, found = (list(one.eval()(*rows).shape) for one in (teacher, predictor_of(student)))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InvalidRecipe(f"the student does not take the checkpoint's inputs: {str(error)[:200]}") from error
    if wanted != found:
        raise InvalidRecipe(f"the student answers {found} where the checkpoint answers {wanted}; see its `config`")


def _rows(inputs: tuple[TensorSpec, ...], context: Context) -> tuple[Tensor, ...]:
    return tuple(tensor[:_ROWS] for tensor in tensors_of(context.splits.calibration, inputs))
