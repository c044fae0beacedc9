"""`stillroom serve | engine | control | worker`: options become settings, and a role runs until it is told to stop.

Priority: command line, then environment (STILLROOM_*), then default.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

Transport = Literal["auto", "native", "grpcio"]
Sandbox = Literal["best", "require"]
_Settings = TypeVar("_Settings")

_ENGINE = "Engine"
_CONTROL = "Control"
_WORKER = "Worker"

Home = Annotated[Path, typer.Option(envvar="STILLROOM_HOME", help="Directory that holds all state.")]
Host = Annotated[str, typer.Option(envvar="STILLROOM_HOST", help="Address to listen on.")]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="STILLROOM_INSECURE",
        help="Allow an address that is not loopback, where anybody who can reach it may ask for anything.",
    ),
]
GrpcPort = Annotated[int, typer.Option(envvar="STILLROOM_GRPC_PORT", min=0, max=65535, help="gRPC port (0: any).")]
HttpPort = Annotated[int, typer.Option(envvar="STILLROOM_HTTP_PORT", min=0, max=65535, help="HTTP port (0: any).")]
MetricsPort = Annotated[
    int, typer.Option(envvar="STILLROOM_METRICS_PORT", min=0, max=65535, help="Port of metrics and health (0: any).")
]
TransportOption = Annotated[
    Transport,
    typer.Option(
        envvar="STILLROOM_TRANSPORT",
        rich_help_panel=_ENGINE,
        help="gRPC front of the engine. auto: the native one where it can be had.",
    ),
]
MaxMessage = Annotated[
    int,
    typer.Option(envvar="STILLROOM_MAX_MESSAGE_BYTES", rich_help_panel=_ENGINE, min=1024, help="Largest request."),
]
QueueCapacity = Annotated[
    int,
    typer.Option(
        envvar="STILLROOM_QUEUE_CAPACITY",
        rich_help_panel=_ENGINE,
        min=1,
        help="Requests waiting for one variant before new ones are refused.",
    ),
]
MaxBatch = Annotated[
    int,
    typer.Option(envvar="STILLROOM_MAX_BATCH", rich_help_panel=_ENGINE, min=1, help="Most rows that run together."),
]
QueueDelay = Annotated[
    int,
    typer.Option(
        envvar="STILLROOM_QUEUE_DELAY_US",
        rich_help_panel=_ENGINE,
        min=0,
        help="Microseconds that the first request of a batch may wait for company; 0 still takes what is there.",
    ),
]
IntraOpThreads = Annotated[
    int | None,
    typer.Option(
        envvar="STILLROOM_INTRA_OP_THREADS",
        rich_help_panel=_ENGINE,
        min=1,
        help="Threads of one inference; default: the cores of this process.",
    ),
]
DrainSeconds = Annotated[
    float,
    typer.Option(
        envvar="STILLROOM_DRAIN_SECONDS",
        rich_help_panel=_ENGINE,
        min=0,
        help="Seconds that running requests get when the engine stops.",
    ),
]
MaxUploadBytes = Annotated[
    int,
    typer.Option(
        envvar="STILLROOM_MAX_UPLOAD_BYTES", rich_help_panel=_CONTROL, min=1, help="Largest file that is taken."
    ),
]
SandboxOption = Annotated[
    Sandbox,
    typer.Option(
        envvar="STILLROOM_SANDBOX",
        rich_help_panel=_WORKER,
        help="best: every layer of isolation that the host offers. require: run no trial without all of them.",
    ),
]
MemoryLimitBytes = Annotated[
    int | None,
    typer.Option(
        envvar="STILLROOM_MEMORY_LIMIT_BYTES",
        rich_help_panel=_WORKER,
        min=2**28,
        help="Memory after which a trial is ended; default: three quarters of the host's.",
    ),
]
TrialTimeout = Annotated[
    float,
    typer.Option(
        envvar="STILLROOM_TRIAL_TIMEOUT_SECONDS", rich_help_panel=_WORKER, min=1, help="Longest that a trial may take."
    ),
]

HOME = Path("stillroom-home")
HOST = "127.0.0.1"


def _checked(settings: Callable[..., _Settings], **values: object) -> _Settings:
    """The settings. Raises InvalidArgument in the words of the command line."""
    from pydantic import ValidationError

    from service.errors import InvalidArgument

    try:
        return settings(**values)
    except ValidationError as error:
        problems = [
            " ".join(
                [
                    *(f"--{str(part).replace('_', '-')}:" for part in problem["loc"]),
                    problem["msg"].removeprefix("Value error, "),
                ]
            )
            for problem in error.errors(include_url=False)
        ]
        raise InvalidArgument("; ".join(problems)) from error


def serve(
    home: Home = HOME,
    host: Host = HOST,
    grpc_port: GrpcPort = 8001,
    http_port: HttpPort = 8000,
    metrics_port: MetricsPort = 8002,
    insecure: Insecure = False,
    no_worker: Annotated[
        bool,
        typer.Option(
            "--no-worker", envvar="STILLROOM_NO_WORKER", help="Serve only; jobs wait for a worker started elsewhere."
        ),
    ] = False,
    transport: TransportOption = "auto",
    max_message_bytes: MaxMessage = 2**31 - 1,
    queue_capacity: QueueCapacity = 1024,
    max_batch: MaxBatch = 32,
    queue_delay_us: QueueDelay = 0,
    intra_op_threads: IntraOpThreads = None,
    drain_seconds: DrainSeconds = 30.0,
    max_upload_bytes: MaxUploadBytes = 16 * 2**30,
    sandbox: SandboxOption = "best",
    memory_limit_bytes: MemoryLimitBytes = None,
    trial_timeout_seconds: TrialTimeout = 4 * 3600.0,
) -> None:
    """Run everything on this machine: engine, control and worker, under one supervisor, until Ctrl-C or SIGTERM."""
    from service import supervisor
    from service.settings import ControlSettings, EngineSettings, WorkerSettings

    supervisor.run(
        _checked(
            EngineSettings,
            home=home,
            host=host,
            insecure=insecure,
            grpc_port=grpc_port,
            transport=transport,
            max_message_bytes=max_message_bytes,
            queue_capacity=queue_capacity,
            max_batch=max_batch,
            queue_delay_us=queue_delay_us,
            intra_op_threads=intra_op_threads,
            drain_seconds=drain_seconds,
        ),
        _checked(
            ControlSettings,
            home=home,
            host=host,
            insecure=insecure,
            http_port=http_port,
            metrics_port=metrics_port,
            max_upload_bytes=max_upload_bytes,
        ),
        None
        if no_worker
        else _checked(
            WorkerSettings,
            home=home,
            sandbox=sandbox,
            memory_limit_bytes=memory_limit_bytes,
            trial_timeout_seconds=trial_timeout_seconds,
        ),
    )


def engine(
    home: Home = HOME,
    host: Host = HOST,
    grpc_port: GrpcPort = 8001,
    insecure: Insecure = False,
    index: Annotated[
        int,
        typer.Option(
            envvar="STILLROOM_ENGINE_INDEX", rich_help_panel=_ENGINE, min=0, help="Number of this engine on its host."
        ),
    ] = 0,
    transport: TransportOption = "auto",
    max_message_bytes: MaxMessage = 2**31 - 1,
    queue_capacity: QueueCapacity = 1024,
    max_batch: MaxBatch = 32,
    queue_delay_us: QueueDelay = 0,
    intra_op_threads: IntraOpThreads = None,
    drain_seconds: DrainSeconds = 30.0,
) -> None:
    """Run the engine alone: it answers inference and holds the variants that control tells it to."""
    from service import engine as role
    from service.settings import EngineSettings

    role.run(
        _checked(
            EngineSettings,
            home=home,
            host=host,
            insecure=insecure,
            grpc_port=grpc_port,
            index=index,
            transport=transport,
            max_message_bytes=max_message_bytes,
            queue_capacity=queue_capacity,
            max_batch=max_batch,
            queue_delay_us=queue_delay_us,
            intra_op_threads=intra_op_threads,
            drain_seconds=drain_seconds,
        )
    )


def control(
    home: Home = HOME,
    host: Host = HOST,
    http_port: HttpPort = 8000,
    metrics_port: MetricsPort = 8002,
    insecure: Insecure = False,
    engines: Annotated[
        int,
        typer.Option(envvar="STILLROOM_ENGINES", rich_help_panel=_CONTROL, min=1, help="Engines on this host."),
    ] = 1,
    max_upload_bytes: MaxUploadBytes = 16 * 2**30,
) -> None:
    """Run control alone: uploads, jobs, traffic, HTTP and metrics."""
    from service import control as role
    from service.settings import ControlSettings

    role.run(
        _checked(
            ControlSettings,
            home=home,
            host=host,
            insecure=insecure,
            http_port=http_port,
            metrics_port=metrics_port,
            engines=engines,
            max_upload_bytes=max_upload_bytes,
        )
    )


def worker(
    home: Home = HOME,
    sandbox: SandboxOption = "best",
    memory_limit_bytes: MemoryLimitBytes = None,
    trial_timeout_seconds: TrialTimeout = 4 * 3600.0,
) -> None:
    """Run a worker alone: it takes optimization jobs from the home's registry, each trial in its own sandbox."""
    from service.settings import WorkerSettings
    from service.worker import loop as role

    role.run(
        _checked(
            WorkerSettings,
            home=home,
            sandbox=sandbox,
            memory_limit_bytes=memory_limit_bytes,
            trial_timeout_seconds=trial_timeout_seconds,
        )
    )
