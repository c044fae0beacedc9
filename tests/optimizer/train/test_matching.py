import math

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import Predictor, predictor_of, tensors_of
from optimizer.train.layers import evenly, layers_of
from optimizer.train.matching import (
    Taps,
    attention_distance,
    energy_distance,
    hidden_distance,
    map_distance,
    resized,
)
from optimizer.train.teacher import LiveTeacher, Matching


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _encoder(width, layers):
    torch.manual_seed(width)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, attn_implementation="eager",
    )  # fmt: skip
    return Predictor(transformers.BertForSequenceClassification(config).eval(), ["input_ids", "attention_mask"]).eval()


@pytest.fixture
def texts(bert):
    return tuple(tensor[:6] for tensor in tensors_of(bert.rows, bert.load().inputs))


@given(st.integers(1, 24), st.integers(1, 24))
def test_layers_are_mapped_evenly_and_the_last_to_the_last(few, many):
    if few > many:
        with pytest.raises(ValueError, match="cannot answer"):
            evenly(few, many)
        return
    chosen = evenly(few, many)
    assert len(set(chosen)) == few
    assert list(chosen) == sorted(chosen)
    assert chosen[-1] == many - 1
    gaps = [after - before for before, after in zip((-1, *chosen), chosen, strict=False)]
    assert max(gaps) - min(gaps) <= 1


def test_hidden_states_are_compared_as_a_share_of_the_teachers_size():
    teacher = _random(2, 3, 4)
    assert float(hidden_distance(torch.zeros(2, 3, 4), teacher)) == pytest.approx(1)
    assert float(hidden_distance(1.5 * teacher, teacher)) == pytest.approx(0.25)
    assert float(map_distance(0.5 * teacher, teacher)) == pytest.approx(0.25)


def test_tokens_that_do_not_count_change_nothing():
    student, teacher = _random(2, 3, 4, seed=1), _random(2, 3, 4, seed=2)
    counts = torch.tensor([[1, 1, 0], [1, 0, 0]])
    spoilt = torch.where(counts[..., None] > 0, student, torch.full_like(student, 9.0))
    assert torch.equal(hidden_distance(student, teacher, counts), hidden_distance(spoilt, teacher, counts))


def test_attention_is_compared_whatever_the_number_of_heads():
    teacher = torch.softmax(_random(2, 4, 3, 3), -1)
    assert float(attention_distance(teacher.mean(1, keepdim=True), teacher)) == pytest.approx(0, abs=1e-6)
    even = torch.full((2, 1, 3, 3), 1 / 3)
    sure = torch.eye(3).expand(2, 2, 3, 3)
    assert float(attention_distance(even, sure)) == pytest.approx(math.log(3), rel=1e-4)


def test_energy_of_maps_is_compared_whatever_the_number_of_channels():
    teacher = _random(2, 4, 5, 5)
    assert float(energy_distance(torch.cat([teacher, teacher], 1), teacher)) == pytest.approx(0, abs=1e-6)
    assert float(energy_distance(teacher.flip(-1), teacher)) > 0.1


def test_maps_of_another_size_are_averaged():
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resized(maps, torch.Size([2, 2])).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resized(maps[0], torch.Size([2])).shape == (1, 4, 2)


def test_taps_catch_what_the_library_itself_calls_hidden_states_and_attention(texts):
    encoder = _encoder(16, 2)
    layers = layers_of(encoder, texts)
    ids, mask = texts
    with Taps(encoder.network, (*layers.blocks, *layers.attention)) as taps:
        encoder(*texts)
        told = encoder.network(ids, mask, output_hidden_states=True, output_attentions=True)
        assert len(layers.blocks) == len(layers.attention) == 2
        for position, (block, attention) in enumerate(zip(layers.blocks, layers.attention, strict=True)):
            assert torch.equal(taps.hidden(block), told.hidden_states[position + 1])
            assert torch.equal(taps.attention(attention), told.attentions[position])


def test_layers_of_a_convolutional_network_are_the_last_at_each_size(resnet):
    model = resnet.load()
    rows = tuple(tensor[:2] for tensor in tensors_of(resnet.rows, model.inputs))
    layers = layers_of(predictor_of(model), rows)
    assert layers.blocks == ("resnet.embedder.embedder", "resnet.encoder.stages.0", "resnet.encoder.stages.1")
    assert not layers.tokens


def test_layers_of_a_vision_transformer_and_of_a_language_model_are_their_blocks(vit):
    model = vit.load()
    rows = tuple(tensor[:2] for tensor in tensors_of(vit.rows, model.inputs))
    assert len(layers_of(predictor_of(model), rows).attention) == 2
    small = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    gpt = Predictor(transformers.GPT2LMHeadModel(small), ["input_ids"])
    assert layers_of(gpt, (torch.ones(2, 5, dtype=torch.int64),)).attention == tuple(
        f"transformer.h.{index}.attn" for index in range(3)
    )


def test_network_of_one_product_has_no_layers():
    plain = Predictor(nn.Linear(4, 2), (), calling="positional")
    with pytest.raises(NotApplicable, match="no layers"):
        layers_of(plain, (torch.ones(2, 4),))


def test_narrow_student_is_matched_through_projections_that_learn(texts):
    student, teacher = _encoder(16, 2), _encoder(32, 4)
    live = LiveTeacher(student, teacher)
    matching = Matching(student, teacher, texts, hidden=1.0, attention=1.0)
    assert [other for _, other in matching.hidden_pairs] == ["bert.encoder.layer.1", "bert.encoder.layer.3"]
    optimizer = torch.optim.Adam([*student.parameters(), *matching.parameters()], 3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        student(*texts)
        live.answers()
        loss = matching(texts[1])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert all(projection.weight.grad is not None for projection in matching.projections)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    matching.close()
    live.close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())


def test_equal_networks_have_no_distance(texts):
    student, teacher = _encoder(16, 2), _encoder(16, 2)
    live, matching = LiveTeacher(student, teacher), Matching(student, teacher, texts, hidden=1.0, attention=0.5)
    student(*texts)
    assert torch.equal(live.answers(), student(*texts))
    assert float(matching(texts[1]).detach()) == pytest.approx(0, abs=1e-6)


def test_layers_that_a_network_skips_at_random_do_not_count(texts):
    student, teacher = _encoder(16, 2), _encoder(16, 2)
    live, matching = LiveTeacher(student, teacher), Matching(student, teacher, texts, hidden=1.0, attention=0.0)
    student(*texts)
    live.answers()
    with torch.no_grad():
        student.network.bert.encoder.layer[0].output.dense.weight.mul_(3)
    skipped = student.network.bert.encoder.layer[0]
    student.network.bert.encoder.layer = student.network.bert.encoder.layer[1:]
    student(*texts)
    live.answers()
    assert torch.isfinite(matching(texts[1]))
    assert "bert.encoder.layer.0" not in matching._mine
    assert skipped._forward_hooks


def test_student_with_more_layers_than_its_teacher_is_refused(texts):
    with pytest.raises(NotApplicable, match="more than the teacher"):
        Matching(_encoder(16, 3), _encoder(16, 2), texts, hidden=1.0, attention=0.0)
