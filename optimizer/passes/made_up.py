"""Training rows that are made up, where there are none, or too few, to learn from a teacher with."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import TensorSpec, numpy_dtype
from optimizer.artifact.task import Task
from optimizer.errors import NotApplicable
from optimizer.intake.predictor import predictor_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.recipe.distill import Distill
from optimizer.train import synthesis

# Fewer training rows than this are few.
_FEW = 32
_IDS, _MASK = "input_ids", "attention_mask"
_CLASSES: tuple[Task, ...] = ("classification", "agreement")
# Share of the pass.
_MAKING = 0.05


def supplied(config: Distill, model: TorchModel, context: Context) -> Context:
    """The context with the training rows that `config.data` asks for, and a note where some are made up.

    Rows that are made up have no labels, nor have then the others: only the teacher says what is right. Raises
    NotApplicable when `data: synthetic` asks for inputs that cannot be made up.
    """
    rows = context.splits.train
    if config.data == "real" or (config.data == "auto" and len(rows) >= _FEW):
        return context
    try:
        made = made_up(config.synthetic_rows, model, context, real=config.data == "auto")
    except NotApplicable:
        if config.data == "synthetic":
            raise
        return context
    if config.data == "auto":
        context.notes.append(f"learns from {len(made)} inputs that are made up, beside {len(rows)} real ones")
        made = Rows({name: np.concatenate([rows.arrays[name], array]) for name, array in made.arrays.items()})
    else:
        context.notes.append(f"learns from {len(made)} inputs that are made up; no training row was read")
    return dataclasses.replace(context, splits=dataclasses.replace(context.splits, train=made))


def made_up(count: int, model: TorchModel, context: Context, *, real: bool) -> Rows:
    """`count` rows without labels; `real` allows to make them of training rows. Raises NotApplicable."""
    names = {spec.name for spec in model.inputs}
    if _IDS in names and all(spec.datatype.startswith("INT") for spec in model.inputs):
        return _texts(count, model, context, real=real)
    if len(model.inputs) == 1 and model.inputs[0].datatype == "FP32" and context.references.graph is None:
        shape = _fixed(model.inputs[0])
        teacher = predictor_of(context.references.source())
        pictures = synthesis.pictures(
            teacher,
            shape,
            count,
            context.seed,
            classes=context.task in _CLASSES,
            told=lambda share: context.report(_MAKING * share, message="making inputs up"),
        )
        return Rows({model.inputs[0].name: pictures.numpy()})
    raise NotApplicable(
        f"inputs {', '.join(sorted(names))} cannot be made up: only those of networks with batch normalisation, and "
        "tokens, can"
    )


def _texts(count: int, model: TorchModel, context: Context, *, real: bool) -> Rows:
    rows = context.splits.train
    ids = rows.arrays[_IDS]
    vocabulary = _vocabulary(model.network)
    known = torch.from_numpy(ids.astype(np.int64)) if real and len(rows) else None
    made = synthesis.tokens(known, ids.shape[1], count, vocabulary, context.seed).numpy()
    random = np.random.default_rng(context.seed)
    lengths = random.integers(1, ids.shape[1] + 1, count)
    counts = np.arange(ids.shape[1]) < lengths[:, None]
    arrays: dict[str, NDArray[np.generic]] = {}
    for spec in model.inputs:
        values = made if spec.name == _IDS else counts if spec.name == _MASK else np.zeros_like(made)
        arrays[spec.name] = values.astype(numpy_dtype(spec.datatype))
    return Rows(arrays)


def _vocabulary(network: nn.Module) -> int:
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            # The first table is that of the words; positions and kinds follow.
            return module.num_embeddings
    raise NotApplicable("tokens cannot be made up: the network has no table of them")


def _fixed(spec: TensorSpec) -> tuple[int, ...]:
    shape = tuple(axis for axis in spec.shape[1:] if isinstance(axis, int))
    if len(shape) != len(spec.shape) - 1:
        raise NotApplicable(f"inputs of {spec.name} cannot be made up: their size {list(spec.shape)} is open")
    return shape
