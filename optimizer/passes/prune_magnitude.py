"""Unstructured pruning by magnitude (Han et al., NeurIPS 2015), over all layers, by layer or by threshold.

With training it is gradual: the sparsity rises by a cubic schedule while the network learns (Zhu and Gupta, 2017).
"""

from dataclasses import replace

from torch import Tensor, nn

from optimizer.errors import NotApplicable
from optimizer.intake.stages import TorchModel
from optimizer.passes.compressed import file_note, weights_bytes
from optimizer.passes.context import Context
from optimizer.passes.proof import type_of
from optimizer.passes.recovery import objective_of, recover
from optimizer.passes.sparsity import (
    Layers,
    ZerosHeld,
    prune_below,
    prune_n_of_m,
    prune_to,
    sparsity_of,
    table_of,
)
from optimizer.passes.weight_layers import outputs_first, weight_layers
from optimizer.recipe.prune_magnitude import PruneMagnitude, PruneNM
from optimizer.recipe.training import Training
from optimizer.train.hooks import Hook
from optimizer.train.losses import Objective

# How often the sparsity rises, at most, while it is ramped.
_RISES = 20


def run(config: PruneMagnitude, model: TorchModel, context: Context) -> TorchModel:
    """Sets weights of `model` to zero, in place, and trains it when the config says so.

    Raises NotApplicable when no weight is that small, PassFailed when training diverges.
    """
    layers = _layers(model)
    packed, before = weights_bytes(model.network), sparsity_of(layers)
    training = config.training
    objective = None if training is None else objective_of(training, model, context)
    if training is not None and objective is not None and config.threshold is None and config.ramp > 0:
        _ramp(config, training, model, layers, objective, context)
    if config.threshold is not None:
        prune_below(layers, config.threshold)
    else:
        prune_to(layers, config.sparsity, config.scope)
    if sparsity_of(layers) <= before:
        wanted = f"a threshold of {config.threshold:g}" if config.threshold else f"a sparsity of {config.sparsity:g}"
        raise NotApplicable(f"{wanted} sets no weight to zero that is not zero already")
    if training is not None and objective is not None:
        ramped = config.ramp if config.threshold is None else 0.0
        rest = training.model_copy(update={"epochs": training.epochs * (1 - ramped), "freeze_epochs": 0.0})
        recover(rest, model, objective, context, "recovery", shares=(ramped, 1.0))
    _tell(layers, model, packed, context)
    return model


def cubic(share: float, start: float, end: float) -> float:
    """Sparsity when this share of the ramp is done (Zhu and Gupta, 2017): fast at first, then ever slower."""
    return end + (start - end) * (1 - share) ** 3


class _Ramp(Hook):
    """Raises the sparsity on the way, and remembers the weights that the last update left."""

    def __init__(self, config: PruneMagnitude, network: nn.Module, layers: Layers) -> None:
        self._config, self._network, self._layers = config, network, layers
        self._start = sparsity_of(layers)
        self._held = ZerosHeld(network)
        self._last: dict[str, Tensor] = {}

    def before_update(self, step: int, steps: int) -> None:
        """Prunes a little further, now and then."""
        if step % max(1, steps // _RISES) == 0:
            target = cubic((step + 1) / steps, self._start, self._config.sparsity)
            prune_to(self._layers, target, self._config.scope)
            self._held = ZerosHeld(self._network)

    def after_update(self, step: int, steps: int) -> None:
        """Keeps zeros zero."""
        self._held.after_update(step, steps)
        if step == steps - 1:
            self._last = {name: tensor.detach().clone() for name, tensor in self._network.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """The last weights, once they are there."""
        return self._last

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes them back; the network has its weights already."""
        self._last = dict(state)
        self._held = ZerosHeld(self._network)

    def finish(self) -> None:
        """Gives the network its last weights: those that did best may be those from before it was pruned."""
        if self._last:
            self._network.load_state_dict(self._last)


def _ramp(
    config: PruneMagnitude,
    training: Training,
    model: TorchModel,
    layers: Layers,
    objective: Objective,
    context: Context,
) -> None:
    """Trains while the sparsity rises from what it is to what is wanted."""
    rising = training.model_copy(
        update={"epochs": training.epochs * config.ramp, "schedule": "constant", "patience": None, "freeze_epochs": 0.0}
    )
    hook = _Ramp(config, model.network, layers)
    # What it says of its best epoch is of no interest: the last weights are kept.
    quiet = replace(context, notes=[], tables=[])
    recover(rising, model, objective, quiet, "ramp", hooks=[hook], shares=(0.0, config.ramp))
    hook.finish()


def run_n_m(config: PruneNM, model: TorchModel, context: Context) -> TorchModel:
    """Keeps n of every m neighbouring inputs of `model`, in place. Raises NotApplicable when no layer can be cut so."""
    everything = _layers(model)
    layers = {
        name: layer for name, layer in everything.items() if outputs_first(layer, layer.weight).shape[1] % config.m == 0
    }
    if not layers:
        raise NotApplicable(f"no layer has a number of inputs that is a multiple of {config.m}")
    packed = weights_bytes(model.network)
    objective = None if config.training is None else objective_of(config.training, model, context)
    prune_n_of_m(layers, config.n, config.m)
    if config.training is not None and objective is not None:
        recover(config.training, model, objective, context, "recovery")
    context.notes.append(
        f"{config.n}:{config.m} sparsity in {len(layers)} of {len(everything)} layers; only sparse tensor cores "
        "(TensorRT on NVIDIA GPUs) run it faster"
    )
    _tell(layers, model, packed, context)
    return model


def _layers(model: TorchModel) -> Layers:
    layers = weight_layers(model.network)
    if not layers:
        raise NotApplicable(f"this {type_of(model)!r} network has no linear layer or convolution to prune")
    return layers


def _tell(layers: Layers, model: TorchModel, packed: int, context: Context) -> None:
    context.notes.append(f"{sparsity_of(layers):.1%} of the weights in {len(layers)} layers are zero")
    context.notes.append(file_note(packed, weights_bytes(model.network)))
    context.tables.append(table_of(layers))
