"""What exists: models, checkpoints, data sets, jobs, variants, traffic. SQL behind one repository class."""
