"""Several processes that answer at one address, and the one that watches over them."""

import signal
import socket

import uvicorn
from uvicorn.supervisors import Multiprocess


class Workers(Multiprocess):
    """Begins as many workers as are wanted, and others in the place of those that die.

    SIGHUP, which a terminal sends when it is closed, ends them all as SIGTERM does, unless it was ignored as
    under `nohup`; uvicorn would begin them anew.

    Args:
        config: How each of them answers.
        sockets: Where.
    """

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        before = signal.getsignal(signal.SIGHUP)
        super().__init__(config, sockets)
        if before is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, before)

    def handle_hup(self) -> None:
        """End them all."""
        self.handle_term()
