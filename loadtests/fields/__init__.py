"""Real models on real data in the fields of the users, all from what installable packages ship."""
