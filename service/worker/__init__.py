"""The worker: takes optimization jobs and runs each trial in its own sandboxed child."""
