"""Families of heads in the transformers library: which class opens an architecture, and new heads for bare bodies."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import transformers
from transformers.models.auto import modeling_auto

from optimizer.artifact.inspected import Inspection, Kind
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import Task
from optimizer.errors import InvalidDataset, UnsupportedModel


@dataclass(frozen=True)
class Family:
    """Architectures that one automatic class of the library opens."""

    what: str
    auto: str
    names: str

    def library(self) -> Any:
        """The library's class."""
        return getattr(transformers, self.auto)

    def known(self) -> Collection[str]:
        """Model types that have an architecture of this family."""
        known: Collection[str] = getattr(modeling_auto, f"MODEL_{self.names}MAPPING_NAMES")
        return known


_SEQUENCE = Family("sequence classifier", "AutoModelForSequenceClassification", "FOR_SEQUENCE_CLASSIFICATION_")
_TOKEN = Family("token classifier", "AutoModelForTokenClassification", "FOR_TOKEN_CLASSIFICATION_")
_IMAGE = Family("image classifier", "AutoModelForImageClassification", "FOR_IMAGE_CLASSIFICATION_")
_AUDIO = Family("audio classifier", "AutoModelForAudioClassification", "FOR_AUDIO_CLASSIFICATION_")
_CAUSAL = Family("causal language model", "AutoModelForCausalLM", "FOR_CAUSAL_LM_")
_BODY = Family("body", "AutoModel", "")

# The longer end of a name comes first.
_BY_SUFFIX = {
    "ForSequenceClassification": _SEQUENCE,
    "ForTokenClassification": _TOKEN,
    "ForImageClassificationWithTeacher": _IMAGE,
    "ForImageClassification": _IMAGE,
    "ForAudioClassification": _AUDIO,
    "ForCausalLM": _CAUSAL,
    "LMHeadModel": _CAUSAL,
    "Model": _BODY,
}
_PROBLEMS: dict[Task, str] = {
    "classification": "single_label_classification",
    "binary": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


def family_of(architecture: str, kind: Kind) -> Family:
    """The family of an architecture by its name. Raises UnsupportedModel for any other."""
    for suffix, family in _BY_SUFFIX.items():
        if architecture.endswith(suffix):
            # Classifiers of sounds are called classifiers of sequences, too.
            return _AUDIO if kind == "audio" and family is _SEQUENCE else family
    raise UnsupportedModel(f"architecture {architecture[:80]!r} is none that can be opened")


def classifier_family(kind: Kind) -> Family:
    """The family of classifiers of pictures, sounds or texts."""
    return {"image": _IMAGE, "audio": _AUDIO}.get(kind, _SEQUENCE)


def with_head(config: Mapping[str, Any], inspection: Inspection, task: Task | None, rows: Rows) -> dict[str, Any]:
    """The config of a body with a head for `task`, as wide as the labels of `rows`.

    Raises UnsupportedModel when the library has no such head for this body, InvalidDataset without labels.
    """
    if rows.labels is None or task is None:
        raise InvalidDataset(f"a new head for task {task} is as wide as the labels, and the data has none")
    family = _TOKEN if task == "token_classification" else classifier_family(inspection.kind)
    names: Any = family.known()
    model_type = str(config.get("model_type", ""))
    if model_type not in names:
        raise UnsupportedModel(
            f"model type {model_type[:80]!r} has no {family.what}, so it cannot get a head for {task}"
        )
    found = names[model_type]
    architecture = found if isinstance(found, str) else found[0]
    width = _width(task, rows)
    return dict(config) | {
        "architectures": [architecture],
        "problem_type": _PROBLEMS.get(task),
        "id2label": {str(number): f"LABEL_{number}" for number in range(width)},
        "label2id": {f"LABEL_{number}": number for number in range(width)},
    }


def _width(task: Task, rows: Rows) -> int:
    assert rows.labels is not None
    if task in ("multilabel", "regression"):
        return rows.labels.shape[1] if rows.labels.ndim == 2 else 1
    return max(2, int(np.max(rows.labels)) + 1)
