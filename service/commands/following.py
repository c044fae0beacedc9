"""Follows a job to its end on stderr, for `optimize --wait` and `jobs --watch`."""

from typing import TYPE_CHECKING

import typer

from service.commands.failure import FAILED
from service.commands.options import command_line

if TYPE_CHECKING:
    from service.client.client import Client
    from service.client.resources import Job, JobEvent


def follow(client: "Client", job_id: str, shown: "list[JobEvent] | None" = None) -> "Job":
    """Shows the job's events until it has ended, and returns it; adds the events to `shown`, if given.

    Ctrl-C stops the watching and not the job: it says so and exits with 1.
    """
    from service.commands import progress

    try:
        with progress.job() as view:
            for event in client.watch(job_id):
                view.show(event)
                if shown is not None:
                    shown.append(event)
    except KeyboardInterrupt as interrupt:
        watch = command_line(f"jobs --watch {job_id}", client.server)
        cancel = command_line(f"jobs --cancel {job_id}", client.server)
        typer.echo(f"no longer watching; job {job_id} goes on. Watch it: {watch}   Stop it: {cancel}", err=True)
        raise typer.Exit(FAILED) from interrupt
    return client.job(job_id)


def end(job: "Job") -> None:
    """Says how a job failed, where it did, and exits with 1 unless it has succeeded."""
    from service.client.resources import JobState

    if job.state is JobState.SUCCEEDED:
        return
    typer.echo(f"error: job {job.job_id} {job.state.value}" + (f": {job.error}" if job.error else ""), err=True)
    raise typer.Exit(FAILED)
