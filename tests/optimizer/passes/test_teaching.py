import dataclasses
import pickle

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import TensorSpec
from optimizer.artifact.task import TASKS
from optimizer.errors import InvalidRecipe, NotApplicable
from optimizer.intake import editing
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes import distill, prune, student, teaching
from optimizer.passes.context import References, Splits
from optimizer.recipe.distill import Distill
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.student import Student
from optimizer.train.soft_targets import soft_loss


def _apart(one, other, inputs, task="classification"):
    """How far two models' answers lie apart."""
    first, second = (answers_of(predictor_of(model), inputs) for model in (one, other))
    return float(soft_loss(task, 1.0)(first, second, None))


def _agreement(one, other, inputs):
    first, second = (answers_of(predictor_of(model), inputs).argmax(-1) for model in (one, other))
    return float((first == second).float().mean())


def _nobody():
    raise AssertionError("the teacher was asked")


def test_half_the_layers_answer_as_the_teacher_sooner_with_its_weights_and_its_inner_values(bert, context):
    teacher = bert.load()
    left = {}
    for name, weight in (("plain", 0.0), ("matched", 1.0), ("random", 1.0)):
        given = context(bert, name)
        small = student.run(Student(layers="half"), bert.load(), given)
        if name == "random":
            torch.manual_seed(0)
            small = editing.of_another_config(bert.load(), {"num_hidden_layers": 1})
        distill.run(Distill(alpha=0, epochs=2, hidden=weight), small, given)
        left[name] = _apart(small, teacher, tensors_of(given.splits.selection, teacher.inputs))
    assert left["matched"] < 0.75 * left["plain"]
    assert left["plain"] < 0.1 * left["random"]


def test_convolutional_student_learns_where_its_teacher_looks(resnet, context):
    teacher = resnet.load()
    left = {}
    for name, weight in (("plain", 0.0), ("matched", 1.0)):
        given = context(resnet, name)
        torch.manual_seed(0)
        small = editing.of_another_config(resnet.load(), {"hidden_sizes": [32, 32]})
        distill.run(Distill(alpha=0, epochs=3, attention=weight), small, given)
        left[name] = _apart(small, teacher, tensors_of(given.splits.selection, teacher.inputs))
    assert left["matched"] < 0.97 * left["plain"]


def test_network_whose_heads_were_cut_is_matched_too(bert, context):
    given = context(bert)
    cut = prune.run(PruneStructured(ratio=0.5, round_to=1), bert.load(), given)
    inputs = tensors_of(given.splits.selection, cut.inputs)
    before = _apart(cut, bert.load(), inputs)
    distill.run(Distill(alpha=0, epochs=2, hidden=1, attention=1), cut, given)
    assert _apart(cut, bert.load(), inputs) < 0.5 * before


def test_pairs_of_layers_may_be_named(bert, context):
    small = student.run(Student(layers=1), bert.load(), context(bert))
    wanted = {"bert.encoder.layer.0": "bert.encoder.layer.0"}
    with teaching.Lesson(Distill(), predictor_of(small), small, context(bert), hidden=1.0) as lesson:
        assert lesson.companions.hidden_pairs == (("bert.encoder.layer.0", "bert.encoder.layer.1"),)
    pairs = tuple(wanted.items())
    with teaching.Lesson(Distill(), predictor_of(small), small, context(bert), hidden=1.0, pairs=pairs) as lesson:
        assert lesson.companions.hidden_pairs == pairs
    with pytest.raises(InvalidRecipe, match=r"module 'bert\.encoder\.layer\.7'"):
        distill.run(Distill(hidden=1, pairs={"bert.encoder.layer.7": "bert.encoder.layer.0"}), small, context(bert))


def test_hooks_are_gone_after_training(bert, context):
    small = student.run(Student(layers=1), bert.load(), context(bert))
    distill.run(Distill(epochs=1, hidden=1, attention=1), small, context(bert))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.network.modules())


def test_teacher_that_is_asked_in_every_epoch_teaches_the_same(resnet, context, monkeypatch):
    networks = []
    for kept in (teaching._KEPT_BYTES, 0):
        monkeypatch.setattr(teaching, "_KEPT_BYTES", kept)
        cut = prune.run(PruneStructured(ratio=0.5), resnet.load(), context(resnet))
        networks.append(distill.run(Distill(epochs=1), cut, context(resnet)).network.state_dict())
    first, second = networks
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-3, atol=1e-5)


def test_teacher_sees_the_rows_as_they_were_augmented(resnet, context):
    given, model = context(resnet), resnet.load()
    student = predictor_of(model).eval()
    changed = tensors_of(given.splits.train, model.inputs)[0][:8].flip(-1)
    left = {}
    for augmentation in ("none", "light"):
        recipe = Distill(alpha=0, augmentation=augmentation)
        with teaching.Lesson(recipe, student, model, given) as lesson, torch.no_grad():
            left[augmentation] = float(lesson.objective(student(changed), torch.arange(8)))
    assert left["light"] == pytest.approx(0, abs=1e-5)
    assert left["none"] > 0.1


