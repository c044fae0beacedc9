"""What a model is for: the task decides which labels data holds, how answers are scored and what training minimises."""

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from optimizer.artifact.inspected import Inspection

Task = Literal[
    "classification",
    "binary",
    "multilabel",
    "regression",
    "token_classification",
    "embedding",
    "causal_lm",
    "agreement",
]
TASKS: tuple[Task, ...] = get_args(Task)

# A label that does not count: padding in a sequence of labels.
IGNORED = -100

# Metric by task. On "agreement" and "embedding" the source's own answers stand for labels.
METRIC: dict[Task, str] = {
    "classification": "accuracy",
    "binary": "auc",
    "multilabel": "micro_f1",
    "regression": "rmse",
    "token_classification": "token_accuracy",
    "embedding": "cosine",
    "causal_lm": "perplexity",
    "agreement": "agreement",
}
# Metrics of which less is better; they have no upper end, so a margin on them is a share of the source's value.
LOWER_IS_BETTER = frozenset({"rmse", "perplexity"})
# Tasks that need no labels: the source's answers, or the inputs themselves, stand for them.
UNLABELLED: frozenset[Task] = frozenset({"agreement", "embedding", "causal_lm"})


def needs_new_head(inspection: "Inspection", task: str | None) -> bool:
    """Whether the checkpoint is a body without a head, and the task has labels to train one on."""
    return inspection.head == "embedding" and task is not None and task not in ("", *UNLABELLED)
