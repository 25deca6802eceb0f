"""One Redis: plain, or behind TLS with client certificates and a named user."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

from servers import certificates
from servers.process import Server, give, program, wait_until

TIMEOUT = 2.0


class Refused(OSError):
    """What Redis answered with an error; an OSError so that whoever waits asks again."""


def ask(
    place: tuple[str, int] | str, *words: object, secure: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
) -> Any:
    """Redis's reply to one command on a connection of its own: str, int, None or a list of them."""
    if isinstance(place, str):
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(TIMEOUT)
        plain.connect(place)
    else:
        plain = socket.create_connection(place, TIMEOUT)
    with (
        contextlib.closing(secure.wrap_socket(plain, server_hostname="127.0.0.1") if secure else plain) as line,
        line.makefile("rwb") as file,
    ):
        if login:
            _say(file, "AUTH", *login)
        return _say(file, *words)


def _say(file: Any, *words: object) -> Any:
    parts = [str(word).encode() for word in words]
    file.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    file.flush()
    return _reply(file)


def _reply(file: Any) -> Any:
    line = file.readline()
    if not line.endswith(b"\r\n"):
        message = "the connection ended"
        raise ConnectionError(message)
    kind, rest = line[:1], line[1:-2].decode(errors="replace")
    if kind == b"-":
        raise Refused(rest)
    if kind == b"+":
        return rest
    size = int(rest)
    if kind == b":" or size < 0:
        return size if kind == b":" else None
    if kind == b"$":
        return file.read(size + 2)[:-2].decode(errors="replace")
    return [_reply(file) for _ in range(size)]


class Redis(Server):
    """A Redis whose data outlive it, also when it is killed: every change is in its log before the reply goes out."""

    def __init__(
        self, name: str = "redis", *, tls: bool = False, login: tuple[str, str] | None = None, options: tuple[object, ...] = ()
    ) -> None:
        super().__init__(name)
        self.socket = self.folder / "redis.sock"
        self.certificates = certificates.make(self.folder) if tls else None
        self.login = login
        self.options = options
        self.data = self.folder / "data"
        self.data.mkdir()
        give(self.data)

    @property
    def url(self) -> str:
        """What a client is told; behind TLS it needs `files`, too."""
        user = "{}:{}@".format(*self.login) if self.login else ""
        return f"redis{'s' if self.certificates else ''}://{user}127.0.0.1:{self.port}/0"

    @property
    def files(self) -> dict[str, str]:
        """The client's certificates, by the names of the tier's options."""
        if not self.certificates:
            return {}
        return {
            "ca": str(self.certificates.authority),
            "certificate": str(self.certificates.client),
            "key": str(self.certificates.client_key),
        }

    @property
    def unix_url(self) -> str:
        """The same through its Unix socket."""
        user = "{}:{}@".format(*self.login) if self.login else ""
        return f"unix://{user}{self.socket}"

    def command(self) -> list[str]:
        """The server with all its options, and without a configuration file."""
        words: list[object] = [
            program("redis-server"),
            "--bind",
            "127.0.0.1",
            "--dir",
            self.data,
            "--save",
            "",
            "--shutdown-timeout",
            0,
        ]
        words += ["--appendonly", "yes", "--unixsocket", self.socket, "--unixsocketperm", 777, "--repl-diskless-sync-delay", 0]
        if files := self.certificates:
            words += ["--port", 0, "--tls-port", self.port, "--tls-auth-clients", "yes", "--tls-ca-cert-file", files.authority]
            words += ["--tls-cert-file", files.server, "--tls-key-file", files.server_key]
        else:
            words += ["--port", self.port]
        if self.login:
            accounts = self.folder / "users.acl"
            accounts.write_text("user default off\nuser {} on >{} ~* &* +@all\n".format(*self.login))
            words += ["--aclfile", accounts]
        return [str(word) for word in [*words, *self.options]]

    def ask(self, *words: object) -> Any:
        """The reply to one command; `OSError` if there is none, or an error."""
        return ask(self.address, *words, secure=self.certificates and self.certificates.context(), login=self.login)

    def answers(self) -> bool:
        """Whether it has read its data."""
        return bool(self.ask("PING") == "PONG")

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        return dict(line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line)

    def fill_disk(self) -> None:
        """Makes its folder one that can't be written to: from then on it refuses writes with MISCONF, and reads go on."""
        self.ask("CONFIG", "SET", "save", "1000 1000000")
        self.data.chmod(0o500)
        self._save("err")

    def free_disk(self) -> None:
        """Undoes `fill_disk`."""
        self.data.chmod(0o700)
        self._save("ok")
        self.ask("CONFIG", "SET", "save", "")

    def _save(self, outcome: str) -> None:
        with contextlib.suppress(Refused):
            self.ask("BGSAVE")
        wait_until(
            lambda: self.info("persistence")["rdb_last_bgsave_status"] == outcome,
            f"{self.name}'s save doesn't end with {outcome}",
        )
