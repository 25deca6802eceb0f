"""`forecache trace record`: records a running process by way of its control socket."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from forecache.cli import output
from forecache.errors import ConfigError
from forecache.units import parse_duration, parse_size

STEP = 0.2
"""Seconds between two looks at how far it got."""
PATIENCE = 10.0
"""Seconds that the process has to begin a recording, and to end it."""
GRACE = 2.0
"""Seconds that it has to say how far it got, once somebody wants the recording to end."""
LONGEST_LINE = 2**20
Fields = Mapping[str, type | tuple[type, ...]]
NUMBER = (int, float)
RECORDED: Fields = {"hits": int, "accesses": int, "keys": int, "bytes": int, "seconds": NUMBER, "reason": str}
HOW_TO = "start the program with FORECACHE_CONTROL=PATH, or its cache with Cache(control=PATH)"


def record(
    path: Annotated[Path, typer.Argument(metavar="SOCKET", help="The control socket of the process.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.fctrace", help="The trace to write; the process writes it.")],
    seconds: Annotated[str, typer.Option(help="For how long: 60, 90s, 2h; until Ctrl-C if not given.")] = "",
    sample: Annotated[float, typer.Option(help="The share of keys that are recorded.")] = 1.0,
    max_size: Annotated[str, typer.Option(help="The most that the file may have.")] = "1GiB",
    plain_keys: Annotated[bool, typer.Option("--plain-keys", help="Write the keys themselves, not hashes of them.")] = False,
    cache: Annotated[str | None, typer.Option(help="Which cache, if the process has several: its namespace.")] = None,
) -> None:
    """Records what a running process asks its cache for.

    Ctrl-C ends the recording and keeps what was recorded.

    Example: `forecache trace record /run/app/cache.sock app.fctrace --seconds 60`
    """
    output.check("target", target)
    request: dict[str, Any] = {"do": "record", "path": str(target.absolute()), "sample": sample, "hash_keys": not plain_keys}
    request |= {"max_bytes": parse_size(max_size, "max-size")}
    if seconds:
        request["duration"] = parse_duration(seconds, "seconds")
    if cache is not None:
        request["cache"] = cache
    before = _file(target)
    with Connection(path) as process:
        name = process.ask(request, {"cache": str}, PATIENCE)["cache"]
        try:
            _watch(process, name, request.get("duration"))
            recorded = process.ask({"do": "stop", "cache": name}, RECORDED, PATIENCE)
        except EndedError:
            # A process that ends in good order completes its recording first.
            if _file(target) in (None, before):
                raise
            recorded = None
    Console(soft_wrap=True).print(f"{target}: {_summary(recorded)}", highlight=False, markup=False)


def _file(path: Path) -> tuple[int, int] | None:
    """Which file is there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _summary(recorded: dict[str, Any] | None) -> str:
    if recorded is None:
        return "the process has ended, and completed its recording before; see: forecache trace show"
    ratio = f", {100 * recorded['hits'] / recorded['accesses']:.2f} % hits" if recorded["accesses"] else ""
    ended = "" if recorded["reason"] in ("stopped", "duration") else f" (ended early: {recorded['reason']})"
    text = f"{recorded['accesses']:,} accesses to {recorded['keys']:,} keys in {recorded['seconds']:.1f} s{ratio}"
    return f"{text}, {recorded['bytes']:,} bytes{ended}"


def _watch(process: "Connection", name: str, seconds: float | None) -> None:
    """Returns when the recording has ended, or somebody wants it to; on a terminal, shows how far it got."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.enough.set())
    console = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("recording"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[seen]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("recording", total=seconds, seen="")
        while not process.enough.is_set():
            status = process.ask({"do": "status"}, {"caches": list})
            caches = [process.checked(each, {"name": str}) for each in status["caches"]]
            now = next((each.get("recording") for each in caches if each["name"] == name), None)
            if now is None or not process.checked(now, {"active": bool, **RECORDED})["active"]:
                return
            bar.update(task, completed=now["seconds"], seen=f"{now['accesses']:,} accesses, {now['bytes']:,} bytes")
            left = STEP if seconds is None else seconds - now["seconds"]
            process.enough.wait(min(STEP, max(left, STEP / 10)))


class EndedError(ConfigError):
    """The process has gone away."""


class Connection:
    """A process that answers, or is waited for until there was `enough`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.enough = threading.Event()
        self.received = b""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(os.fspath(path))
        except OSError as error:
            self.socket.close()
            raise ConfigError(f"socket: nobody answers at {str(path)!r} ({error.strerror or error}); {HOW_TO}") from None
        self.socket.settimeout(STEP)

    def ask(self, request: dict[str, Any], fields: Fields, patience: float | None = None) -> dict[str, Any]:
        """Sends a request and waits for an answer with those fields; `ConfigError` if the process refuses, or has ended.

        It has so many seconds to answer; if None, any number until there was enough, and then `GRACE`.
        """
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._line(patience)
        except OSError:
            line = b""
        if not line:
            raise EndedError(f"socket: the process at {str(self.path)!r} has ended, or doesn't let you ask; there is no trace")
        try:
            answer = self.checked(json.loads(line), {"ok": bool})
        except (ValueError, RecursionError):
            raise self._stranger() from None
        if not answer["ok"]:
            raise ConfigError(self.checked(answer, {"error": str})["error"])
        return self.checked(answer, fields)

    def checked(self, value: Any, fields: Fields) -> dict[str, Any]:
        """`value`, if it is an object with those fields."""
        if isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in fields.items()):
            return value
        raise self._stranger()

    def _stranger(self) -> ConfigError:
        return ConfigError(f"socket: what answers at {str(self.path)!r} is no control socket of forecache; {HOW_TO}")

    def _line(self, patience: float | None) -> bytes:
        """A line, or nothing if the other end has gone."""
        begin = time.monotonic()
        while b"\n" not in self.received:
            if len(self.received) > LONGEST_LINE:
                raise self._stranger()
            if patience is None and self.enough.is_set():
                begin, patience = time.monotonic(), GRACE
            if patience is not None and time.monotonic() - begin > patience:
                raise ConfigError(f"socket: the process at {str(self.path)!r} doesn't answer; a recording ends when it goes on")
            with suppress(TimeoutError):
                received = self.socket.recv(2**16)
                if not received:
                    return b""
                self.received += received
        line, _, self.received = self.received.partition(b"\n")
        return line

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
