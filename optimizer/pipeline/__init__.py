"""Folds a recipe over a checkpoint, one kept step a pass, and leaves a measured variant."""
