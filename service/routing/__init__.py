"""Which variant answers: the split, the plan of a model's routes, and the table that is swapped whole."""
