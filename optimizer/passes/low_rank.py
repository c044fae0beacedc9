"""Low rank: truncated singular value decomposition of linear layers and 1x1 convolutions (Denton et al., NeurIPS 2014).

With whitening (SVD-LLM, Wang et al., ICLR 2025) it is not the error of the weights that is least, but that of the
layer's answers to the calibration rows: W S is decomposed instead of W, where S S^T is the second moment of the inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from optimizer.artifact.manifest import Table
from optimizer.errors import NotApplicable
from optimizer.intake.editing import apply, is_pointwise
from optimizer.intake.edits import Factorise
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.proof import require_same_shape, require_smaller, shape_of
from optimizer.passes.weight_layers import WeightLayer, outputs_first, weight_layers
from optimizer.recipe.low_rank import LowRank

_ROWS = 128
# Keeps second moments of inputs that always lie in one plane invertible, relative to their mean.
_RIDGE = 1e-4
_HALVINGS = 20


@dataclass(frozen=True)
class Spectrum:
    """The decomposition of one layer's matrix [outputs, inputs]: `left` * `values` * `right`, largest first."""

    left: Tensor
    values: Tensor
    right: Tensor

    def rank_of(self, energy: float, round_to: int) -> int:
        """The least rank, a multiple of `round_to`, that keeps this share of the squared values."""
        shares = (self.values**2).cumsum(0) / (self.values**2).sum().clamp(min=1e-30)
        rank = int((shares < energy).sum()) + 1
        return -(-rank // round_to) * round_to

    @property
    def size(self) -> tuple[int, int]:
        """Outputs and inputs."""
        return len(self.left), self.right.shape[1]

    def weights(self, rank: int) -> int:
        """How many weights the layer has with this rank: as two factors where those are fewer."""
        outputs, inputs = self.size
        return min(rank * (outputs + inputs), outputs * inputs)

    def kept(self, rank: int) -> float:
        """Share of the squared values that a rank keeps."""
        return float((self.values[:rank] ** 2).sum() / (self.values**2).sum().clamp(min=1e-30))


def run(config: LowRank, model: TorchModel, context: Context) -> TorchModel:
    """Factorises the layers of `model` in place where that saves weights.

    Raises NotApplicable when it does so nowhere, UnsupportedModel when the network reads a layer's weight by itself.
    """
    before, shape = model.parameters, shape_of(model, context)
    layers = {name: layer for name, layer in weight_layers(model.network).items() if _is_matrix(layer)}
    context.report(0.1, message="watching the layers' inputs")
    moments = _second_moments(model, layers, context) if config.whiten else {}
    spectra = {name: _decomposed(layer, moments.get(name)) for name, layer in layers.items()}
    context.report(0.8, message="choosing ranks")
    ranks = choose_ranks(spectra, config)
    if not ranks:
        raise NotApplicable(
            "no layer has so low a rank that two factors would hold fewer weights than it has; allow less energy"
        )
    biases = {name: layers[name].bias for name in ranks}
    model = apply(model, Factorise(ranks=ranks))
    for name, rank in ranks.items():
        _fill(model.network.get_submodule(name), spectra[name], rank, biases[name])
    require_same_shape(model, shape, context)
    require_smaller(before, model.parameters, context)
    context.notes.append(f"{len(ranks)} of {len(layers)} layers are two factors of low rank")
    context.tables.append(_table(spectra, ranks))
    return model


def choose_ranks(spectra: Mapping[str, Spectrum], config: LowRank) -> dict[str, int]:
    """The rank of each layer that factors make smaller: at the config's energy, or the most that fits its budget."""
    if config.budget is None:
        return _ranks_at(spectra, config.energy, config.round_to)
    allowed = config.budget * sum(outputs * inputs for outputs, inputs in (one.size for one in spectra.values()))
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        total = sum(one.weights(one.rank_of(middle, config.round_to)) for one in spectra.values())
        low, high = (middle, high) if total <= allowed else (low, middle)
    return _ranks_at(spectra, low, config.round_to)


def _ranks_at(spectra: Mapping[str, Spectrum], energy: float, round_to: int) -> dict[str, int]:
    ranks = {name: one.rank_of(energy, round_to) for name, one in spectra.items()}
    return {
        name: rank for name, rank in ranks.items() if rank * sum(spectra[name].size) < spectra[name].left.shape[0]
        * spectra[name].right.shape[1]
    }  # fmt: skip


def _is_matrix(layer: WeightLayer) -> bool:
    return isinstance(layer, nn.Linear | Conv1D) or (isinstance(layer, nn.Conv2d) and is_pointwise(layer))


def _decomposed(layer: WeightLayer, moment: Tensor | None) -> Spectrum:
    matrix = outputs_first(layer, layer.weight.detach()).flatten(1).double()
    if moment is None:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return Spectrum(left, values, right)
    root = torch.linalg.cholesky(moment)
    left, values, right = torch.linalg.svd(matrix @ root, full_matrices=False)
    # right = right' S^-1
    return Spectrum(left, values, torch.linalg.solve_triangular(root, right, upper=False, left=False))


def _second_moments(model: TorchModel, layers: Mapping[str, WeightLayer], context: Context) -> dict[str, Tensor]:
    """Mean of x x^T over the inputs x of each layer that is called on the calibration rows, made invertible."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def watch(name: str, layer: WeightLayer) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given = inputs[0].detach()
            columns = given.movedim(1, -1) if isinstance(layer, nn.Conv2d) else given
            flat = columns.reshape(-1, columns.shape[-1]).double()
            sums[name] = sums.get(name, torch.zeros(())) + flat.t() @ flat
            counts[name] = counts.get(name, 0) + len(flat)

        return layer.register_forward_pre_hook(hook)

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        rows = tuple(tensor[:_ROWS] for tensor in tensors_of(context.splits.calibration, model.inputs))
        answers_of(predictor_of(model), rows)
    finally:
        for handle in handles:
            handle.remove()
    moments = {}
    for name, total in sums.items():
        mean = total / counts[name]
        ridge = _RIDGE * mean.diagonal().mean().clamp(min=1e-12)
        moments[name] = mean + ridge * torch.eye(len(mean), dtype=mean.dtype)
    return moments


def _fill(two: nn.Module, spectrum: Spectrum, rank: int, bias: Tensor | None) -> None:
    first, second = two.get_submodule("0"), two.get_submodule("1")
    root = spectrum.values[:rank].sqrt()
    values = {first: root[:, None] * spectrum.right[:rank], second: spectrum.left[:, :rank] * root}
    with torch.no_grad():
        for layer, matrix in values.items():
            weight = layer.get_parameter("weight")
            weight.copy_(matrix.reshape(weight.shape))
        if bias is not None:
            second.get_parameter("bias").copy_(bias)


def _table(spectra: Mapping[str, Spectrum], ranks: Mapping[str, int]) -> Table:
    return Table(
        kind="rank",
        title="Layers of low rank",
        columns=("layer", "outputs", "inputs", "rank", "energy kept", "weights kept"),
        rows=tuple(
            (
                name,
                *spectra[name].size,
                rank,
                round(spectra[name].kept(rank), 4),
                round(rank * sum(spectra[name].size) / (spectra[name].size[0] * spectra[name].size[1]), 4),
            )
            for name, rank in ranks.items()
        ),
    )
