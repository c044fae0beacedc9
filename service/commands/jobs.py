"""`stillroom jobs`: lists, follows and stops optimization jobs."""

from typing import Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, Server, connect


def jobs(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only jobs of this model.")] = "",
    watch: Annotated[str, typer.Option(metavar="ID", help="Follow this job to its end.")] = "",
    cancel: Annotated[str, typer.Option(metavar="ID", help="Stop this job; its finished variants stay.")] = "",
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """List optimization jobs, newest first; or follow or stop one."""
    from service.commands import following, json_form, tables
    from service.errors import InvalidArgument

    if sum(map(bool, (name, watch, cancel))) > 1:
        raise InvalidArgument("give a model's name, --watch ID or --cancel ID, and only one of them")
    with connect(server) as client:
        if watch:
            if as_json:
                for event in client.watch(watch):
                    json_form.write(json_form.event(event))
                job = client.job(watch)
            else:
                job = following.follow(client, watch)
                tables.show_trials(job)
            following.end(job)
        elif cancel:
            job = client.cancel(cancel)
            if as_json:
                json_form.write(json_form.job(job))
            else:
                word = job.state.value if job.state.ended else "is being stopped"
                typer.echo(f"job {job.job_id} {word}")
        else:
            found = client.jobs(name)
            if as_json:
                json_form.write([json_form.job(job) for job in found])
            else:
                tables.show_jobs(found)
