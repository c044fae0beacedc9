"""How far a network that is being cut answers from the network that it was: on the selection rows, without labels."""

from torch import Tensor

from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.train.soft_targets import soft_loss

_ROWS = 256


class Damage:
    """Remembers the answers of the network as it is now; `of` tells how far another network's lie from them."""

    def __init__(self, model: TorchModel, context: Context, most: int = _ROWS) -> None:
        rows = context.splits.selection
        self._inputs = tuple(tensor[:most] for tensor in tensors_of(rows, model.inputs))
        self._loss = soft_loss(context.task, 1.0)
        self._counts = self._counted(model)
        self._intact = self.answers(model)

    def answers(self, model: TorchModel) -> Tensor:
        """What a network with the same inputs answers."""
        return answers_of(predictor_of(model), self._inputs)

    def of(self, model: TorchModel) -> float:
        """Divergence of the answers: Kullback-Leibler for scores, squared error for numbers; 0 if nothing changed."""
        return float(self._loss(self.answers(model), self._intact, self._counts))

    def _counted(self, model: TorchModel) -> Tensor | None:
        """Which tokens count, where there is an answer a token."""
        names = [spec.name for spec in model.inputs]
        if "attention_mask" not in names:
            return None
        mask = self._inputs[names.index("attention_mask")]
        return mask if self.answers(model).ndim == 3 else None
