"""How many threads training is worth, decided by the size of the network and not by a clock."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from optimizer.intake.predictor import Predictor
from optimizer.train.settings import Settings

# Floating-point operations of an update that keep one thread busy for some tens of milliseconds.
_OPERATIONS_A_THREAD = 1e9


def useful_threads(predictor: Predictor, inputs: tuple[Tensor, ...], settings: Settings) -> int:
    """How many of the allowed threads are worth it, by the operations of one update; the same on every host.

    A small network gains little from a second thread and waits for it at every layer, which is ruinous where other
    processes use the cores too.
    """
    mode = predictor.training
    # With gradients, since the counter looks for the functions behind the weights that modules are called with.
    with FlopCounterMode(display=False) as counter:
        predictor.eval()(*(tensor[:1] for tensor in inputs))
    predictor.train(mode)
    # The backward pass takes about twice the operations of the forward pass.
    update = 3.0 * counter.get_total_flops() * settings.batch_size
    worthwhile: int = round(update / _OPERATIONS_A_THREAD)
    return max(1, min(settings.threads, worthwhile))


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Torch takes this many threads within."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
