from dataclasses import replace

import onnx
import pytest
import torch
from pydantic import ValidationError

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidRecipe, NotApplicable
from optimizer.intake import architecture, editing
from optimizer.intake.onnx_file import save
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes import distill, export, prune, student
from optimizer.passes.context import References, Splits
from optimizer.passes.selection import score
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.student import Student


def test_student_of_half_the_layers_starts_from_those_that_it_keeps(bert, context, tmp_path):
    given = context(bert)
    small, theirs = student.run(Student(layers="half"), bert.load(), given), bert.load().network.state_dict()
    mine = small.network.state_dict()
    assert set(mine) == {name for name in theirs if ".layer.1." not in name}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    assert given.notes[0] == "keeps layers 1 of 2"
    architecture.save(small, tmp_path, bert.load)
    inputs = tensors_of(given.splits.selection, small.inputs)
    again = answers_of(predictor_of(architecture.load(tmp_path, bert.load)), inputs)
    assert torch.equal(again, answers_of(predictor_of(small), inputs))


@pytest.mark.parametrize("narrower", [{}, {"intermediate_size": 32}])
def test_kept_layers_are_spread_over_the_stack(bert, context, narrower):
    deep = editing.of_another_config(bert.load(), {"num_hidden_layers": 5})
    theirs = [layer.output.LayerNorm.weight for layer in deep.network.bert.encoder.layer]
    for index, weight in enumerate(theirs):
        torch.nn.init.constant_(weight, index)
    small = student.run(Student(layers=2, config=narrower), deep, context(bert))
    mine = small.network.bert.encoder.layer
    assert [layer.output.LayerNorm.weight[0].item() for layer in mine] == [0, 2]


def test_pruned_network_keeps_layers_too(bert, context):
    pruned = prune.run(PruneStructured(ratio=0.5, round_to=1), bert.load(), context(bert))
    before = pruned.parameters
    small = student.run(Student(layers=1), pruned, context(bert))
    assert small.parameters < before


def test_student_of_another_config_takes_what_fits(resnet, context, tmp_path):
    given, teacher = context(resnet), resnet.load()
    small = student.run(Student(config={"depths": [1, 1], "hidden_sizes": [32, 32]}), teacher, given)
    mine, theirs = small.network.state_dict(), teacher.network.state_dict()
    assert torch.equal(
        mine["resnet.embedder.embedder.convolution.weight"], theirs["resnet.embedder.embedder.convolution.weight"]
    )
    assert mine["classifier.1.weight"].shape == (4, 32)
    assert small.parameters < teacher.parameters
    architecture.save(small, tmp_path, resnet.load)
    inputs = tensors_of(given.splits.selection, small.inputs)
    again = answers_of(predictor_of(architecture.load(tmp_path, resnet.load)), inputs)
    assert torch.equal(again, answers_of(predictor_of(small), inputs))


def test_same_seed_gives_the_same_student(resnet, context):
    recipe = Student(config={"hidden_sizes": [16, 32]})
    first, second = (student.run(recipe, resnet.load(), context(resnet)).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("recipe", "error", "says"),
    [
        (Student(layers=2), NotApplicable, "would be no smaller"),
        (Student(layers=2, config={"hidden_act": "relu"}), NotApplicable, "would be no smaller"),
        (Student(config={"intermediate_size": 128}), NotApplicable, "would have"),
        (Student(config={"num_labels": 3, "num_hidden_layers": 1}), InvalidRecipe, "answers"),
        (Student(config={"num_attention_heads": 5}), InvalidRecipe, "does not do"),
        (Student(config={"auto_map": {"AutoModel": "evil.Model"}}), InvalidRecipe, "auto_map"),
    ],
)
def test_student_that_makes_no_sense_is_refused(bert, context, recipe, error, says):
    with pytest.raises(error, match=says):
        student.run(recipe, bert.load(), context(bert))


def test_pruned_network_cannot_become_a_student(resnet, context):
    pruned = prune.run(PruneStructured(ratio=0.5), resnet.load(), context(resnet))
    with pytest.raises(InvalidRecipe, match="must come before"):
        student.run(Student(config={"depths": [1, 1]}), pruned, context(resnet))


def _renamed(graph, directory, old, new):
    """The graph with another name for one of its values."""
    proto = onnx.load(graph.path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = new if value.name == old else value.name
    for node in proto.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    directory.mkdir(exist_ok=True)
    return save(proto, directory, signature_of(proto, graph.signature.limits), SessionSpec())


def test_graph_has_a_student_of_any_architecture_that_answers_to_its_names(resnet, resnet_onnx, context, tmp_path):
    graph = _renamed(_renamed(resnet_onnx, tmp_path / "in", "pixel_values", "x"), tmp_path / "out", "logits", "y")
    rows = context(resnet).splits
    splits = Splits(*(replace(part, arrays={"x": part.arrays["pixel_values"]}) for part in vars(rows).values()))
    given = context(resnet, splits=splits, references=References(_no_network, lambda: graph))
    config = {"model_type": "resnet", "num_channels": 1, "embedding_size": 16, "hidden_sizes": [16, 32],
              "depths": [1, 1], "layer_type": "basic"}  # fmt: skip
    small = student.run(Student(config=config), graph, given)
    assert small.calling == "positional"
    architecture.save(small, tmp_path, _no_network)
    small = architecture.load(tmp_path, _no_network)
    distill.run(Distill(epochs=2, learning_rate=5e-3), small, given)
    exported = export.run(Export(), small, given)
    assert exported.signature == graph.signature
    assert score(exported, given) > 0.9


def test_config_of_a_sound_classifier_is_that_of_one():
    sound = (TensorSpec(name="input_values", datatype="FP32", shape=("batch", 400)),)
    config = {
        "model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "conv_dim": [8], "conv_stride": [5], "conv_kernel": [10], "num_labels": 3,
        "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8,
    }  # fmt: skip
    model = editing.of_another_config(TorchModel(torch.nn.Identity(), {}, sound, {}), config)
    assert predictor_of(model).eval()(torch.zeros(2, 400)).shape == (2, 3)


def test_graph_of_tokens_has_a_student_whose_config_names_its_head(bert, context, tmp_path):
    architecture_of_tokens = {"architectures": ["BertForTokenClassification"], "num_hidden_layers": 1}
    teacher = editing.of_another_config(bert.load(), architecture_of_tokens)
    given = context(bert, task="token_classification")
    graph = export.run(Export(), teacher, given)
    config = {"model_type": "distilbert", "architectures": ["DistilBertForTokenClassification"], "vocab_size": 40,
              "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 16}  # fmt: skip
    small = student.run(Student(config=config), graph, given)
    inputs = tensors_of(given.splits.selection, small.inputs)
    assert answers_of(predictor_of(small), inputs).shape == answers_of(predictor_of(teacher), inputs).shape


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (Student(layers="half"), "whole `config`"),
        (Student(config={"hidden_size": 16}), "whole `config`"),
        (Student(config={"model_type": "resnet", "num_channels": 3}), "does not take the checkpoint's inputs"),
        (Student(config={"model_type": "resnets"}), "does not do"),
    ],
)
def test_student_that_a_graph_cannot_teach_is_refused(resnet, resnet_onnx, context, recipe, says):
    with pytest.raises(InvalidRecipe, match=says):
        student.run(recipe, resnet_onnx, context(resnet))


def _no_network():
    raise AssertionError("an ONNX checkpoint has no network")


@pytest.mark.parametrize("values", [{}, {"layers": 0}, {"layers": "most"}])
def test_config_says_what_is_smaller(values):
    with pytest.raises(ValidationError):
        Student(**values)
