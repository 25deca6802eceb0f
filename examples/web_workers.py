"""An HTTP service about virtual machines, its routes cached: eight workers on two hosts, over a disk a host and a Redis for both.

Each host is four processes that share a listening socket and a directory here; the workers are WSGI servers of the standard
library. Starts a Redis by itself, or takes the URL of one: `python examples/web_workers.py --redis redis://localhost:6379`.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from local import Worker, added, answers, drawn, redis, say, show

from forecache import Cache

VMS, HOSTS = 400, 20
READS = 2_000
"""Requests to each host."""
SLOW = 0.005
"""Seconds that the inventory takes for a query."""
TTL = 5
"""Seconds that an answer may be old on the other host."""
WORKERS = 4
"""Processes of a host."""
CLIENTS = 8


class Inventory:
    """What is true: a database of machines."""

    def __init__(self, path: str) -> None:
        self._path = path

    def make(self) -> None:
        """Fills it."""
        rows = [(f"vm{number}", f"host{number % HOSTS}", "running") for number in range(VMS)]
        with self._open() as database:
            database.execute("CREATE TABLE vms (name TEXT PRIMARY KEY, host TEXT, state TEXT)")
            database.executemany("INSERT INTO vms VALUES (?, ?, ?)", rows)
        database.close()

    def query(self, where: str, value: str) -> list[dict[str, str]]:
        """The machines whose `where` is `value`."""
        time.sleep(SLOW)
        database = self._open()
        rows = database.execute("SELECT name, host, state FROM vms ORDER BY name").fetchall()
        database.close()
        machines = [dict(zip(("name", "host", "state"), row, strict=True)) for row in rows]
        return [machine for machine in machines if machine[where] == value]

    def put(self, name: str, state: str) -> None:
        """Changes a machine."""
        with self._open() as database:
            database.execute("UPDATE vms SET state = ? WHERE name = ?", (state, name))
        database.close()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=30)


class Service:
    """The WSGI application: `GET /vms/NAME`, `GET /hosts/NAME/vms`, `POST /vms/NAME/STATE`."""

    def __init__(self, cache: Cache, inventory: Inventory) -> None:
        self.cache = cache
        self.inventory = inventory

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request."""
        match environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").split("/"):
            case "GET", ["vms", name]:
                found = self.cache.get_or_load(f"vm:{name}", lambda: self.inventory.query("name", name), ttl=TTL)
            case "GET", ["hosts", host, "vms"]:
                found = self.cache.get_or_load(f"host:{host}", lambda: self.inventory.query("host", host), ttl=TTL)
            case "POST", ["vms", name, state]:
                found = self._change(name, state)
            case _:
                found = []
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", "application/json")])
        return [json.dumps(found).encode()]

    def _change(self, name: str, state: str) -> list[dict[str, str]]:
        """First what is true, then what is cached of it."""
        self.inventory.put(name, state)
        machines = self.inventory.query("name", name)
        self.cache.delete_many([f"vm:{name}", *(f"host:{machine['host']}" for machine in machines)])
        return machines


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """See the class."""


class Shared(WSGIServer):
    """A server on a listening socket that other processes have, too: whoever is free takes the next connection."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(("127.0.0.1", 0), Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.socket.setblocking(False)  # another may have been faster
        self.server_name, self.server_port = listening.getsockname()
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """See `socketserver`."""
        connection, address = super().get_request()
        connection.setblocking(True)
        return connection, address


def work(listening: int, inventory: str, *urls: str) -> None:
    """The life of a worker: serves until its standard input ends, then tells who answered how many reads."""
    with Cache.from_url("memory://?capacity=4MB", *urls, namespace="vms") as cache:
        server = Shared(socket.socket(fileno=listening))
        server.set_app(Service(cache, Inventory(inventory)))
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        say("ready")
        sys.stdin.read()
        server.shutdown()
        serving.join()
        server.server_close()
        say(answers(cache))


class Host:
    """A host: its workers, the port they listen at, and their directory."""

    def __init__(self, folder: Path, name: str, redis_url: str) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listening.getsockname()[1]
        disk = f"disk://{folder / name}?capacity=64MB"
        given = ("--work", str(listening.fileno()), str(folder / "inventory"), disk, redis_url)
        self._workers = [Worker(__file__, *given, inherits=[listening.fileno()]) for _ in range(WORKERS)]
        for worker in self._workers:
            worker.said()
        listening.close()

    def ask(self, path: str, method: str = "GET") -> Any:
        """What a request brings."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def state(self, name: str) -> str:
        """Of a machine, as this host says."""
        return str(self.ask(f"/vms/{name}")[0]["state"])

    def load(self, seed: int) -> float:
        """Sends requests from several clients at a time; seconds that they took."""
        paths = [f"/hosts/host{n}/vms" if n % 10 == 0 and n < HOSTS else f"/vms/vm{n}" for n in drawn(READS, VMS, seed)]
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            assert all(clients.map(self.ask, paths))
        return time.perf_counter() - began

    def stop(self) -> dict[str, int]:
        """Ends it, and gives who answered."""
        return added([worker.stop() for worker in self._workers])


def change(here: Host, there: Host) -> None:
    """Stops a machine at one host and looks at both."""
    for host in (here, there):
        host.state("vm7")
    here.ask("/vms/vm7/stopped", "POST")
    seen = [here.state("vm7") for _ in range(10 * WORKERS)]
    print(f"vm7 was stopped through host A; {len(seen)} requests to its workers after that: {', '.join(sorted(set(seen)))}.")
    began = time.monotonic()
    while there.state("vm7") != "stopped":
        time.sleep(0.05)
    print(f"Host B, whose workers' memory nobody told, said so after {time.monotonic() - began:.1f} s (its TTL is {TTL} s).")


def main(given: str | None) -> None:
    """Everything in order."""
    print(f"{READS:,} requests to each of two hosts at a time, with {WORKERS} workers; a query takes {SLOW * 1e3:g} ms.")
    with tempfile.TemporaryDirectory(prefix="forecache-example-") as folder, redis(given) as redis_url:
        Inventory(f"{folder}/inventory").make()
        hosts = {name: Host(Path(folder), name, redis_url) for name in "AB"}
        with ThreadPoolExecutor(len(hosts)) as together:
            seconds = max(together.map(Host.load, hosts.values(), (1, 2)))
        change(hosts["A"], hosts["B"])
        show({f"host {name}": host.stop() for name, host in hosts.items()})
        print(
            f"Both took {seconds:.1f} s. A worker finds on disk what the three beside it have loaded, and in Redis what the other"
        )
        print("host has; 'loaded' is what the inventory was asked.")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["--work"]:
        work(int(sys.argv[2]), *sys.argv[3:])
    else:
        parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
        parser.add_argument("--redis", metavar="URL", help="a Redis to use, instead of one of its own")
        main(parser.parse_args().redis)
