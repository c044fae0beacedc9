"""`python -m service.worker '<WorkerSettings as JSON>'`: runs a worker until SIGTERM or SIGINT."""

import logging
import sys

from service.settings import WorkerSettings
from service.worker.loop import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run(WorkerSettings.model_validate_json(sys.argv[1] if len(sys.argv) > 1 else "{}"))
