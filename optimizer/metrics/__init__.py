"""Pure decisions on figures: quality of answers, intervals, the Pareto front and the gate."""
