"""A memcached. What it holds ends with it."""

from __future__ import annotations

import socket

from servers.process import Server, program


class Memcached(Server):
    """One of several that a client spreads keys over."""

    def __init__(self, number: int = 0, megabytes: int = 64) -> None:
        super().__init__(f"memcached-{number}")
        self.megabytes = megabytes

    @property
    def url(self) -> str:
        """What a client is told."""
        return f"memcached://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """TCP only."""
        return [program("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", str(self.megabytes), "-v"]

    def ask(self, text: str) -> str:
        """The first line of the reply to a line."""
        with socket.create_connection(self.address, 2) as line, line.makefile("rwb") as file:
            file.write(f"{text}\r\n".encode())
            file.flush()
            return file.readline().decode().strip()

    def answers(self) -> bool:
        """Whether it says its version."""
        return self.ask("version").startswith("VERSION")
