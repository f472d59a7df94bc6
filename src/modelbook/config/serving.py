"""The section `serving`: where a served model listens, and what it takes from whom."""

from typing import Annotated

from pydantic import Field

from modelbook.config.sections import Section

_HASH = r"^sha256:[0-9a-f]{64}$"


class PredictionLogConfig(Section):
    """What is kept of rows and their predictions, to watch the model by.

    Attributes:
        folder: Where to, relative to the project; None keeps nothing.
        rows_per_file: The rows after which a file is closed and another begun.
        seconds_per_file: The time after which it is, however few there are.
        max_mb: What all files may take; the oldest are removed beyond that.
        max_waiting_rows: The rows that may wait for the disk; what comes beyond them is dropped and counted.
    """

    folder: str | None = None
    rows_per_file: Annotated[int, Field(ge=1)] = 100_000
    seconds_per_file: Annotated[float, Field(gt=0)] = 300.0
    max_mb: Annotated[float, Field(gt=0)] = 1000.0
    max_waiting_rows: Annotated[int, Field(ge=1)] = 100_000


class ServingConfig(Section):
    """How a model is served.

    Attributes:
        host: The address to listen at.
        port: Its port.
        workers: Processes that answer.
        poll_s: How often each of them asks the registry which version it names.
        model_processes: Processes of each worker in which a model's own code answers, where it is not
            compiled; one that takes longer than `timeout_s` is ended and replaced.
        max_in_flight: The requests that each of them works on at once; it refuses those beyond with 503. Four
            times as many may be sending their bodies.
        timeout_s: The time after which a request is answered with 504.
        read_timeout_s: The time that a client may take to send the head of a request, and again for its body.
        max_body_mb: The size of a body, also when decompressed, in MB (10⁶ bytes).
        allowed_hosts: The names that clients may ask for in the header Host. Where there are none: those of
            this machine while it listens to this machine alone, any name otherwise.
        api_keys: The hash of each API key by the name of whoever has it; without any nobody needs one.
        accept_parquet: Whether rows may come as Parquet.
        access_log: Whether each request is logged.
        prediction_log: What is kept of rows and predictions.
    """

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 5001
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    model_processes: Annotated[int, Field(ge=1, le=256)] = 1
    poll_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    max_in_flight: Annotated[int, Field(ge=1)] = 32
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    read_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    max_body_mb: Annotated[float, Field(gt=0, le=1000)] = 10.0
    allowed_hosts: tuple[str, ...] = Field(default=(), strict=False)
    api_keys: dict[str, Annotated[str, Field(pattern=_HASH)]] = Field(default_factory=dict)
    accept_parquet: bool = False
    access_log: bool = True
    prediction_log: PredictionLogConfig = PredictionLogConfig()

    @property
    def max_body_bytes(self) -> int:
        """The size of a body in bytes."""
        return int(self.max_body_mb * 1_000_000)
