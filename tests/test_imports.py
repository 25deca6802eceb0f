"""`import forecache` is light: what a cache of memory alone doesn't need is imported when somebody does."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

CLIENTS = ("redis", "hiredis", "obstore", "meta_memcache_socket", "typer", "rich", "matplotlib")
SLOW = (
    "asyncio",
    "ssl",
    "socket",
    "multiprocessing",
    "pathlib",
    "urllib.parse",
    "json",
    "pickle",
    "zoneinfo",
    "decimal",
    "tempfile",
)
BELOW = ("tiers", "codec", "stack", "tiered", "loading")
BESIDE = ("advice", "replays", "curves", "splits", "traces", "recording", "control", "stats", "keys", "model", "saving")
LATE = (*CLIENTS, *SLOW, "ormsgpack", *(f"forecache.{name}" for name in BELOW + BESIDE))
CONFIGURED = "from forecache import Config; Config.load('redis://a', 'memcached://b', 's3://c', environ={})"
USED = """
from forecache import Cache
cache = Cache("1MB", ttl="5m", groups={"a*": "1h"})
cache.set("a", 1, ttl=5)
assert cache.get("a") == cache["a"] == cache.get_or_load("a", list) == 1
assert cache.get_or_load("b", lambda: [2]) == [2]
assert cache.incr("n") == 1 and list(cache.items()) and cache.delete("a")
cache.aio
cache.close()
"""


def imported(program):
    """What a program imports beyond what Python itself has imported."""
    program = f"import sys; before = set(sys.modules)\n{program}\nprint(*(set(sys.modules) - before))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it imports, too
    environment.pop("FORECACHE_CONTROL", None)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("program", "names"),
    [("import forecache", LATE), (USED, LATE), (CONFIGURED, CLIENTS)],
    ids=["import", "memory", "configured"],
)
def test_nothing_is_imported_before_it_is_needed(program, names):
    assert all(map(find_spec, names)), "what isn't there isn't imported anyway"
    assert sorted(imported(program).intersection(names)) == []


def test_what_is_imported_late_is_there():
    import forecache

    for name in forecache.__all__:
        assert getattr(forecache, name) is not None
    assert set(forecache.__all__) <= set(dir(forecache))
    assert forecache.Redis("redis://a").name == "redis"
    assert forecache.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="module 'forecache' has no attribute 'Rediss'"):
        forecache.Rediss  # noqa: B018


@pytest.mark.parametrize("name", ["advise", "replay"])
def test_a_function_stays_a_function_whatever_was_imported_before(name):
    program = f"""
import forecache, forecache.cli.app
from forecache import {name}
assert callable({name}) and callable(forecache.{name})"""
    assert "forecache.replays" in imported(program)


def test_a_loop_is_seen_by_who_never_imported_asyncio():
    program = """
from forecache.threads import running_loop
assert running_loop() is None and "asyncio" not in sys.modules
import asyncio
async def main():
    return running_loop() is asyncio.get_running_loop()
assert asyncio.run(main()) and running_loop() is None"""
    assert "asyncio" in imported(program)
