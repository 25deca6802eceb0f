"""The control socket: a process under observation answers to its own user, if it was told where to.

One Unix socket a process and path serves all caches that name it. Requests and answers are JSON, a line each; one daemon thread,
which is there only while a socket is, does what they ask. See docs/replay.md for the requests.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import stat
import struct
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from forecache import exits
from forecache.errors import ConfigError
from forecache.units import wrong

if TYPE_CHECKING:
    from forecache.cache import Cache
    from forecache.recording import Recorded, Recording

VARIABLE = "FORECACHE_CONTROL"
LONGEST_LINE = 2**16
LONGEST_PATH = 93
"""Bytes that leave room for the name under which a socket is made, in the 104 that some systems have."""
MOST_CLIENTS = 32
"""Others wait until one of these has gone."""
PATIENCE = 1.0
"""Seconds that a client has to take an answer, and after which connections are taken again if the system had no room for one."""
SHOWN = ("hits", "misses", "entries", "weight", "policy")
Answer = dict[str, Any]
Verb = Callable[["Answer", "Client"], "Answer"]

_servers: dict[str, Server] = {}
_lock = threading.RLock()


def attach(cache: Cache) -> None:
    """Makes `cache` reachable where its option says, or the environment for all caches of the process.

    Raises `ConfigError` if nothing can listen there; where only the environment says so, that is a warning.
    """
    asked, everywhere = cache.config.control, os.environ.get(VARIABLE)
    path = asked or everywhere
    if not path:
        return
    try:
        with _lock:
            server = _servers.get(path)
            if server is None:
                server = _servers[path] = Server(path)
            server.add(cache)
    except ConfigError as error:
        if path != everywhere:
            raise
        warnings.warn(f"{VARIABLE}: this process can't be reached: {error}", RuntimeWarning, stacklevel=4)


def detach(cache: Cache) -> None:
    """Makes it unreachable; the last one takes the socket with it."""
    with _lock:
        for server in list(_servers.values()):
            server.remove(cache)


class Server:
    """A socket, its thread, and the caches that can be reached."""

    def __init__(self, given: str) -> None:
        path = Path(os.path.abspath(given))  # noqa: PTH100 - a link there is for who listens to follow, not for us
        self.given = given
        self.per_process = path.is_dir()
        self.path = path / f"forecache-{os.getpid()}.sock" if self.per_process else path
        if self.per_process:
            _sweep(path)
        self.socket = _listen(self.path)
        self.file = os.lstat(self.path)
        self.caches: dict[str, weakref.ref[Cache]] = {}
        self.recordings: dict[str, Recording] = {}
        self.clients: dict[socket.socket, Client] = {}
        self.wake, self.woken = socket.socketpair()
        self.wake.setblocking(False)
        self.over = self.accepts = False
        self.accepts_from = 0.0
        self.selector = selectors.DefaultSelector()
        self._accept_again()
        self.selector.register(self.woken, selectors.EVENT_READ, self._look_after)
        threading.Thread(target=self._run, name="forecache-control", daemon=True).start()

    def add(self, cache: Cache) -> None:
        """Names it after its namespace, and numbers those of the same name."""
        first = name = cache.config.namespace or "cache"
        number = 1
        while name in self.caches:
            number += 1
            name = f"{first}-{number}"
        self.caches[name] = weakref.ref(cache, self._gone)

    def remove(self, cache: Cache | None) -> None:
        """Forgets it, and those that are no more."""
        self.caches = {name: ref for name, ref in self.caches.items() if ref() not in (None, cache)}
        if not self.caches:
            self.end()

    def end(self) -> None:
        """Removes the socket and has the thread end."""
        if _servers.get(self.given) is self:
            del _servers[self.given]
        with suppress(OSError):
            there = os.lstat(self.path)
            if (there.st_dev, there.st_ino) == (self.file.st_dev, self.file.st_ino):
                self.path.unlink()
        self.over = True
        self._gone()

    def abandon(self) -> None:
        """In the child of a fork: lets go of what belongs to the parent."""
        self._close()

    def _gone(self, _: object = None) -> None:
        # Called by the garbage collector, at any moment: the thread does the rest.
        with suppress(OSError):
            self.wake.send(b".")

    def _run(self) -> None:
        try:
            while not self.over:
                for key, _ in self.selector.select(None if self.accepts else PATIENCE):
                    key.data()
                if not self.accepts and len(self.clients) < MOST_CLIENTS and time.monotonic() >= self.accepts_from:
                    self._accept_again()
        finally:
            for client in list(self.clients.values()):
                client.close()
            self._close()

    def _close(self) -> None:
        self.selector.close()
        for each in (self.socket, self.wake, self.woken, *self.clients):
            each.close()

    def _look_after(self) -> None:
        self.woken.recv(LONGEST_LINE)
        with _lock:
            if not self.over:
                self.remove(None)

    def _accept_again(self) -> None:
        self.accepts = True
        self.selector.register(self.socket, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):  # who had connected has gone again
            return
        except OSError:  # such as no file descriptors left: asking on wouldn't make any
            self._accept_no_more(time.monotonic() + PATIENCE)
            return
        if not _is_trusted(connection):
            connection.close()
            return
        connection.settimeout(PATIENCE)
        client = self.clients[connection] = Client(self, connection)
        self.selector.register(connection, selectors.EVENT_READ, client.read)
        if len(self.clients) >= MOST_CLIENTS:
            self._accept_no_more(0.0)

    def _accept_no_more(self, until: float) -> None:
        self.accepts, self.accepts_from = False, until
        self.selector.unregister(self.socket)

    def answer(self, request: Any, client: Client) -> Answer:
        """What comes of a request."""
        verbs: dict[str, Callable[[Answer, Client], Answer]] = {
            "record": self._record,
            "stop": self._stop,
            "status": self._status,
        }
        verb = request.get("do") if isinstance(request, dict) else None
        if verb not in verbs:
            raise wrong("do", verb, ", ".join(verbs))
        return verbs[verb](request, client)

    def _named(self, request: Answer) -> tuple[str, Cache]:
        with _lock:
            caches = {name: cache for name, ref in self.caches.items() if (cache := ref()) is not None}
        name = request.get("cache")
        if name is None and len(caches) == 1:
            return next(iter(caches.items()))
        if name not in caches:
            raise wrong("cache", name, f"one of {', '.join(caches)}")
        return name, caches[name]

    def _record(self, request: Answer, client: Client) -> Answer:
        name, cache = self._named(request)
        path = request.get("path")
        if not isinstance(path, str) or not os.path.isabs(path):  # noqa: PTH117 - it is a str
            raise wrong("path", path, "an absolute path")
        options = {option: request[option] for option in ("sample", "hash_keys", "max_bytes", "duration") if option in request}
        recording = cache.record(path, **options)
        self.recordings[name] = recording
        client.recordings.append(recording)
        return {"cache": name, "path": str(recording.path)}

    def _stop(self, request: Answer, _: Client) -> Answer:
        name = request.get("cache") or next(iter(self.recordings), None)
        recording = self.recordings.get(name or "")
        if recording is None:
            raise ConfigError(f"stop: got {name!r}; allowed: a cache that is being recorded by way of this socket")
        return _told(recording.stop())

    def _status(self, _request: Answer, _client: Client) -> Answer:
        with _lock:
            caches = {name: cache for name, ref in self.caches.items() if (cache := ref()) is not None}
        return {"pid": os.getpid(), "caches": [self._status_of(name, cache) for name, cache in caches.items()]}

    def _status_of(self, name: str, cache: Cache) -> Answer:
        stats, recording = cache._stats(), self.recordings.get(name)
        told: Answer | None = None
        if recording is not None:
            told = _told(recording.progress) | {"active": recording.active, "error": recording.error}
        return {"name": name, "recording": told} | {field: stats[field] for field in SHOWN}


class Client:
    """Somebody who has connected. What it recorded ends with the connection: nobody else would end it."""

    def __init__(self, server: Server, connection: socket.socket) -> None:
        self.server = server
        self.connection = connection
        self.recordings: list[Recording] = []
        self.pending = b""

    def read(self) -> None:
        """Answers the requests that have come."""
        try:
            received = self.connection.recv(LONGEST_LINE)
            *lines, self.pending = (self.pending + received).split(b"\n")
            for line in lines:
                self.connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        except OSError:
            received = b""
        if not received or len(self.pending) > LONGEST_LINE:
            self.server.selector.unregister(self.connection)
            self.close()

    def _answer(self, line: bytes) -> Answer:
        try:
            if len(line) > LONGEST_LINE:
                raise wrong("line", f"{len(line)} bytes", f"at most {LONGEST_LINE}")
            return {"ok": True} | self.server.answer(json.loads(line), self)
        except Exception as error:
            return {"ok": False, "error": str(error) or type(error).__name__}

    def close(self) -> None:
        """Ends the connection."""
        for recording in self.recordings:
            with suppress(Exception):  # who asked for it has gone
                recording.stop()
        self.server.clients.pop(self.connection, None)
        self.connection.close()


def _told(recorded: Recorded) -> Answer:
    return asdict(recorded) | {"path": str(recorded.path), "accesses": recorded.accesses}


def _is_trusted(connection: socket.socket) -> bool:
    """Whether who has connected is our own user or root; where that can't be asked, the socket's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] in (0, os.geteuid())


