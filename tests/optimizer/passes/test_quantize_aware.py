import collections
import dataclasses

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import transformers
from torch import nn

from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import NotApplicable
from optimizer.intake.predictor import predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes import export, integer_program, quantize_aware, quantize_static, training
from optimizer.passes.integer_types import choose
from optimizer.passes.selection import score
from optimizer.recipe.export import Export
from optimizer.recipe.quantize import QuantizeStatic
from optimizer.recipe.quantize_aware import QuantizeAware


def _kernels(model, directory):
    """Operators that onnxruntime really runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(directory / "optimised.onnx")
    ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    return collections.Counter(node.op_type for node in onnx.load(directory / "optimised.onnx").graph.node)


def _prepared(sample, context, types):
    given = context(sample)
    model = sample.load()
    example = export.example(given.splits.calibration, model.inputs)
    chosen = choose(types, given.hardware, "cpu")
    rounding = integer_program.prepared(predictor_of(model), example, export.free_axes(model), chosen)
    inputs = tensors_of(given.splits.calibration, model.inputs)
    rounding.observe(inputs)
    return rounding, inputs


def test_training_with_rounding_saves_a_network_that_plain_quantisation_spoils(uneven, context, tmp_path):
    given = context(uneven)
    whole = export.run(Export(), uneven.load(), context(uneven, "whole"))
    plain = quantize_static.run(QuantizeStatic(partial=False, skip_slow=False), whole, context(uneven, "plain"))
    aware = quantize_aware.run(QuantizeAware(types="u8s8", epochs=2), uneven.load(), given)
    assert score(plain, given) < score(whole, given) - 0.2
    assert score(aware, given) > score(whole, given) - 0.02
    assert aware.signature == whole.signature
    kernels = _kernels(aware, tmp_path)
    assert kernels["QLinearConv"] == 27
    assert kernels["QGemm"] == 1
    assert not kernels["Conv"] + kernels["FusedConv"]
    assert any("28 weights in u8s8" in note for note in given.notes)


def test_sums_of_residual_branches_are_integers_too(resnet, context, tmp_path):
    aware = quantize_aware.run(QuantizeAware(types="u8s8", epochs=1), resnet.load(), context(resnet))
    kernels = _kernels(aware, tmp_path)
    assert (kernels["QLinearConv"], kernels["QLinearAdd"]) == (8, 3)
    assert not kernels["Conv"] + kernels["FusedConv"] + kernels["Add"]


def test_products_of_an_encoder_are_integers_and_its_length_stays_free(bert, context, tmp_path):
    given = context(bert)
    blind = dataclasses.replace(
        given,
        splits=dataclasses.replace(given.splits, train=dataclasses.replace(given.splits.train, labels=None)),
    )
    aware = quantize_aware.run(QuantizeAware(types="u8s8", epochs=1), bert.load(), blind)
    assert _kernels(aware, tmp_path)["MatMulIntegerToFloat"] == 12
    assert aware.signature.inputs == bert.load().inputs
    assert score(aware, given) > 0.95


@pytest.mark.parametrize("types", ["u8s8", "s8s8", "u8s8_reduced"])
def test_conversion_answers_exactly_as_the_network_did_in_training(uneven, context, types):
    rounding, inputs = _prepared(uneven, context, types)
    with torch.no_grad():
        trained = rounding(*inputs)
        converted = integer_program.converted(rounding)(*inputs)
    assert torch.equal(trained, converted)


def test_ranges_follow_the_data_in_training_alone(uneven, context):
    rounding, inputs = _prepared(uneven, context, "u8s8")
    louder = [tensor * 10 for tensor in inputs]

    def scales():
        return [tensor.clone() for name, tensor in rounding.state_dict().items() if name.endswith("scale")]

    first = scales()
    rounding(*louder)
    assert all(map(torch.equal, first, scales()))
    rounding.train()
    rounding(*louder)
    moved = scales()
    assert not all(map(torch.equal, first, moved))
    rounding.freeze()
    rounding.train()
    rounding(*louder)
    assert all(map(torch.equal, moved, scales()))


def test_network_without_weights_is_refused_with_the_reason(resnet, context):
    picture = (TensorSpec(name="pixel_values", datatype="FP32", shape=("batch", 1, 16, 16)),)
    bare = TorchModel(nn.Sequential(nn.Flatten(), nn.LayerNorm(256)), {}, picture, {}, calling="positional")
    with pytest.raises(NotApplicable, match="nothing to quantise"):
        quantize_aware.run(QuantizeAware(), bare, context(resnet))


def test_processor_that_saturates_gets_weights_of_seven_bits(resnet, context):
    given = context(resnet)
    plain = dataclasses.replace(given, hardware=given.hardware.model_copy(update={"isa": ("avx2",)}))
    aware = quantize_aware.run(QuantizeAware(epochs=1), resnet.load(), plain)
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(aware.path).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) >= 2
    ]
    assert max(int(np.abs(weight).max()) for weight in weights) == 63


def test_products_with_the_weight_the_other_way_round_are_rounded_too():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=16, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0, use_cache=False,
        attn_implementation="eager",
    )  # fmt: skip
    tokens = (TensorSpec(name="input_ids", datatype="INT64", shape=("batch", "sequence")),)
    model = TorchModel(transformers.GPT2LMHeadModel(config).eval(), {}, tokens, {"sequence": 8})
    example = (torch.randint(20, (2, 6)),)
    types = choose("u8s8", fingerprint(), "cpu")
    rounding = integer_program.prepared(predictor_of(model), example, export.free_axes(model), types)
    assert rounding.weighted == 5
    rounding.observe(example)
    with torch.no_grad():
        wanted, given = predictor_of(model).eval()(*example), rounding(*example)
    assert 0 < float((wanted - given).norm() / wanted.norm()) < 0.05


def test_training_that_was_killed_goes_on_where_it_was(resnet, context, tmp_path, monkeypatch):
    settings_of = training.settings_of
    monkeypatch.setattr(
        training, "settings_of", lambda *given: dataclasses.replace(settings_of(*given), save_seconds=0)
    )

    class Killed(Exception):
        pass

    def killed(share, **more):
        if share > 0.6:
            raise Killed

    recipe = QuantizeAware(types="u8s8", epochs=2, batch_size=16)
    kept = tmp_path / "resume"
    kept.mkdir()
    with pytest.raises(Killed):
        quantize_aware.run(recipe, resnet.load(), context(resnet, "killed", report=killed, resume=kept))
    again = context(resnet, "again", resume=kept)
    gone_on = quantize_aware.run(recipe, resnet.load(), again)
    assert any("went on from update" in note for note in again.notes)
    whole = quantize_aware.run(recipe, resnet.load(), context(resnet, "whole"))
    assert gone_on.path.read_bytes() == whole.path.read_bytes()
