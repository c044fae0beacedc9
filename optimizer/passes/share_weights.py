"""Weight sharing by k-means: each layer's weights take one of 2^bits values (Han et al., ICLR 2016)."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from optimizer.artifact.manifest import Table
from optimizer.errors import NotApplicable
from optimizer.intake.stages import TorchModel
from optimizer.passes.compressed import file_note, weights_bytes
from optimizer.passes.context import Context
from optimizer.passes.weight_layers import weight_layers
from optimizer.recipe.share_weights import ShareWeights

# Weights of a layer that its codebook is fitted to.
_SAMPLE = 20_000
_ROUNDS = 50


def run(config: ShareWeights, model: TorchModel, context: Context) -> TorchModel:
    """Rounds the weights of every layer of `model` to its codebook, in place; zeros stay zeros.

    Raises NotApplicable when no layer has more weights than a codebook has values.
    """
    values = 2**config.bits
    layers = {name: layer for name, layer in weight_layers(model.network).items() if layer.weight.numel() > 2 * values}
    if not layers:
        raise NotApplicable(f"no layer has more than {2 * values} weights, so a codebook of {values} saves nothing")
    before = weights_bytes(model.network)
    rows: list[tuple[str | int | float | bool | None, ...]] = []
    for number, (name, layer) in enumerate(layers.items(), 1):
        old = layer.weight.detach().numpy()
        new = shared(old, config.bits, context.seed)
        error = float(np.linalg.norm(new - old) / max(float(np.linalg.norm(old)), 1e-30))
        rows.append((name, old.size, len(np.unique(new)), round(error, 5)))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(new))
        context.report(number / len(layers), message="fitting codebooks")
    context.notes.append(f"{len(layers)} layers have at most {values} different weights each")
    context.notes.append(file_note(before, weights_bytes(model.network)))
    context.tables.append(
        Table(
            kind="codebook",
            title="Weights shared by layer",
            columns=("layer", "weights", "values", "relative error"),
            rows=tuple(rows),
        )
    )
    return model


def shared(weights: NDArray[np.float32], bits: int, seed: int) -> NDArray[np.float32]:
    """The weights, each rounded to the nearest of at most 2^bits values; one of them is 0 if many weights are 0.

    The values start evenly spread over the range, which keeps the few large weights apart (Han et al., section 3.2).
    """
    flat = weights.reshape(-1).astype(np.float64)
    present = flat[flat != 0]
    zeros = len(present) < len(flat)
    wanted = min(2**bits - zeros, len(np.unique(present)))
    if wanted < 1:
        return weights
    sample = np.random.default_rng(seed).choice(present, _SAMPLE, replace=False) if len(present) > _SAMPLE else present
    start = np.linspace(present.min(), present.max(), wanted)
    means = KMeans(wanted, init=start[:, None], n_init=1, max_iter=_ROUNDS, random_state=seed)
    with warnings.catch_warnings():
        # Of weights that are nearly equal: fewer values do then.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(sample[:, None])
    codebook = np.sort(means.cluster_centers_[:, 0])
    nearest = codebook[np.searchsorted((codebook[1:] + codebook[:-1]) / 2, flat)]
    rounded: NDArray[np.float32] = np.where(flat == 0, 0.0, nearest).reshape(weights.shape).astype(np.float32)
    return rounded
