"""Whether a pushed checkpoint still answers to its model's signature: one name, one signature, for ever."""

from collections.abc import Mapping
from typing import Any


def misfit(signature: Mapping[str, Any] | None, inspection: Mapping[str, Any]) -> str | None:
    """What speaks against the checkpoint being a revision of the model, as a sentence; None when nothing does.

    `signature` is the JSON of a Signature (None: no variant was published yet, anything fits), `inspection` that of an
    Inspection. What inspection cannot know is not held against the checkpoint: the export finds it out.
    """
    if signature is None:
        return None
    agreed = {spec["name"]: spec["datatype"] for spec in signature["inputs"]}
    found = inspection["inputs"]
    missing = sorted(agreed.keys() - found.keys())
    if missing:
        return f"the model's input {missing[0]!r} is not an input of this checkpoint, which takes {_listed(found)}"
    surplus = sorted(name for name in found.keys() - agreed.keys() if found[name].get("required", True))
    if surplus:
        return f"this checkpoint also needs an input {surplus[0]!r}, but the model's inputs are {_listed(agreed)}"
    for name, datatype in agreed.items():
        if found[name]["datatype"] != datatype:
            return f"input {name!r} is {found[name]['datatype']} here, but {datatype} in the model"
    scores = signature["outputs"][0]["shape"][-1:]
    classes = inspection.get("classes")
    if scores and isinstance(scores[0], int) and classes is not None and scores[0] != classes:
        return f"this checkpoint has {classes} classes, but the model has {scores[0]}"
    return None


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))
