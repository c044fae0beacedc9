import onnx
import pytest
import torch

from optimizer.errors import NotApplicable, UnsupportedModel
from optimizer.intake import architecture, editing
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes import export, prune_layers, share_layers
from optimizer.passes.stacks import removable
from optimizer.recipe.export import Export
from optimizer.recipe.prune_layers import PruneLayers, ShareLayers

_STACK = "bert.encoder.layer"


def _answers(model, rows):
    return answers_of(predictor_of(model), tensors_of(rows, model.inputs))


@pytest.fixture
def deep(bert):
    """The encoder's two trained layers, with three that do nothing around them; their places are 0, 2 and 4."""
    trained = bert.load()
    model = editing.of_another_config(trained, {"num_hidden_layers": 5})
    weights = trained.network.state_dict()
    idle = {"attention.output.dense", "output.dense"}
    with torch.no_grad():
        for name, tensor in model.network.state_dict().items():
            if not name.startswith(_STACK):
                tensor.copy_(weights[name])
        for place, layer in enumerate(model.network.bert.encoder.layer):
            if place in (1, 3):
                layer.load_state_dict(trained.network.bert.encoder.layer[place // 2].state_dict())
            else:
                for name in idle:
                    layer.get_submodule(name).weight.zero_()
                    layer.get_submodule(name).bias.zero_()
    return model


@pytest.mark.parametrize("by", ["measured", "greedy"])
def test_the_layers_that_do_least_go(deep, bert, context, by):
    told = context(bert)
    before, parameters = _answers(deep, bert.rows), deep.parameters
    shallow = prune_layers.run(PruneLayers(ratio=0.6, by=by), deep, told)
    assert told.notes[1] == f"3 of 5 layers removed: {_STACK}.0, {_STACK}.2, {_STACK}.4"
    assert shallow.parameters < 0.6 * parameters
    agreement = (_answers(shallow, bert.rows).argmax(-1) == before.argmax(-1)).float().mean()
    assert agreement > 0.9
    (table,) = told.tables
    assert table.kind == "sensitivity"
    assert len(table.rows) == (5 if by == "measured" else 12)


def test_evenly_spread_layers_stay(deep, bert, context):
    kept = list(deep.network.bert.encoder.layer)[::2][:2]
    shallow = prune_layers.run(PruneLayers(ratio=0.6, by="even"), deep, context(bert))
    assert shallow.network.bert.encoder.layer[0] is kept[0]
    assert len(shallow.network.bert.encoder.layer) == 2


@pytest.mark.parametrize(
    ("count", "ratio", "gone"), [(12, 6, (1, 3, 5, 7, 9, 11)), (6, 3, (1, 3, 5)), (4, 3, (1, 2, 3)), (3, 1, (1,))]
)
def test_every_second_layer_goes_as_in_distilbert(count, ratio, gone):
    layers = [("layers", place) for place in range(count)]
    removed = prune_layers.spread(layers, ratio, {"layers": count})
    assert len(removed) == ratio
    assert ("layers", 0) not in removed
    if count != 3:
        assert tuple(place for _, place in removed) == gone


def test_residual_blocks_go_where_shapes_allow_it(resnet, context):
    told = context(resnet)
    model = resnet.load()
    # The first block of the second stage doubles the channels and cannot go.
    assert removable(model, told) == {"resnet.encoder.stages": [0], "resnet.encoder.stages.1.layers": [1]}
    before = model.parameters
    shallow = prune_layers.run(PruneLayers(ratio=0.5), model, told)
    assert shallow.parameters < before
    assert _answers(shallow, resnet.rows).shape == (400, 4)


def test_the_shallow_network_comes_back(deep, bert, context, tmp_path):
    shallow = prune_layers.run(PruneLayers(ratio=0.4), deep, context(bert))
    architecture.save(shallow, tmp_path, bert.load)
    assert torch.equal(_answers(architecture.load(tmp_path, bert.load), bert.rows), _answers(shallow, bert.rows))


def test_a_ratio_that_removes_nothing_is_said(bert, context):
    with pytest.raises(NotApplicable, match="leaves all 2 removable layers in place"):
        prune_layers.run(PruneLayers(ratio=0.1), bert.load(), context(bert))


def test_a_network_without_a_stack_is_refused(uneven, context):
    inputs = uneven.load().inputs
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 4))
    with pytest.raises(UnsupportedModel, match="no stack of layers"):
        prune_layers.run(PruneLayers(), TorchModel(network, {}, inputs, {}, calling="positional"), context(uneven))


def test_shared_layers_are_stored_once(bert, bert_onnx, context, tmp_path):
    told = context(bert)
    model = bert.load()
    before = model.parameters
    shared = share_layers.run(ShareLayers(), model, told)
    one, other = shared.network.bert.encoder.layer
    assert one is other
    assert shared.parameters < 0.7 * before
    assert "2 layers share 1 sets of weights; the time does not change" in told.notes
    exported = export.run(Export(), shared, told)
    graph = onnx.load(exported.path).graph
    stored = sum(len(tensor.raw_data) for tensor in graph.initializer)
    assert stored == pytest.approx(4 * shared.parameters, rel=0.05)
    assert exported.path.stat().st_size < bert_onnx.path.stat().st_size - 4 * 0.9 * (before - shared.parameters)
    architecture.save(shared, tmp_path, bert.load)
    assert torch.equal(_answers(architecture.load(tmp_path, bert.load), bert.rows), _answers(shared, bert.rows))
