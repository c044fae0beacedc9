"""The one table of passes: which function runs which config, and on which stage.

A pass's module is imported when it is first run: a recipe whose torch steps are all cached never imports torch.
"""

from typing import assert_never

from optimizer.errors import InvalidRecipe
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.passes.context import Context
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.finetune import Finetune
from optimizer.recipe.fp16 import Fp16
from optimizer.recipe.fuse import Fuse
from optimizer.recipe.low_rank import LowRank
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.prune_layers import PruneLayers, ShareLayers
from optimizer.recipe.prune_magnitude import PruneMagnitude, PruneNM
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic
from optimizer.recipe.quantize_aware import QuantizeAware
from optimizer.recipe.quantize_weights import QuantizeWeights
from optimizer.recipe.recipe import AnyPass
from optimizer.recipe.share_weights import ShareWeights
from optimizer.recipe.smooth import Smooth
from optimizer.recipe.student import Student

Model = TorchModel | OnnxModel


def run(config: AnyPass, model: Model, context: Context) -> Model:
    """Runs one pass. Raises InvalidRecipe for a model of the wrong stage, which `check_order` rules out beforehand."""
    match config:
        case PruneStructured():
            from optimizer.passes import prune

            return prune.run(config, _torch(model, config), context)
        case PruneMagnitude():
            from optimizer.passes import prune_magnitude

            return prune_magnitude.run(config, _torch(model, config), context)
        case PruneNM():
            from optimizer.passes import prune_magnitude

            return prune_magnitude.run_n_m(config, _torch(model, config), context)
        case PruneLayers():
            from optimizer.passes import prune_layers

            return prune_layers.run(config, _torch(model, config), context)
        case ShareLayers():
            from optimizer.passes import share_layers

            return share_layers.run(config, _torch(model, config), context)
        case LowRank():
            from optimizer.passes import low_rank

            return low_rank.run(config, _torch(model, config), context)
        case ShareWeights():
            from optimizer.passes import share_weights

            return share_weights.run(config, _torch(model, config), context)
        case Student():
            from optimizer.passes import student

            return student.run(config, model, context)
        case Distill():
            from optimizer.passes import distill

            return distill.run(config, _torch(model, config), context)
        case QuantizeAware():
            from optimizer.passes import quantize_aware

            return quantize_aware.run(config, _torch(model, config), context)
        case Finetune():
            from optimizer.passes import finetune

            return finetune.run(config, _torch(model, config), context)
        case Export():
            from optimizer.passes import export

            return export.run(config, _torch(model, config), context)
        case Fuse():
            from optimizer.passes import fuse

            return fuse.run(config, _onnx(model, config), context)
        case Fp16():
            from optimizer.passes import fp16

            return fp16.run(config, _onnx(model, config), context)
        case Smooth():
            from optimizer.passes import smooth

            return smooth.run(config, _onnx(model, config), context)
        case QuantizeDynamic():
            from optimizer.passes import quantize_dynamic

            return quantize_dynamic.run(config, _onnx(model, config), context)
        case QuantizeStatic():
            from optimizer.passes import quantize_static

            return quantize_static.run(config, _onnx(model, config), context)
        case QuantizeWeights():
            from optimizer.passes import quantize_weights

            return quantize_weights.run(config, _onnx(model, config), context)
        case _:
            assert_never(config)


def _torch(model: Model, config: AnyPass) -> TorchModel:
    if not isinstance(model, TorchModel):
        raise InvalidRecipe(f"`{config.use}` needs a torch model; it must come before `export`")
    return model


def _onnx(model: Model, config: AnyPass) -> OnnxModel:
    if not isinstance(model, OnnxModel):
        raise InvalidRecipe(f"`{config.use}` needs an ONNX model; an `export` step must come first")
    return model
