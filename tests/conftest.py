"""What the tests share: a clock that stands, both faces under one name, crews of threads that never hang, and servers."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest
from object_home import Home
from servers import process
from servers.memcached import Memcached
from servers.proxy import Proxy
from servers.redis import Redis
from servers.s3 import S3
from servers.sets import Cluster, SentinelSet, start_all

from forecache import Cache
from forecache.flow import Flow, arun, run
from forecache.testing import FakeClock
from forecache.tiers.tier import Now, wall_time

# How long an example takes, or to make one, says how busy the machine is, and no more.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")

T = TypeVar("T")
PATIENCE = 20
"""Seconds after which what should have happened counts as hanging."""


class Face:
    """A face of a cache whose every method is a plain call, whichever colour is behind it."""

    def __init__(self, cache: Cache, colour: str) -> None:
        self.cache = cache
        self.colour = colour

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self.colour == "sync":
            return getattr(self.cache, name)
        method = getattr(self.cache.aio, name)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            return [each async for each in answer] if hasattr(answer, "__aiter__") else await answer

        return lambda *args, **kwargs: asyncio.run(awaited(*args, **kwargs))


class Crew:
    """Threads whose results and errors are collected, and that are waited for with patience, not for ever."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.results: list[Any] = []
        self.errors: list[BaseException] = []

    def send(self, function: Callable[..., Any], *args: Any) -> threading.Thread:
        def work() -> None:
            try:
                self.results.append(function(*args))
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def back(self) -> "Crew":
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        return self


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def now(clock: FakeClock) -> Now:
    """Wall time by the clock that stands."""
    return wall_time(clock)


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest) -> Callable[[Flow[Any]], Any]:
    """A driver of flows, of either colour."""
    return run if request.param == "sync" else lambda flow: asyncio.run(arun(flow))


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cache(clock: FakeClock) -> Cache:
    return Cache("1MB", clock=clock)


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, cache: Cache) -> Face:
    return Face(cache, request.param)


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.back()


SERVERS = "redis_server", "redis_tls", "redis_sentinel", "redis_cluster", "memcached_servers", "s3_server"
_sets: list[SentinelSet | Cluster] = []


def _started(server: T) -> T:
    server.start()
    return server


@pytest.fixture(scope="session")
def redis_server() -> Redis:
    """A Redis that asks for no password; also at its `unix_url`."""
    return _started(Redis())


@pytest.fixture(scope="session")
def redis_tls() -> Redis:
    """A Redis that demands a client's certificate, and a user with a password."""
    return _started(Redis("redis-tls", tls=True, login=("forecache", "secret")))


@pytest.fixture(scope="session")
def redis_sentinel() -> SentinelSet:
    _sets.append(_started(SentinelSet()))
    return _sets[-1]


@pytest.fixture(scope="session")
def redis_cluster() -> Cluster:
    _sets.append(_started(Cluster()))
    return _sets[-1]


@pytest.fixture(scope="session")
def memcached_servers() -> list[Memcached]:
    start_all(servers := [Memcached(number) for number in range(3)])
    return servers


@pytest.fixture(scope="session")
def s3_server() -> S3:
    return _started(S3())


@pytest.fixture
def s3(s3_server: S3) -> Home:
    return Home("s3", None, s3_server)


@pytest.fixture(params=["s3", "directory"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(request.param, tmp_path, request.getfixturevalue("s3_server") if request.param == "s3" else None)


@pytest.fixture
def proxy_to() -> Iterator[Callable[..., Proxy]]:
    """Makes a proxy to an address: `proxy_to(redis_server.address)`."""
    proxies: list[Proxy] = []

    def make(address: tuple[str, int], kind: type[Proxy] = Proxy) -> Proxy:
        proxies.append(kind(address))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


LONG = ("test_disk_trials", "test_tiered_model", "test_examples", "test_model")
"""Files that take longest, though of few tests: they come first, so that no process is at them when all others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Whatever a test has done to a server, the next one finds it running."""
    for one in _sets:
        one.mend()
    for server in process.started:
        if server.process:
            server.mend()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """What the servers of a failed test have logged is shown with it."""
    report = yield
    if report.failed and set(SERVERS) & set(getattr(item, "fixturenames", ())):
        report.sections += [(f"log of {server.name} (port {server.port})", server.tail(12)) for server in process.started]
    return report


def pytest_sessionfinish() -> None:
    """No server outlives the tests."""
    process.end_all()
