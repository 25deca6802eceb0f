"""Regions: an edge asks a regional cache, that a global one, and only that asks the origin.

Three processes with an HTTP server each: the edge has memory, half of it compressed; the regional one memory and a Redis; the
global one memory, a disk and an object store. Starts a Redis by itself or takes the URL of one, and keeps objects in a directory
or where a URL says: `python examples/regions.py --redis redis://localhost:6379 --objects s3://bucket/prefix`.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local import Worker, answers, asked, drawn, redis, say, show

from forecache import Cache

PAGES, READS = 500, 2_000
CLIENTS = 8
FAR = {"edge": 0.005, "regional": 0.02, "global": 0.04}
"""Seconds to the next: edge to regional, regional to global, global to the origin."""
MEMORY = {
    "edge": ("memory://?capacity=200KB", "zmemory://?capacity=200KB"),
    "regional": ("memory://?capacity=200KB",),
    "global": ("memory://?capacity=800KB",),
}
"""The presets ask for gigabytes; here all three are on one machine, and the pages are few."""


class Region:
    """A cache, and where it loads what it hasn't got."""

    def __init__(self, name: str, cache: Cache, next_port: int | None) -> None:
        self.name = name
        self.cache = cache
        self._next = next_port
        self._versions: dict[str, int] = {}

    def get(self, page: str) -> bytes:
        """A page, from this cache or through the next."""
        found: bytes = self.cache.get_or_load(page, self._load, ttl="1h")
        return found

    def change(self, page: str) -> None:
        """The origin changes a page; then each region forgets it, the farthest first, so that nobody loads the old one again."""
        if self._next is not None:
            ask(self._next, page, "POST")
        else:
            self._versions[page] = self._versions.get(page, 1) + 1
        self.cache.delete(page)

    def _load(self, page: str) -> bytes:
        time.sleep(FAR[self.name])
        if self._next is not None:
            return ask(self._next, page)
        picture = random.Random(page).randbytes(1500).hex()  # no two pages are alike, and half of it compresses away
        return f"{page}, version {self._versions.get(page, 1)}. {picture}".encode()


def ask(port: int, page: str, method: str = "GET") -> bytes:
    """What the region at a port answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, page)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def handler(region: Region) -> type[BaseHTTPRequestHandler]:
    """What answers the requests to a region."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(region.get(self.path))

        def do_POST(self) -> None:
            region.change(self.path)
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


class Server(ThreadingHTTPServer):
    """Waits for its threads at its end."""

    daemon_threads = False


def work(name: str, namespace: str, next_port: str, journal: str, *urls: str) -> None:
    """The life of a region: serves until its standard input ends, then tells who answered how many reads."""
    with Cache.from_url(*MEMORY[name], *urls, preset=name, namespace=namespace, journal=journal) as cache:
        server = Server(("127.0.0.1", 0), handler(Region(name, cache, int(next_port) or None)))
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        say(server.server_port)
        sys.stdin.read()
        server.shutdown()
        serving.join()
        server.server_close()
        say(answers(cache))


class Chain:
    """The processes of one region, and a global one."""

    def __init__(self, region: str, machine: str, redis_url: str, objects: str) -> None:
        self._places: list[tuple[str, Worker]] = []
        self.port = 0
        self._journal = f"{machine}.journal"
        self._start("global", "pages", f"disk://{machine}?capacity=64MB", objects)
        self._start("regional", f"pages of {region}", redis_url)
        self._start("edge", f"pages of {region}")

    def _start(self, name: str, namespace: str, *urls: str) -> None:
        worker = Worker(__file__, "--work", name, namespace, str(self.port), self._journal, *urls)
        self._places.append((name, worker))
        self.port = int(worker.said())

    def stop(self, title: str) -> dict[str, dict[str, int]]:
        """Ends it, the edge first, and gives who answered."""
        return {f"{title}: {name}": worker.stop() for name, worker in reversed(self._places)}


def load(port: int, seed: int) -> float:
    """Sends requests from several clients at a time; milliseconds that one took, on average."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        pages = [f"/page/{number}" for number in drawn(READS, PAGES, seed)]
        for page, answer in zip(pages, clients.map(lambda page: ask(port, page), pages), strict=True):
            assert answer.startswith(page.encode() + b", ")
    return 1000 * (time.perf_counter() - began) * CLIENTS / READS


def main(given: str | None, objects: str | None) -> None:
    """Everything in order."""
    print(f"{READS:,} requests to the edge of each of two regions, one after the other; {PAGES} pages.")
    with tempfile.TemporaryDirectory(prefix="forecache-example-") as folder, redis(given) as redis_url:
        store = asked(objects or f"file://{folder}/objects", min_size="0")
        first = Chain("one", f"{folder}/machine", redis_url, store)
        cold = load(first.port, seed=1)
        rows = first.stop("region 1")
        second = Chain("two", f"{folder}/another", redis_url, store)
        warm = load(second.port, seed=2)
        old = ask(second.port, "/page/0")
        ask(second.port, "/page/0", "POST")
        new = ask(second.port, "/page/0")
        rows |= second.stop("region 2")
    show(rows)
    print(f"A request took {cold:.1f} ms on average; in region 2, whose caches and whose global machine were new, {warm:.1f} ms:")
    print("the object store had most pages.")
    print(f"A page that was changed through the edge was '{text(old)}' before and '{text(new)}' right after.")


def text(page: bytes) -> str:
    """What a page begins with."""
    return page.decode().partition(".")[0]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
        parser.add_argument("--redis", metavar="URL", help="a Redis to use, instead of one of its own")
        parser.add_argument("--objects", metavar="URL", help="where the global region keeps objects, instead of a directory")
        arguments = parser.parse_args()
        main(arguments.redis, arguments.objects)
