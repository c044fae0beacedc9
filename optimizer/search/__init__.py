"""Searches over recipes: the samplers of Optuna on the domains that passes declare."""
