import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given as assuming
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper

from optimizer.errors import NotApplicable
from optimizer.passes import export, partial, quantize_dynamic, quantize_static
from optimizer.passes.lookup_tables import lookups, round_rows, round_tables
from optimizer.recipe.export import Export
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic

_FLOATS = strategies.floats(-1e6, 1e6, width=32)


def _answers(model, arrays):
    fed = {spec.name: arrays[spec.name] for spec in model.signature.inputs}
    return ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, fed)[0]


def _floats(model):
    """Shapes of the matrices that are left in float."""
    tensors = onnx.load(model.path).graph.initializer
    return sorted(tuple(t.dims) for t in tensors if t.data_type == TensorProto.FLOAT and len(t.dims) == 2)


@assuming(arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1), elements=_FLOATS))
def test_rows_are_rounded_to_half_a_unit(table):
    whole, scales = round_rows(table)
    assert scales.shape == (len(table), 1)
    assert np.all(np.abs(whole * scales - table) <= scales * 0.501)


@pytest.mark.parametrize(("module", "kind"), [(quantize_dynamic, QuantizeDynamic), (quantize_static, QuantizeStatic)])
def test_an_encoders_words_shrink_with_its_products(bert, bert_onnx, context, module, kind):
    small = module.run(kind(skip_slow=False), bert_onnx, context(bert))
    large = module.run(kind(skip_slow=False, embeddings=False), bert_onnx, context(bert, directory="large"))
    assert (40, 32) in _floats(large)
    assert (40, 32) not in _floats(small)
    # Three bytes a weight are saved, four a row go into its scale, and some go into the nodes.
    saved = large.path.stat().st_size - small.path.stat().st_size
    assert 3 * 40 * 32 - 4 * 40 - 1000 < saved <= 3 * 40 * 32
    one, other = (_answers(model, bert.rows.arrays) for model in (small, large))
    assert (one.argmax(1) == other.argmax(1)).mean() > 0.98
    assert not np.array_equal(one, other)


def test_a_table_that_costs_too_much_stays_in_float(bert, bert_onnx, context, monkeypatch):
    """A judge who takes off half for every rounded table."""
    given = context(bert)
    judged = partial.Partial.score

    def score(self, proto):
        return judged(self, proto) - 0.5 * any(tensor.name.endswith("_rows") for tensor in proto.graph.initializer)

    monkeypatch.setattr(partial.Partial, "score", score)
    kept = quantize_dynamic.run(QuantizeDynamic(skip_slow=False), bert_onnx, given)
    assert (40, 32) in _floats(kept)
    (table,) = given.tables
    assert ("Gather", True) in {(row[1], row[3]) for row in table.rows}


def test_a_table_that_something_else_reads_stays_beside(bert_onnx):
    proto = onnx.load(bert_onnx.path)
    (words,) = [table for table in lookups(proto) if table.size == 40 * 32]
    name = next(node.input[0] for node in proto.graph.node if node.name == words.name)
    proto.graph.node.append(helper.make_node("Identity", [name], ["copy"], "copy"))
    proto.graph.output.append(helper.make_tensor_value_info("copy", TensorProto.FLOAT, [40, 32]))
    round_tables(proto, [words.name])
    onnx.checker.check_model(proto)
    assert {name, f"{name}_rows"} <= {tensor.name for tensor in proto.graph.initializer}


class Taste(torch.nn.Module):
    """How near a user is to an item: two tables and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = torch.nn.Embedding(500, 16), torch.nn.Embedding(300, 16)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """One score a pair [b, 1]."""
        return (self.users(user) * self.items(item)).sum(-1, keepdim=True)


def test_a_recommender_of_tables_alone_becomes_a_quarter_as_large(record, context, tmp_path):
    torch.manual_seed(0)
    network, random = Taste().eval(), np.random.default_rng(0)
    rows = {"user": random.integers(0, 500, 200), "item": random.integers(0, 300, 200)}
    with torch.no_grad():
        liked = network(*(torch.from_numpy(array) for array in rows.values()))[:, 0] > 0
    sample = record(network, rows | {"labels": liked.numpy().astype(np.int64)}, tmp_path / "taste")
    model = export.run(Export(), sample.load(), context(sample, task="binary", directory="export"))
    given = context(sample, task="binary")
    small = quantize_dynamic.run(QuantizeDynamic(skip_slow=False), model, given)
    assert small.path.stat().st_size < 0.4 * model.path.stat().st_size
    assert given.notes[0].startswith("2 matrices in ")
    one, other = (_answers(each, rows) for each in (small, model))
    assert 0 < np.linalg.norm(one - other) / np.linalg.norm(other) < 0.02
    with pytest.raises(NotApplicable, match="nothing to quantise dynamically"):
        quantize_dynamic.run(QuantizeDynamic(embeddings=False), model, context(sample, task="binary"))


def test_a_small_table_is_left_alone(recorded_recommender, context):
    given = context(recorded_recommender, task="binary")
    assert lookups(onnx.load(export.run(Export(), recorded_recommender.load(), given).path)) == []
