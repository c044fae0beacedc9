"""How much each structure loses: the same share everywhere, or by what cutting it costs on the selection rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.artifact.manifest import Table
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.damage import Damage
from optimizer.passes.structure import Judge, Structure

# Shares of a structure's units that are hidden to see what they cost; between them the cost is taken as a line.
TRIED = (0.25, 0.5, 0.75, 0.9)
# What one step of the allocation adds to a structure's ratio.
_STEP = 0.05
_ROWS = 64
# Units are measured one by one up to this many, and beyond in so many blocks of like magnitude.
_BLOCKS = 32


@dataclass(frozen=True)
class Cost:
    """What a structure is: weights that go with all of it, and the damage of cutting each share in `TRIED`."""

    weights: float
    damages: tuple[float, ...]

    def at(self, ratio: float) -> float:
        """Damage at any ratio, by straight lines through what was measured."""
        return float(np.interp(ratio, (0.0, *TRIED), (0.0, *self.damages)))


def allocate(costs: Mapping[str, Cost], ratio: float) -> dict[str, float]:
    """A ratio for each structure, so that as many weights go as at `ratio` everywhere, at little damage.

    Greedy: again and again the structure gives a little more whose next share costs least for each weight saved.
    """
    ratios = dict.fromkeys(costs, 0.0)
    wanted = ratio * sum(cost.weights for cost in costs.values())
    saved = 0.0
    while saved < wanted:
        open_ones = [name for name, value in ratios.items() if value + _STEP <= TRIED[-1] + 1e-9]
        if not open_ones:
            break
        cheapest = min(open_ones, key=lambda name: _price(costs[name], ratios[name]))
        ratios[cheapest] = round(ratios[cheapest] + _STEP, 4)
        saved += _STEP * costs[cheapest].weights
    return ratios


def _price(cost: Cost, ratio: float) -> float:
    return (cost.at(ratio + _STEP) - cost.at(ratio)) / max(cost.weights, 1e-12)


def measure(structures: Sequence[Structure], model: TorchModel, context: Context, judge: Judge) -> dict[str, Cost]:
    """What hiding the least important units of each structure costs, at a few shares."""
    damage = Damage(model, context, _ROWS)
    costs = {}
    for number, structure in enumerate(structures, 1):
        order = structure.scores(judge).argsort(stable=True).tolist()
        damages = []
        for share in TRIED:
            with structure.hidden(order[: round(share * structure.units)]):
                damages.append(damage.of(model))
        costs[structure.name] = Cost(structure.weights * structure.units, tuple(damages))
        context.report(0.2 + 0.5 * number / len(structures), message="measuring what each layer is worth")
    return costs


def measured_order(structure: Structure, damage: Damage, model: TorchModel) -> list[int]:
    """The units, least important first, by how far the answers move without each of them."""
    order = structure.scores("magnitude").argsort(stable=True).numpy()
    blocks = np.array_split(order, min(len(order), _BLOCKS))
    worth = []
    for block in blocks:
        with structure.hidden(block.tolist()):
            worth.append(damage.of(model))
    return [int(unit) for block in np.argsort(worth, kind="stable") for unit in blocks[block]]


def damage_of(model: TorchModel, context: Context) -> Damage:
    """What `measured_order` measures with."""
    return Damage(model, context, _ROWS)


def table_of(structures: Sequence[Structure], costs: Mapping[str, Cost], ratios: Mapping[str, float]) -> Table:
    """One row a structure: what half of it costs first, as that is what a reader compares."""
    half = TRIED.index(0.5)
    return Table(
        kind="sensitivity",
        title="What cutting each layer costs on the selection rows",
        columns=(
            "layer", "divergence without half", "kind", "units", "ratio chosen",
            *(f"divergence at {share:g}" for share in TRIED if share != 0.5),
        ),
        rows=tuple(
            (
                one.name, costs[one.name].damages[half], one.kind, one.units, ratios[one.name],
                *(value for share, value in zip(TRIED, costs[one.name].damages, strict=True) if share != 0.5),
            )
            for one in structures
        ),
    )  # fmt: skip
