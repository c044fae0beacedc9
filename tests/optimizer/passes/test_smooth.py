import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given as assuming
from hypothesis import strategies
from onnx import helper, numpy_helper

from optimizer.errors import NotApplicable
from optimizer.intake.stages import OnnxModel
from optimizer.passes import quantize_static, smooth
from optimizer.passes.normalised import normalised
from optimizer.passes.smoothing import best, error, factors
from optimizer.recipe.quantize import QuantizeStatic
from optimizer.recipe.smooth import Smooth

_WHOLE = QuantizeStatic(partial=False, skip_slow=False)


def _answers(model, sample):
    fed = {spec.name: sample.rows.arrays[spec.name] for spec in model.signature.inputs}
    return ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, fed)[0]


def _distance(one, other):
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def _with_outliers(model, path, times=300.0):
    """The same function, with two channels of every normalisation that products read `times` as large as before.

    As in large language models: the weights that read these channels are so much smaller, and so are the residual sums'
    shares of them.
    """
    proto = onnx.load(model.path)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for one in normalised(proto):
        by = np.ones(32, np.float32)
        by[[3, 20]] = times
        for name in one.parameters:
            constants[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constants[name]) * by, name))
        for product in one.products:
            assert not product.transposed
            matrix = numpy_helper.to_array(constants[product.matrix])
            constants[product.matrix].CopyFrom(numpy_helper.from_array(matrix / by[:, None], product.matrix))
        products = {product.node for product in one.products}
        proto.graph.initializer.append(numpy_helper.from_array(1 / by, f"{one.output}_back_by"))
        for node in proto.graph.node:
            if one.output in node.input and node.name not in products:
                node.input[list(node.input).index(one.output)] = f"{one.output}_back"
        position = next(place for place, node in enumerate(proto.graph.node) if node.name == one.node)
        back = helper.make_node(
            "Mul", [one.output, f"{one.output}_back_by"], [f"{one.output}_back"], f"{one.node}_back"
        )
        proto.graph.node.insert(position + 1, back)
    onnx.save(proto, path)
    return OnnxModel(path, model.signature)


@pytest.fixture(params=["bert", "vit"])
def spiked(request, tmp_path):
    """An encoder with normalisations behind (or before) its sums, and outliers; and its sample."""
    model = _with_outliers(request.getfixturevalue(f"{request.param}_onnx"), tmp_path / "spiked.onnx")
    return request.getfixturevalue(request.param), model


def test_outliers_that_ruin_integers_are_smoothed(spiked, context):
    sample, model = spiked
    wanted = _answers(model, sample)
    ruined = quantize_static.run(_WHOLE, model, context(sample, directory="ruined"))
    given = context(sample, directory="smooth")
    smoothed = smooth.run(Smooth(), model, given)
    assert _distance(_answers(smoothed, sample), wanted) < 1e-4
    assert any("normalisations smoothed" in note for note in given.notes)
    saved = quantize_static.run(_WHOLE, smoothed, context(sample, directory="saved"))
    lost = _distance(_answers(ruined, sample), wanted)
    assert _distance(_answers(saved, sample), wanted) < 0.3 * lost


def test_an_encoder_that_integers_ruin_stays_accurate(bert, bert_onnx, context, tmp_path):
    labels = bert.rows.labels
    model = _with_outliers(bert_onnx, tmp_path / "spiked.onnx")
    ruined = quantize_static.run(_WHOLE, model, context(bert, directory="ruined"))
    smoothed = smooth.run(Smooth(), model, context(bert, directory="smooth"))
    saved = quantize_static.run(_WHOLE, smoothed, context(bert, directory="saved"))
    right = {
        name: (_answers(each, bert).argmax(1) == labels).mean()
        for name, each in (("float", model), ("ruined", ruined), ("saved", saved))
    }
    assert right["ruined"] < right["float"] - 0.1
    assert right["saved"] > right["float"] - 0.01


def test_what_else_reads_a_normalisation_sees_it_unchanged(bert, bert_onnx, context, tmp_path):
    """Residual sums read BERT's normalisations too, so that products read a copy; a ViT's are changed themselves."""
    proto = onnx.load(bert_onnx.path)
    assert not any(one.alone for one in normalised(proto))
    given = context(bert)
    smoothed = smooth.run(Smooth(alpha=0.5), bert_onnx, given)
    added = [node for node in onnx.load(smoothed.path).graph.node if node.name.endswith("_smooth")]
    assert len(added) == len(normalised(proto)) == 4
    assert any(note.startswith("4 more multiplications") for note in given.notes)


def test_normalisations_of_their_own_take_no_further_operation(vit, vit_onnx, context):
    before = onnx.load(vit_onnx.path)
    assert all(one.alone for one in normalised(before))
    smoothed = smooth.run(Smooth(alpha=0.5), vit_onnx, context(vit))
    assert len(onnx.load(smoothed.path).graph.node) == len(before.graph.node)
    assert _distance(_answers(smoothed, vit), _answers(vit_onnx, vit)) < 1e-4


def test_a_graph_without_normalisations_is_not_applicable(resnet, resnet_onnx, context):
    with pytest.raises(NotApplicable, match="nothing to smooth"):
        smooth.run(Smooth(), resnet_onnx, context(resnet))


def test_a_gain_that_nothing_reaches_is_not_applicable(bert, bert_onnx, context):
    with pytest.raises(NotApplicable, match=r"smoothing gains nothing: in none of 4 .* by 99%"):
        smooth.run(Smooth(least_gain=0.99), bert_onnx, context(bert))


@assuming(strategies.floats(0, 1), strategies.integers(0, 2**32 - 1))
def test_factors_move_ranges_and_nothing_else(alpha, seed):
    random = np.random.default_rng(seed)
    values, matrix = random.normal(size=(20, 6)).astype(np.float32), random.normal(size=(6, 5)).astype(np.float32)
    values[:, 2] = 0
    matrix[4] = 0
    by = factors(np.abs(values).max(axis=0), matrix, alpha)
    assert by[2] == by[4] == 1
    assert np.all(by > 0)
    np.testing.assert_allclose((values / by) @ (matrix * by[:, None]), values @ matrix, rtol=1e-3, atol=1e-4)


def test_the_best_alpha_beats_none_where_a_channel_stands_out():
    random = np.random.default_rng(0)
    values, matrix = random.normal(size=(200, 32)).astype(np.float32), random.normal(size=(32, 16)).astype(np.float32)
    values[:, 5] *= 100
    extremes = values.min(axis=0), values.max(axis=0)
    alpha, reached, plain = best(values, matrix / (1 + 99 * (np.arange(32) == 5))[:, None], extremes)
    assert 0 < alpha <= 1
    assert reached < 0.3 * plain
    assert error(values, matrix, None, extremes) > 0
