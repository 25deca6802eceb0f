"""What the Memcached tier costs beside its client's own calls: `get` of 1 KiB, and `get_many` of 100, in microseconds.

    python benchmarks/memcached.py [--server HOST:PORT]

Without a server it starts one. Both are asked in turn, in rounds, over one connection each to the same server; memory is emptied
before each call, outside of the time that counts. The client is meta-memcache-socket's `MemcacheSocket`, whose calls are Rust.
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from statistics import median

from meta_memcache_socket import MemcacheSocket, RequestFlags

from forecache import Cache, Memcached
from forecache._core import Memory

ROUNDS, CALLS = 30, 100
KEYS = [f"key:{number}" for number in range(100)]


@contextmanager
def server():
    """A memcached of our own; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("memcached") or sys.exit("memcached isn't installed; give --server")
    process = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-u", "nobody"])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def timed(call: Callable[[], object], calls: int, between: Callable[[], object] = lambda: None) -> float:
    """Microseconds a call, the median of `calls`."""
    times = []
    for _ in range(calls):
        between()
        began = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - began)
    return median(times) / 1000


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="host:port")
    given = parser.parse_args().server
    if given:
        measure(given)
    else:
        with server() as address:
            measure(address)


def measure(address: str) -> None:
    """Asks that server."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own = MemcacheSocket(connection, 262_144)  # with less, its multiget hangs
    names = [f"own:{key}" for key in KEYS]
    value = random.Random(1).randbytes(1024)
    flags = RequestFlags(return_value=True, return_cas_token=True)
    for name in names:
        own.meta_set(name, value)
    with Cache(tiers=[Memcached(address)], namespace="benchmark") as cache:
        tier = cache._stack.tiers[0]
        cache.set_many(dict.fromkeys(KEYS, value))
        rows = {
            "get": (lambda: own.meta_get(names[1], flags), lambda: cache.get(KEYS[1])),
            "get_many of 100": (lambda: own.meta_multiget(names, flags), lambda: cache.get_many(KEYS)),
        }
        gc.disable()
        print(f"{'':18}{'client':>10}{'cache':>10}{'difference':>12}{'ratio':>8}")
        for name, (theirs, ours) in rows.items():
            told = [(timed(theirs, CALLS), timed(ours, CALLS, lambda: Memory.clear(cache))) for _ in range(ROUNDS)]
            client, through = (median(each) for each in zip(*told, strict=True))
            print(f"{name:18}{client:10.1f}{through:10.1f}{through - client:12.1f}{through / client:8.2f}")
        if tier.stats().misses:
            sys.exit("there were misses")


if __name__ == "__main__":
    main()