def _listen(path: Path) -> socket.socket:
    """A socket at `path` that only our own user can connect to, from its first moment on."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise wrong("control", str(path), f"a path of at most {LONGEST_PATH} bytes, or a directory with a shorter one")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = path.parent.stat()
        open_to_others = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX
        if folder.st_uid not in (0, os.geteuid()) or open_to_others:
            raise wrong("control", str(path), "a path in a directory where others can't replace what is yours")
        _remove_stale(path)
        # It is made in a directory that nobody else can enter, and only then shown.
        with TemporaryDirectory(dir=path.parent, prefix=".fc") as private:
            hidden = Path(private) / "s"
            listening.bind(str(hidden))
            hidden.chmod(0o600)
            listening.listen()
            listening.setblocking(False)  # who has connected may have gone again
            path.hardlink_to(hidden)
    except (ConfigError, OSError) as error:
        listening.close()
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"control: no socket can be made at {str(path)!r}: {error.strerror or error}") from error
    return listening


def _remove_stale(path: Path) -> None:
    """Removes the socket of a process that is no more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise wrong("control", str(path), "a path where nothing is, or a directory; this is something else")
    except FileNotFoundError:
        return
    if _is_dead(path):
        path.unlink(missing_ok=True)
        return
    raise wrong("control", str(path), "a path where no other process listens, or a directory, where each process has its own")


def _is_dead(path: Path) -> bool:
    """Whether nobody listens at that socket any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
    return False


def _sweep(folder: Path) -> None:
    """Removes what processes that were killed have left in a directory where each has its own socket."""
    for path in folder.glob("forecache-*.sock"):
        # One that can't be asked, or removed, stays.
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid() and _is_dead(path):
                path.unlink()


def _after_fork() -> None:
    """The child has none of the parent's sockets; where each process has its own, it gets one."""
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.RLock()
    servers = list(_servers.values())
    _servers.clear()
    for server in servers:
        server.abandon()
        if server.per_process:
            caches = [cache for ref in server.caches.values() if (cache := ref()) is not None]
            try:
                _servers[server.given] = heir = Server(server.given)
            except ConfigError as error:
                warnings.warn(f"control: the child of a fork can't be reached: {error}", RuntimeWarning, stacklevel=2)
                continue
            for cache in caches:
                heir.add(cache)


def _end_all() -> None:
    for server in list(_servers.values()):
        server.end()


exits.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
