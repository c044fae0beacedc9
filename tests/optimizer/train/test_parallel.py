"""Two real processes train what one would have trained."""

import concurrent.futures
import copy
import dataclasses
import multiprocessing
import os
import socket

import pytest
import torch
import transformers
from torch import nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor
from optimizer.recipe.augmentation import Augmentation
from optimizer.recipe.training import Training
from optimizer.train import parallel
from optimizer.train.freezing import Freeze
from optimizer.train.loop import fit
from optimizer.train.losses import task_loss
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings
from optimizer.train.shared_memory import SharedMemory

_SETTINGS = Settings(2, 0.05, 16, 0.01, 0.1, seed=3, threads=1, optimiser="sgd", l2=0.001)
# Seven rows are left over for the last batch, so the parts of it are not equal.
_Y = torch.randint(0, 3, (55,), generator=torch.Generator().manual_seed(1))
_PICTURES = torch.randn(55, 1, 8, 8, generator=torch.Generator().manual_seed(2)) + _Y[:, None, None, None]


def _convolutional():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip


def _difference(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def _train(network, inputs, objective, settings, **more):
    predictor = Predictor(copy.deepcopy(network), ["x"] * len(inputs), calling="positional")
    hooks = [Freeze(predictor.network, 0.25)] if more.pop("freeze", False) else []
    return predictor, fit(
        predictor, inputs, objective, Selection(inputs, _Y), settings, lambda *_: None, hooks=hooks, **more
    )


@pytest.mark.timeout(120)
def test_two_processes_train_what_one_trains_batch_statistics_and_all():
    settings = dataclasses.replace(_SETTINGS, augmentation=Augmentation(noise=0.1, mixup=0.2))
    arguments = (_convolutional(), (_PICTURES,), task_loss("classification", _Y), settings)
    before = _convolutional()
    one, alone = _train(*arguments, freeze=True)
    two, together = _train(*arguments[:3], dataclasses.replace(settings, processes=2), freeze=True)
    assert together.notes == ()
    # Sums are taken in another order, and nothing else differs.
    assert _difference(one, two) < 1e-4 < 1e-2 < _difference(one.network, before)
    assert together.losses == pytest.approx(alone.losses, rel=1e-4)
    assert [epoch.score for epoch in together.curve] == [epoch.score for epoch in alone.curve]
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    assert not torch.distributed.is_initialized()


@pytest.mark.timeout(120)
def test_an_encoder_with_tokens_that_do_not_count_trains_alike_too():
    random = torch.Generator().manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=4,
        max_position_embeddings=12, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    tokens = torch.randint(0, 30, (37, 8), generator=random)
    labels = torch.where(torch.rand(37, 8, generator=random) < 0.4, -100, tokens % 4)
    torch.manual_seed(0)
    network = transformers.BertForTokenClassification(config)
    settings = dataclasses.replace(_SETTINGS, optimiser="adamw", learning_rate=0.003, epochs=3, patience=1)
    trained = []
    for processes in (1, 2):
        predictor = Predictor(copy.deepcopy(network), ["input_ids"])
        result = fit(
            predictor, (tokens,), task_loss("token_classification", labels),
            Selection((tokens,), labels, "token_classification"),
            dataclasses.replace(settings, processes=processes), lambda *_: None,
        )  # fmt: skip
        trained.append((predictor, result))
    assert _difference(trained[0][0], trained[1][0]) < 1e-3
    assert trained[0][1].losses == pytest.approx(trained[1][1].losses, rel=1e-3)
    assert trained[1][1].losses[-1] < trained[1][1].losses[0]


class _Stopped(Exception):
    pass


@pytest.mark.timeout(120)
def test_processes_go_on_together_where_they_were_stopped(tmp_path):
    settings = dataclasses.replace(_SETTINGS, processes=2, save_seconds=0.0, optimiser="adamw", learning_rate=0.01)
    x = (_PICTURES,)

    def train(progress):
        predictor = Predictor(_convolutional(), ["x"], calling="positional")
        objective = task_loss("classification", _Y)
        result = fit(predictor, x, objective, Selection(x, _Y), settings, progress, resume=tmp_path)
        return predictor, result

    def stopping(share, loss, eta):
        # In the second epoch; the update before this one was saved.
        if share > 0.7:
            raise _Stopped

    whole, _ = train(lambda *_: None)
    with pytest.raises(_Stopped):
        train(stopping)
    resumed, result = train(lambda *_: None)
    assert result.notes == ("went on from update 5 of 8 after an interruption",)
    assert _difference(whole, resumed) == 0


def _check_alone(result, why):
    (note,) = result.notes
    assert note.startswith("trained in one process, not 2: ")
    assert why in note


def test_what_cannot_be_sent_trains_in_one_process_and_says_so():
    inner = task_loss("classification", _Y)
    settings = dataclasses.replace(_SETTINGS, epochs=1, processes=2)
    _, result = _train(_convolutional(), (_PICTURES,), lambda answers, rows: inner(answers, rows), settings)
    _check_alone(result, "this pass cannot be split")


def _refused(*arguments, **more):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.timeout(120)
def test_sandbox_without_sockets_shares_memory(monkeypatch):
    monkeypatch.setattr(socket, "create_server", _refused)
    settings = dataclasses.replace(_SETTINGS, epochs=1)
    arguments = (_convolutional(), (_PICTURES,), task_loss("classification", _Y))
    one, _ = _train(*arguments, settings)
    two, together = _train(*arguments, dataclasses.replace(settings, processes=2))
    assert together.notes == ()
    assert _difference(one, two) < 1e-4


def test_gpus_in_a_sandbox_cannot_meet_and_that_is_said(monkeypatch):
    monkeypatch.setattr(socket, "create_server", _refused)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with parallel.gathered(2, "cuda", print, 0) as (ranks, note):
        assert ranks.size == 1
    assert "the sandbox refuses the sockets that GPUs need" in note


@pytest.mark.parametrize("size", [1, 2**20, 2**20 + 3, 3 * 2**20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_through_shared_memory(tmp_path, size, dtype):
    """Three threads stand for the processes; they share nothing but the file and the pipes."""
    ends = [multiprocessing.Pipe() for _ in range(2)]
    ranks = [
        SharedMemory(0, 3, tmp_path / "file", [ours for ours, _ in ends]),
        *(SharedMemory(rank, 3, tmp_path / "file", [ends[rank - 1][1]]) for rank in (1, 2)),
    ]
    tensors = [torch.arange(size, dtype=dtype) * (rank + 1) for rank in range(3)]

    def run(rank):
        # Twice: what was taken before must not be overwritten too early.
        ranks[rank].sum(tensors[rank])
        ranks[rank].sum(tensors[rank])

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    for ours, theirs in ends:
        ours.close()
        theirs.close()
    for tensor in tensors:
        assert torch.equal(tensor, torch.arange(size, dtype=dtype) * 18)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sockets", [True, False])
def test_process_that_dies_ends_training_with_a_sentence(monkeypatch, sockets):
    if not sockets:
        monkeypatch.setattr(socket, "create_server", _refused)
    # What it is to run is no function of the loop, so it ends at once.
    with (
        pytest.raises(PassFailed, match="ended early"),
        parallel.gathered(2, "cpu", os._exit, 0) as (ranks, _),
    ):
        ranks.sum(torch.zeros(1))


def test_more_gpus_than_there_are_cannot_be_had():
    with (
        pytest.raises(PassFailed, match="99 processes need as many GPUs; this host has"),
        parallel.gathered(99, "cuda", print, 0),
    ):
        pass


def test_a_process_needs_a_row_of_each_batch():
    with pytest.raises(ValueError, match=r"processes \(9\) are at most the rows of a batch \(8\)"):
        Training(batch_size=8, processes=9)
