import dataclasses

import pytest
import torch
import transformers

from optimizer.artifact.task import IGNORED
from optimizer.errors import InvalidDataset, NotApplicable
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes import finetune, training
from optimizer.recipe.document import parse_yaml
from optimizer.recipe.finetune import Finetune
from optimizer.recipe.training import Training


def _accuracy(model, rows):
    answers = answers_of(predictor_of(model), tensors_of(rows, model.inputs)).argmax(-1)
    return float((answers == torch.from_numpy(rows.labels)).float().mean())


def _fresh(resnet):
    """The residual network with a head that has learnt nothing."""
    model = resnet.load()
    torch.manual_seed(1)
    torch.nn.init.normal_(model.network.classifier[1].weight, std=0.01)
    torch.nn.init.zeros_(model.network.classifier[1].bias)
    return model


def _with_labels(given, change):
    """The context with other labels in every split that training reads."""
    parts = {name: getattr(given.splits, name) for name in ("train", "selection")}
    changed = {name: dataclasses.replace(rows, labels=change(rows)) for name, rows in parts.items()}
    return dataclasses.replace(given, splits=dataclasses.replace(given.splits, **changed))


def test_new_head_on_a_trained_body_learns_while_the_body_stands_still(resnet, context):
    model, given = _fresh(resnet), context(resnet)
    body = {name: tensor.clone() for name, tensor in model.network.resnet.state_dict().items()}
    head = model.network.classifier[1].weight.detach().clone()
    before = _accuracy(model, given.splits.selection)
    finetune.run(Finetune(epochs=3, freeze_epochs=3, learning_rate=0.02), model, given)
    assert _accuracy(model, given.splits.selection) > max(0.9, before + 0.2)
    after = model.network.resnet.state_dict()
    assert all(torch.equal(body[name], after[name]) for name in body)
    assert not torch.equal(head, model.network.classifier[1].weight)
    # Later passes find nothing frozen.
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_body_learns_when_it_is_released(resnet, context):
    model = _fresh(resnet)
    body = model.network.resnet.embedder.embedder.convolution.weight.detach().clone()
    finetune.run(Finetune(epochs=2, freeze_epochs=1), model, context(resnet))
    assert not torch.equal(body, model.network.resnet.embedder.embedder.convolution.weight)


def test_curves_go_into_a_table_and_the_outcome_into_the_notes(resnet, context):
    given = context(resnet)
    finetune.run(Finetune(epochs=2), resnet.load(), given)
    (table,) = given.tables
    assert table.kind == "training"
    assert [row[0] for row in table.rows] == [1, 2]
    assert "accuracy" in table.columns
    assert "of the selection rows right after epoch" in given.notes[0]


def test_overfitting_is_told(bert, context):
    given = context(bert)
    few = dataclasses.replace(given.splits, train=given.splits.train.take(torch.arange(24).numpy()))
    noise = torch.randint(0, 4, (24,), generator=torch.Generator().manual_seed(3)).numpy()
    few = dataclasses.replace(few, train=dataclasses.replace(few.train, labels=noise))
    given = dataclasses.replace(given, splits=few)
    finetune.run(Finetune(epochs=12, batch_size=8, learning_rate=3e-3), bert.load(), given)
    assert any(note.startswith("overfitting from epoch") for note in given.notes)


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_other_heads_learn_their_task(bert, context, task):
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, num_labels=2 if task == "multilabel" else 1,
    )  # fmt: skip
    torch.manual_seed(0)
    given = dataclasses.replace(context(bert), task=task)
    changed = _with_labels(
        given,
        lambda rows: {
            "binary": (rows.labels > 1).astype("int64"),
            "multilabel": (rows.labels[:, None] >> [0, 1]) & 1,
            "regression": rows.labels.astype("float32"),
        }[task],
    )
    loaded = bert.load()
    network = transformers.BertForSequenceClassification(config)
    network.bert.embeddings.load_state_dict(loaded.network.bert.embeddings.state_dict())
    model = TorchModel(network, config.to_dict(), loaded.inputs, loaded.limits)
    finetune.run(Finetune(epochs=6, learning_rate=3e-3, label_smoothing=0.05), model, changed)
    best = changed.tables[0].rows
    assert changed.tables[0].columns[3] == {"binary": "auc", "multilabel": "micro_f1", "regression": "rmse"}[task]
    assert best[-1][2] < 0.8 * best[0][2]


def test_language_model_needs_no_labels(bert, context):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=40, n_embd=32, n_layer=1, n_head=2, n_positions=16)
    network, loaded = transformers.GPT2LMHeadModel(config), bert.load()
    model = TorchModel(network, config.to_dict(), loaded.inputs, loaded.limits)
    given = _with_labels(dataclasses.replace(context(bert), task="causal_lm"), lambda rows: None)
    finetune.run(Finetune(epochs=2, learning_rate=3e-3), model, given)
    rows = given.tables[0].rows
    assert rows[-1][2] < rows[0][2]
    assert "perplexity" in given.notes[0]


def test_token_labels_that_do_not_count_are_ignored(bert, context):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, num_labels=2,
    )  # fmt: skip
    network, loaded = transformers.BertForTokenClassification(config), bert.load()
    model = TorchModel(network, config.to_dict(), loaded.inputs, loaded.limits)

    def tags(rows):
        tagged = (rows.arrays["input_ids"] > 20).astype("int64")
        tagged[rows.arrays["attention_mask"] == 0] = IGNORED
        return tagged

    given = _with_labels(dataclasses.replace(context(bert), task="token_classification"), tags)
    finetune.run(Finetune(epochs=4, learning_rate=3e-3), model, given)
    assert given.tables[0].rows[-1][3] > 0.9


def test_without_labels_there_is_nothing_to_learn(resnet, context):
    blind = _with_labels(context(resnet), lambda rows: None)
    with pytest.raises(InvalidDataset, match="no array 'labels'"):
        finetune.run(Finetune(), resnet.load(), blind)
    with pytest.raises(NotApplicable, match="use `distill`"):
        finetune.run(Finetune(), resnet.load(), dataclasses.replace(blind, task="agreement"))


def test_every_field_of_a_config_reaches_the_settings(resnet, context):
    config = Training(
        epochs=3, batch_size=7, optimiser="sgd", momentum=0.5, learning_rate=0.3, schedule="exponential",
        warmup_share=0.2, gamma=0.9, layer_decay=0.8, weight_decay=0.2, l1=0.1, l2=0.3, dropout=0.4, patience=2,
        gradient_norm=5.0, augmentation="light", mixed_precision="auto", processes=3,
    )  # fmt: skip
    settings = training.settings_of(config, resnet.load(), context(resnet))
    fields = {field.name for field in dataclasses.fields(settings)} & set(Training.model_fields)
    assert len(fields) >= 15
    assert {name: getattr(settings, name) for name in fields} == {name: getattr(config, name) for name in fields}


def test_recipe_names_its_fields():
    recipe = parse_yaml("name: tuned\nsteps:\n- use: finetune\n  optimiser: sgd\n  freeze_epochs: 1\n- use: export\n")
    assert recipe.steps[0] == Finetune(optimiser="sgd", freeze_epochs=1)


def test_more_frozen_epochs_than_epochs_are_refused():
    with pytest.raises(ValueError, match=r"freeze_epochs \(3\) are a part of epochs \(2\)"):
        Finetune(epochs=2, freeze_epochs=3)


def test_domain_names_fields_of_the_config():
    assert set(Finetune.domain) <= set(Finetune.model_fields)
    for name, values in Finetune.domain.items():
        for value in values:
            Finetune(**{name: value})
