"""What passes may do to a network's structure, as values: enough to do it again to a freshly opened checkpoint.

Sizes are no edits: which channels or heads were cut shows in the shapes that are left
(`optimizer.intake.architecture`). Nor are zeros: sparse weights are weights. This file does not import torch.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from optimizer.artifact.inspected import Kind


class _Edit(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeepLayers(_Edit):
    """Of the list of modules (or the sequence) at path `module`, only the layers at these places stay, in
    ascending order."""

    edit: Literal["keep_layers"] = "keep_layers"
    module: str
    layers: tuple[int, ...] = Field(min_length=1)


class Factorise(_Edit):
    """The layer at each path becomes two of its kind in a row, with this many values between them.

    The layers are linear (also transformers' `Conv1D`), or convolutions of kernel 1x1.
    """

    edit: Literal["factorise"] = "factorise"
    ranks: dict[str, int]


class Share(_Edit):
    """The modules at all these paths become the one at the first path."""

    edit: Literal["share"] = "share"
    modules: tuple[str, ...] = Field(min_length=2)


class NewHead(_Edit):
    """The layer at path `module` is replaced by a fresh one of its kind with this many outputs."""

    edit: Literal["new_head"] = "new_head"
    module: str
    outputs: int = Field(ge=1)


class AnotherConfig(_Edit):
    """The network becomes that of another config.json of the transformers library; nothing before this edit counts."""

    edit: Literal["another_config"] = "another_config"
    config: dict[str, Any]
    kind: Kind


Edit = Annotated[KeepLayers | Factorise | Share | NewHead | AnotherConfig, Field(discriminator="edit")]
