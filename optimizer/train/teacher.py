"""A teacher that is asked while the student learns: it sees the very inputs that the student was just given."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import Predictor
from optimizer.train.layers import Layers, evenly, layers_of
from optimizer.train.matching import (
    Taps,
    attention_distance,
    energy_distance,
    hidden_distance,
    map_distance,
    resized,
)

# (module of the student, module of the teacher)
Pairs = tuple[tuple[str, str], ...]


class LiveTeacher:
    """Answers to the student's last batch. Holds a hook in the student until it is closed."""

    def __init__(self, student: Predictor, teacher: Predictor) -> None:
        self._teacher = teacher.eval().requires_grad_(False)
        self.inputs: tuple[Tensor, ...] = ()
        self._answers: Tensor | None = None
        self._handle = student.register_forward_pre_hook(self._keep)

    def answers(self) -> Tensor:
        """The teacher's answers to what the student was asked last; it thinks once, however often it is asked."""
        if self._answers is None:
            self._teacher.to(self.inputs[0].device)
            with torch.no_grad():
                self._answers = self._teacher(*self.inputs)
        return self._answers

    def close(self) -> None:
        """Takes the hook away."""
        self._handle.remove()
        self.inputs, self._answers = (), None

    def __getstate__(self) -> dict[str, object]:
        """Without the last batch: another process has its own."""
        return self.__dict__ | {"inputs": (), "_answers": None}

    def _keep(self, student: nn.Module, tensors: tuple[Tensor, ...]) -> None:
        self.inputs, self._answers = tensors, None


class Matching(nn.Module):
    """The distance of a student's inner values from its teacher's, after both were asked the same.

    Its parameters are projections from the student's widths to the teacher's, to be trained along with the student.
    """

    def __init__(
        self,
        student: Predictor,
        teacher: Predictor,
        example: tuple[Tensor, ...],
        *,
        hidden: float,
        attention: float,
        pairs: Pairs | None = None,
    ) -> None:
        """`hidden` and `attention` weigh the two terms; `pairs` are chosen evenly unless they are given.

        Raises NotApplicable when the two networks have nothing to compare, KeyError for a module that is not there.
        """
        super().__init__()
        self._weights = (hidden, attention)
        mine, theirs = layers_of(student, example), layers_of(teacher, example)
        if mine.tokens != theirs.tokens:
            raise NotApplicable("the layers of student and teacher are of two kinds: tokens and maps of convolutions")
        self._tokens = mine.tokens
        self.hidden_pairs = pairs or _pairs(mine.blocks, theirs.blocks)
        self.attention_pairs = _attention_pairs(mine, theirs, self.hidden_pairs) if attention else ()
        self._mine = Taps(student.network, tuple(name for pair in self._all_pairs() for name in pair[:1]))
        self._start = student.register_forward_pre_hook(self._forget)
        self._theirs = Taps(teacher.network, tuple(name for pair in self._all_pairs() for name in pair[1:]))
        for network in (student, teacher):
            _ask(network, example)
        self.projections = nn.ModuleList(
            _projection(self._mine.hidden(one), self._theirs.hidden(other), self._tokens) if hidden else nn.Identity()
            for one, other in self.hidden_pairs
        )

    def forward(self, counts: Tensor | None) -> Tensor:
        """The weighted distance on the last batch; `counts` [batch, sequence] says which tokens do."""
        hidden, attention = self._weights
        counts = counts if self._tokens else None
        terms = []
        if hidden:
            terms += [
                hidden / len(self.projections) * self._hidden(one, other, projection, counts)
                for (one, other), projection in zip(self.hidden_pairs, self.projections, strict=True)
                if one in self._mine
            ]
        if attention:
            terms += [
                attention / len(self.attention_pairs) * self._attention(one, other, counts)
                for one, other in self.attention_pairs
                if one in self._mine
            ]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def close(self) -> None:
        """Takes the hooks away."""
        self._start.remove()
        self._mine.close()
        self._theirs.close()

    def _forget(self, student: nn.Module, tensors: object) -> None:
        self._mine.clear()

    def _hidden(self, one: str, other: str, projection: nn.Module, counts: Tensor | None) -> Tensor:
        mine, theirs = self._mine.hidden(one), self._theirs.hidden(other)
        if self._tokens:
            return hidden_distance(projection(mine), theirs, counts if _fits(counts, mine) else None)
        return map_distance(projection(mine), resized(theirs, mine.shape[2:]))

    def _attention(self, one: str, other: str, counts: Tensor | None) -> Tensor:
        if not self._tokens:
            mine = self._mine.hidden(one)
            return energy_distance(mine, resized(self._theirs.hidden(other), mine.shape[2:]))
        looks, wanted = self._mine.attention(one), self._theirs.attention(other)
        assert looks is not None
        assert wanted is not None
        return attention_distance(looks, wanted, counts if _fits(counts, looks[:, 0]) else None)

    def _all_pairs(self) -> Pairs:
        return (*self.hidden_pairs, *self.attention_pairs)


def _ask(predictor: Predictor, example: tuple[Tensor, ...]) -> None:
    mode = predictor.training
    with torch.no_grad():
        predictor.eval()(*example)
    predictor.train(mode)


def _pairs(mine: Sequence[str], theirs: Sequence[str]) -> Pairs:
    if len(mine) > len(theirs):
        raise NotApplicable(f"the student has {len(mine)} layers, more than the teacher, which has {len(theirs)}")
    return tuple((name, theirs[index]) for name, index in zip(mine, evenly(len(mine), len(theirs)), strict=True))


def _attention_pairs(mine: Layers, theirs: Layers, hidden: Pairs) -> Pairs:
    """The attention inside the blocks that are paired; for convolutional networks the maps themselves."""
    if not mine.tokens:
        return hidden
    found = []
    for one, other in hidden:
        looks = next((name for name in mine.attention if name.startswith(f"{one}.")), None)
        wanted = next((name for name in theirs.attention if name.startswith(f"{other}.")), None)
        if looks is not None and wanted is not None:
            found.append((looks, wanted))
    if not found:
        raise NotApplicable("the layers that are paired do not say where they look, so attention cannot be matched")
    return tuple(found)


def _projection(mine: Tensor, theirs: Tensor, tokens: bool) -> nn.Module:
    axis = -1 if tokens else 1
    narrow, wide = mine.shape[axis], theirs.shape[axis]
    if narrow == wide:
        return nn.Identity()
    if tokens:
        return nn.Linear(narrow, wide, bias=False)
    return nn.Conv1d(narrow, wide, 1, bias=False) if mine.ndim == 3 else nn.Conv2d(narrow, wide, 1, bias=False)


def _fits(counts: Tensor | None, tokens: Tensor) -> bool:
    """Whether the mask is one of these tokens: speech networks mask samples, and have fewer frames."""
    return counts is not None and counts.shape == tokens.shape[:2]
