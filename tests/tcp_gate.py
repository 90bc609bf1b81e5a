"""A gate before a server on loopback, at which connections can be cut: what a network does to a request."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Gate:
    """Forwards connections to a port on loopback, from `port` of its own, until the `with` block is left.

    `lose` is text in a request whose answer is lost once: the server gets it and answers, and the caller's connection
    is cut before a byte of that arrives. `mute` keeps every answer back.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.lose: bytes | None = None
        self.lost = 0
        self.mute = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def _carry(self, caller: socket.socket) -> None:
        with suppress(OSError), caller, socket.create_connection(("127.0.0.1", self._target)) as server:
            losing = threading.Event()
            back = threading.Thread(target=self._answer, args=(server, caller, losing), daemon=True)
            back.start()
            while asked := caller.recv(1 << 16):
                if self.lose is not None and self.lose in asked:
                    self.lose = None
                    losing.set()
                server.sendall(asked)

    def _answer(self, server: socket.socket, caller: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while answered := server.recv(1 << 16):
                if losing.is_set():
                    self.lost += 1
                    caller.shutdown(socket.SHUT_RDWR)
                    return
                if not self.mute:
                    caller.sendall(answered)
