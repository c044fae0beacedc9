"""A study: a recipe as a template, the values worth trying in it, and how they are searched."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from optimizer.artifact.digest import of_json
from optimizer.recipe.recipe import AnyPass, Recipe

Value = bool | int | float | str
# Accuracy is the task's metric on the selection rows; latency is measured at batch 1 against the source.
Goal = Literal["accuracy", "latency", "size"]
Sampler = Literal["grid", "tpe", "gp", "nsga2"]

# A grid that is larger than this is a typing error.
_LARGEST_GRID = 10_000


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Range(_Frozen):
    """Numbers from `low` to `high`; whole ones when all are written as whole numbers (1, and not 1.0)."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"a range goes from low to a higher high, not from {self.low} to {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range begins above 0 and has no step")
        return self


Values = Annotated[tuple[Value, ...], Field(min_length=1, max_length=100)]
Space = dict[str, Values | Range]


class Search(_Frozen):
    """How a template's values are searched, and when the search ends."""

    # grid: every combination; tpe and gp: Bayesian (Bergstra et al., 2011; Snoek et al., 2012); nsga2: genetic (Deb et
    # al., 2002).
    sampler: Sampler = "tpe"
    # What is made better, all at once; the finalists are the front.
    goals: tuple[Goal, ...] = Field(default=("accuracy", "latency"), min_length=1, max_length=3)
    # "2.ratio" (step 2) or "prune_structured.ratio" to the values; left out: the domains that the passes declare.
    space: Space | None = None
    trials: int = Field(default=20, ge=1, le=_LARGEST_GRID)
    # 0: only the number of trials ends the search.
    budget_seconds: float = Field(default=0.0, ge=0)
    # Combinations of the front that become variants and are judged on the evaluation rows.
    finalists: int = Field(default=3, ge=1, le=20)
    # First each value by itself, so that what loses on every goal is left out of the search.
    narrow: bool = True


class Study(_Frozen):
    """A template and its search; `name` becomes part of the names of its variants."""

    name: str
    steps: tuple[AnyPass, ...] = Field(min_length=1)
    search: Search

    @model_validator(mode="after")
    def _space_fits(self) -> Self:
        space = self.space
        if not space:
            raise ValueError(
                "there is nothing to search: none of the steps declares values worth trying; name some under "
                "`search.space`"
            )
        for name, domain in space.items():
            for value in ends_of(domain):
                self.recipe({name: value})
        if self.search.sampler == "grid":
            loose = [name for name, domain in space.items() if isinstance(domain, Range) and domain.step is None]
            if loose:
                raise ValueError(f"a grid needs values, or a range with a step, for {', '.join(loose)}")
            if (points := _points(space)) > _LARGEST_GRID:
                raise ValueError(f"the grid has {points} points; at most {_LARGEST_GRID} are allowed")
        if len(set(self.search.goals)) != len(self.search.goals):
            raise ValueError("search.goals names a goal twice")
        return self

    @property
    def space(self) -> Space:
        """What is searched: the space that was given, or the domains that the steps declare."""
        if self.search.space is not None:
            return {self._address(name): domain for name, domain in self.search.space.items()}
        return {
            f"{position}.{field}": values
            for position, step in enumerate(self.steps, 1)
            for field, values in step.domain.items()
        }

    def begun(self, first: tuple[AnyPass, ...]) -> "Study":
        """The study with these steps before its own, unless it begins with them already."""
        if not first or self.steps[: len(first)] == first:
            return self
        space: Space = {}
        for name, domain in self.space.items():
            position, _, field = name.partition(".")
            space[f"{int(position) + len(first)}.{field}"] = domain
        return Study(
            name=self.name, steps=(*first, *self.steps), search=self.search.model_copy(update={"space": space})
        )

    @property
    def template(self) -> Recipe:
        """The recipe with the values that it was written with."""
        return Recipe(name=self.name, steps=self.steps)

    @property
    def digest(self) -> str:
        """Digest of steps and search; the name does not count."""
        return of_json(self.model_dump(mode="json", exclude={"name"}))

    def recipe(self, values: Mapping[str, Value], name: str | None = None) -> Recipe:
        """The template with these values ("2.ratio" to 0.5) put in. Raises ValueError for what a step does not take."""
        steps: list[AnyPass] = list(self.steps)
        for address, value in values.items():
            position, _, field = self._address(address).partition(".")
            step = steps[int(position) - 1]
            if field not in type(step).model_fields or field == "use":
                raise ValueError(f"{address}: `{step.use}` has no value {field!r}")
            changed: Any = step.model_dump() | {field: value}
            try:
                steps[int(position) - 1] = type(step).model_validate(changed)
            except ValidationError as error:
                raise ValueError(f"{address}: {value!r} is not possible: {error.errors()[0]['msg']}") from error
        return Recipe(name=name or self.name, steps=tuple(steps))

    def _address(self, name: str) -> str:
        """The name with the step's number: "prune_structured.ratio" names the only step of that pass."""
        where, dot, field = name.partition(".")
        if not dot:
            raise ValueError(f"{name!r} names no step; write <step>.<value>, such as 1.{name}")
        if where.isdecimal():
            if not 1 <= int(where) <= len(self.steps):
                raise ValueError(f"{name!r}: there are steps 1 to {len(self.steps)}")
            return f"{int(where)}.{field}"
        found = [position for position, step in enumerate(self.steps, 1) if step.use == where]
        if len(found) != 1:
            known = ", ".join(f"{position} ({step.use})" for position, step in enumerate(self.steps, 1))
            raise ValueError(f"{name!r} names {len(found)} steps; the steps are {known}")
        return f"{found[0]}.{field}"


def ends_of(domain: Values | Range) -> tuple[Value, ...]:
    """Values that a domain is checked by: all of a list, both ends of a range."""
    return (number(domain, domain.low), number(domain, domain.high)) if isinstance(domain, Range) else domain


def number(domain: Range, value: float) -> int | float:
    """A number of the range, whole where the range is."""
    return round(value) if is_whole(domain) else float(value)


def is_whole(domain: Range) -> bool:
    """Whether the range holds whole numbers only."""
    return all(isinstance(bound, int) for bound in (domain.low, domain.high, domain.step or 1))


def grid_of(domain: Values | Range) -> tuple[Value, ...]:
    """All values of a list, or of a range with a step."""
    if not isinstance(domain, Range):
        return domain
    assert domain.step is not None
    count = int((domain.high - domain.low) / domain.step + 1e-9) + 1
    return tuple(number(domain, domain.low + index * domain.step) for index in range(count))


def _points(space: Space) -> int:
    points = 1
    for domain in space.values():
        points *= len(grid_of(domain))
    return points
