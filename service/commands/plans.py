"""A plan as people read it: what would be tried, for about how long, and what the evaluation rows can tell at all."""

from service.client.resources import Plan
from service.commands import words
from service.commands.tables import console, new_table


def show_plan(plan: Plan) -> None:
    """Prints a plan."""
    table = new_table("", "recipe")
    table.add_column("about", justify="right", no_wrap=True)
    table.add_column("passes", overflow="fold")
    table.add_column("why", overflow="fold")
    for number, trial in enumerate(plan.trials, 1):
        passes = ", ".join(trial.steps) or "none"
        table.add_row(str(number), trial.recipe, words.duration(trial.seconds), passes, trial.why or "asked for")
    out = console()
    out.print(table)
    total = words.duration(sum(trial.seconds for trial in plan.trials))
    further = "; then it goes on where the results point" if plan.goes_on else ""
    out.print(f"about {total} in all, estimated roughly{further}. Nothing was started.")
    for line in resolution(plan):
        out.print(line)


def resolution(plan: Plan) -> list[str]:
    """What the rows can tell, in sentences."""
    rows = f"about {plan.evaluation_rows:,} evaluation rows"
    if plan.resolvable is None:
        return [f"{rows}; what they can tell of {plan.metric} shows once the source is measured."]
    found = [
        f"{rows} resolve about {100 * plan.resolvable:.2g} points of {plan.metric}, where a variant and the source "
        "disagree on three rows in a hundred."
    ]
    if plan.resolvable > plan.margin and plan.rows_needed is not None:
        found.append(
            f"Your margin is {100 * plan.margin:g} points, which asks for about {plan.rows_needed:,}: with fewer, most "
            "verdicts will be inconclusive."
        )
    return found
