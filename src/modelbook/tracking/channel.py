"""Where a run's events go: to the tracking store, and to the outbox once that does not answer."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from modelbook.config import Config, mask_password
from modelbook.errors import StoreAwayError, TrackingStoreError, UsageError
from modelbook.logs import PipelineLogger
from modelbook.tracking.abandoned import close_abandoned
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import Event, RunStarted
from modelbook.tracking.outbox import Outbox, ended, outbox_of
from modelbook.tracking.writer import StoreWriter, open_writer

NO_FILES: Mapping[str, Path] = MappingProxyType({})


class Channel:
    """Takes the events of one run after the other; a store that failed once is not tried again.

    Args:
        config: The project.
        log: Gets a word when the store goes away.
        is_offline: Whether to write to the outbox without trying the store first.

    Attributes:
        writer: The open store; None where everything goes to the outbox.
        started: How the open run began; None where no run is open.

    Raises:
        TrackingStoreError: The store is of a kind that MLflow refuses, or a file that cannot be used.
    """

    def __init__(self, config: Config, log: PipelineLogger, *, is_offline: bool) -> None:
        self.writer: StoreWriter | None = None
        self.started: RunStarted | None = None
        self._config = config
        self._log = log
        self._outbox: Outbox | None = None
        self._is_told = False  # whether the store holds what the outbox is not going to
        self._is_own_file = sqlite_path(config.tracking_uri) is not None
        if not is_offline:
            self._open()

    def begin(self, started: RunStarted) -> str:
        """Open a run and return the id that the store gave it, or its uid.

        Raises:
            TrackingStoreError: The store refuses the run, or is a file that cannot be used.
        """
        self.started = started
        try:
            run_id = self.send(started)
        except BaseException:
            self.leave()
            raise
        return self._named(run_id) if run_id else (started.run_id or started.uid)

    def resume(self, started: RunStarted, *, is_new: bool = False) -> tuple[str, str | None]:
        """Go on with a run, after beginning it where neither the outbox nor the store has it.

        What waits of it in the outbox is added to there, without another try at the store.

        Args:
            started: How the run began.
            is_new: Whether it is no surprise that the store does not know it.

        Returns:
            Its id, and the status that it had: None where it was unknown, or the store does not say.

        Raises:
            TrackingStoreError: The store refuses to say.
        """
        self.started = started
        if (waiting := self._waiting(started.uid)) is not None:
            end = ended(waiting)
            return started.run_id or started.uid, end.status if end else None
        if (known := self._known(started)) is not None:
            return known
        if self.writer is not None and not is_new:
            self._log.warning(
                f"the tracking store does not know run {started.run_id or started.uid}: "
                "entering it from its own outputs"
            )
        return self.begin(started), None

    def send(
        self, event: Event, files: Mapping[str, Path] = NO_FILES, *, is_shared: bool = False
    ) -> str | None:
        """Have the store take an event of the open run, or the outbox where the store is away.

        Args:
            event: What happened.
            files: The files that belong to it, by the hash of their bytes.
            is_shared: Whether those are only ever replaced, never written over in place.

        Returns:
            What the store said, as `StoreWriter.apply` returns it; None where the outbox took the event.

        Raises:
            TrackingStoreError: The store refuses the event.
            StorageError: The outbox cannot be written or the disk is full.
        """
        if self.writer is not None:
            try:
                answer = self.writer.apply(event, files)
            except StoreAwayError as error:
                if isinstance(event, RunStarted) and self._is_own_file:
                    raise
                self._go_offline(error)
            else:
                self._is_told = self._is_told or not isinstance(event, RunStarted)
                return answer
        outbox = self._outbox or self._open_outbox()
        if not isinstance(event, RunStarted):
            outbox.append(event, files, is_shared=is_shared)
        return None

    def leave(self) -> None:
        """Write nothing more to the open run, and leave it as it is."""
        self.started, self._is_told = None, False
        if self.writer is not None:
            self.writer.run_id = ""
        if self._outbox is not None:
            self._outbox.release()
            self._outbox = None

    def close_abandoned(self, moment: datetime) -> None:
        """Mark the runs as killed that a killed process of this project left open in the store."""
        if self.writer is None:
            return
        try:
            for name in close_abandoned(self.writer.client, self._config, moment=moment):
                self._log.info(f"run {name} was left open by a process that is gone: it is marked as KILLED")
        except StoreAwayError as error:
            if not self._is_own_file:  # else what is written next says so
                self._go_offline(error)
        except TrackingStoreError as error:
            self._log.warning(f"runs of killed processes stay open in the tracking store: {error.got}")

    def _open(self) -> None:
        try:
            self.writer = open_writer(self._config)
        except StoreAwayError as error:
            if self._is_own_file:
                raise
            self._go_offline(error)

    def _open_outbox(self) -> Outbox:
        """Return the run's outbox, whose first event says how the run began, and where."""
        if self.started is None:
            raise UsageError("no run is open")
        place = mask_password(self._config.tracking_uri) if self._is_told else None
        self._outbox = outbox_of(self._config, self.started.uid).hold()
        self._outbox.append(self.started.model_copy(update={"begun_in": place}), NO_FILES)
        return self._outbox

    def _waiting(self, uid: str) -> list[Event] | None:
        """Return what waits of a run in the outbox, held for more to be added; None where nothing does."""
        outbox = outbox_of(self._config, uid)
        if not outbox.exists:
            return None
        outbox.hold()
        if not outbox.exists:  # it was delivered while this waited for it
            outbox.release()
            return None
        self._outbox, self.writer = outbox, None
        return outbox.events()

    def _known(self, started: RunStarted) -> tuple[str, str] | None:
        """Return a run's id and status in the store, if the store holds it and says so."""
        if self.writer is None:
            return None
        try:
            run = self.writer.find_run(run_id=started.run_id, uid=started.uid, experiment=started.experiment)
        except StoreAwayError as error:
            self._go_offline(error)
            return None
        if run is None:
            return None
        self.writer.run_id, self._is_told = run.info.run_id, True
        return self._named(run.info.run_id), run.info.status

    def _named(self, run_id: str) -> str:
        """Note the store's id of the open run, by which what comes later is to be delivered."""
        if self.started is not None:
            self.started = self.started.model_copy(update={"run_id": run_id})
        return run_id

    def _go_offline(self, error: StoreAwayError) -> None:
        self.writer = None
        self._log.warning(
            f"{error.what} ({error.where or 'tracking.uri'}: {error.got}): the run goes on, and what it "
            "records waits in logs/outbox for `modelbook sync` or the next `modelbook run`"
        )