def test_with_alpha_one_nobody_teaches(resnet, context):
    given = context(resnet, references=References(_nobody))
    cut = prune.run(PruneStructured(ratio=0.5), resnet.load(), given)
    distill.run(Distill(alpha=1, epochs=1), cut, given)


def test_onnx_graph_teaches_without_labels(resnet, resnet_onnx, context):
    given = context(resnet, references=References(_nobody, lambda: resnet_onnx))
    blind = dataclasses.replace(
        given, splits=Splits(*(dataclasses.replace(rows, labels=None) for rows in vars(given.splits).values()))
    )
    cut = prune.run(PruneStructured(ratio=0.5), resnet.load(), given)
    inputs = tensors_of(given.splits.selection, cut.inputs)
    assert _agreement(cut, resnet.load(), inputs) < 0.9
    distill.run(Distill(epochs=2), cut, blind)
    assert _agreement(cut, resnet.load(), inputs) > 0.95
    with pytest.raises(NotApplicable, match="its answers only"):
        distill.run(Distill(hidden=1), cut, blind)


_INPUT = (TensorSpec(name="features", datatype="FP32", shape=("batch", 6, 4)),)


def _language_model(layers):
    torch.manual_seed(layers)
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=16, n_layer=layers, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    tokens = tuple(
        TensorSpec(name=name, datatype="INT64", shape=("batch", "sequence")) for name in ("input_ids", "attention_mask")
    )
    return TorchModel(transformers.GPT2LMHeadModel(config).eval(), {}, tokens, {"sequence": 8})


def test_language_model_teaches_a_shallower_one_token_by_token(resnet, context):
    random = np.random.default_rng(0)
    mask = np.arange(8) < random.integers(3, 9, (96, 1))
    rows = Rows({"input_ids": random.integers(0, 20, (96, 8)), "attention_mask": mask.astype(np.int64)})
    given = context(
        resnet, task="causal_lm", splits=Splits(rows, rows, rows), references=References(lambda: _language_model(3))
    )
    learner, teacher = _language_model(2), _language_model(3)
    inputs = tensors_of(rows, learner.inputs)
    before = _apart(learner, teacher, inputs, "causal_lm")
    distill.run(Distill(epochs=6, learning_rate=1e-2, hidden=0.1, attention=0.1), learner, given)
    assert _apart(learner, teacher, inputs, "causal_lm") < 0.5 * before


def test_teacher_that_answers_something_else_is_refused(resnet, context):
    other = editing.of_another_config(resnet.load(), {"num_labels": 7, "id2label": None, "label2id": None})
    with pytest.raises(NotApplicable, match=r"answers \[4\] a row and the network here \[7\]"):
        distill.run(Distill(), other, context(resnet))


def _small(task, seed):
    """A network that answers `task` to features [batch, 6, 4]."""
    torch.manual_seed(seed)
    by_token = task in ("token_classification", "causal_lm")
    width = {"binary": 1, "regression": 2}.get(task, 3)
    if by_token:
        network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, width))
    else:
        network = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, width))
    return TorchModel(network.eval(), {}, _INPUT, {}, calling="positional")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "causal_lm"])
def test_every_task_can_be_taught_without_labels(task, resnet, context):
    random = np.random.default_rng(0)
    rows = Rows({"features": random.normal(size=(120, 6, 4)).astype(np.float32)})
    given = context(resnet, task=task, splits=Splits(rows, rows, rows), references=References(lambda: _small(task, 1)))
    inputs = tensors_of(rows, _INPUT)
    learner = _small(task, 2)
    before = _apart(learner, _small(task, 1), inputs, task)
    distill.run(Distill(epochs=12, learning_rate=1e-2, alpha=0.5), learner, given)
    assert _apart(learner, _small(task, 1), inputs, task) < 0.4 * before


@pytest.mark.timeout(120)
def test_two_processes_are_taught_what_one_is(resnet, context):
    networks = []
    for processes in (1, 2):
        given = context(resnet, f"{processes}")
        cut = prune.run(PruneStructured(ratio=0.5), resnet.load(), context(resnet))
        before = cut.network.classifier[1].weight.detach().clone()
        recipe = Distill(
            epochs=0.5, processes=processes, optimiser="sgd", learning_rate=0.01, hidden=1.0, attention=1.0
        )
        networks.append(distill.run(recipe, cut, given).network.state_dict())
        assert not any("in one process" in note for note in given.notes)
    one, two = (weights["classifier.1.weight"] for weights in networks)
    assert float((one - two).abs().max()) < 0.05 * float((one - before).abs().max())


def test_lesson_of_a_graph_can_be_sent_to_another_process(resnet, resnet_onnx, context):
    given = context(resnet, references=References(_nobody, lambda: resnet_onnx))
    model = resnet.load()
    student, rows = predictor_of(model).eval(), torch.arange(4)
    inputs = tensors_of(given.splits.train, model.inputs)[0][:4]
    with teaching.Lesson(Distill(alpha=0, augmentation="light"), student, model, given) as lesson:
        sent, objective = pickle.loads(pickle.dumps((student, lesson.objective)))
        with torch.no_grad():
            here, there = lesson.objective(2 * student(inputs), rows), objective(2 * sent(inputs), rows)
    assert float(here) == pytest.approx(float(there))
    assert float(here) > 0.01
