"""The object tier over loops, forks and cancellations, and its crew of requests."""

import asyncio
import random
import subprocess
import sys

import pytest
from servers.proxy import Proxy

from forecache import Cache
from forecache._core import Entry
from forecache.flow import arun, run


def test_two_loops_one_after_the_other_and_the_other_face(home):
    with Cache(tiers=[home.store("shared")]) as cache, Cache(tiers=[home.store("shared")]) as other:
        asyncio.run(cache.aio.set("a", 1))
        assert asyncio.run(other.aio.get("a")) == 1
        asyncio.run(cache.aio.set("b", 2))
        assert other.get("b") == 2


FORK = """
import os, sys
from forecache import ObjectStore, TierUnavailable
from forecache._core import Entry
from forecache.flow import run
from forecache.tiers.objects.tier import ObjectTier
from forecache.tiers.tier import wall_time
tier = ObjectTier(ObjectStore({url!r}, min_size=0{keys}), "space", wall_time())
tier.load()
if {used}:
    run(tier.set_many({{"a": Entry(b"1")}}))
child = os.fork()
if child == 0:
    try:
        run(tier.set_many({{"b": Entry(b"2")}}))
        print(sorted(run(tier.get_many(["a", "b"]))), flush=True)
    except TierUnavailable as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(sorted(run(tier.get_many(["a", "b"]))))
"""


@pytest.mark.parametrize("used", [False, True])
def test_a_fork_before_the_first_use_is_fine_and_after_it_an_error_that_says_so(home, used):
    options = home.store()
    keys = "" if home.kind == "directory" else f", endpoint={options.endpoint!r}, access_key='a', secret_key='b'"
    code = FORK.format(url=options.url, keys=keys, used=used)
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    if used:
        assert "forked" in told[0]
        assert told[1] == "['a']"
    else:
        assert told == ["['b']", "['b']"]


def test_cancelled_tasks_get_nobody_elses_answer(s3, now):
    tier = s3.tier(now)
    draw = random.Random(7)
    run(tier.set_many({f"key:{number}": Entry(b"%d" % number * 100) for number in range(20)}))

    async def ask(number):
        found = await arun(tier.get_many([f"key:{number}"]))
        assert found[f"key:{number}"].payload == b"%d" % number * 100
        return True

    async def storm():
        tasks = []
        for turn in range(500):
            tasks.append(asyncio.ensure_future(ask(turn % 20)))
            if draw.random() < 0.5:
                asyncio.get_running_loop().call_later(draw.random() * 0.005, tasks[-1].cancel)
            await asyncio.sleep(0.0005 * draw.random())
        return await asyncio.gather(*tasks, return_exceptions=True)

    ends = asyncio.run(storm())
    assert all(end is True or isinstance(end, asyncio.CancelledError) for end in ends)
    assert True in ends


def test_a_write_that_was_cancelled_comes_before_what_is_done_next(s3, proxy_to, s3_server, now):
    proxy = proxy_to(s3_server.address)
    tier = s3.tier(now, endpoint=proxy.through(s3_server.url))
    run(tier.set_many({"a": Entry(b"0")}))

    async def given_up():
        for turn in range(20):
            write = asyncio.ensure_future(arun(tier.set_many({"a": Entry(b"old" * 1000)})))
            await asyncio.sleep(0.0004 * turn)
            write.cancel()
            await arun(tier.delete_many(["a"]))
            assert await arun(tier.get_many(["a"])) == {}
        write = asyncio.ensure_future(arun(tier.set_many({"a": Entry(b"old")})))
        proxy.delay(0.2)
        await asyncio.sleep(0.01)
        write.cancel()
        await arun(tier.set_many({"a": Entry(b"new")}))
        proxy.delay(0)
        assert (await arun(tier.get_many(["a"])))["a"].payload == b"new"

    asyncio.run(given_up())


class Counting(Proxy):
    """A proxy that knows how many requests were on their way at a time."""

    now = most = 0

    async def _forward(self, link, data):
        if data.startswith((b"GET ", b"PUT ", b"POST ", b"DELETE ")):
            self.now += 1
            self.most = max(self.most, self.now)
        await super()._forward(link, data)

    async def _reply(self, link, data):
        self.now -= data.startswith(b"HTTP/1.1 ")
        await super()._reply(link, data)


def test_no_more_requests_at_a_time_than_allowed(s3, proxy_to, s3_server, now, do, crew):
    proxy = proxy_to(s3_server.address, Counting)
    tier = s3.tier(now, endpoint=proxy.through(s3_server.url), concurrency=4)
    keys = [f"key:{number}" for number in range(40)]
    proxy.delay(0.01)
    do(tier.set_many({key: Entry(b"x") for key in keys}))
    assert 1 < proxy.most <= 4
    for _ in range(4):
        crew.send(lambda: do(tier.get_many(keys)))
    crew.back()
    assert crew.errors == []
    assert all(len(found) == 40 for found in crew.results)
    assert proxy.most <= (4 if do is run else 16), "a bound for each loop, and one for all threads"


def test_a_store_that_dies_and_returns_is_used_again(s3, s3_server, clock):
    with Cache("1MB", clock=clock, tiers=[s3.store(timeout=2, retries=0)]) as cache:
        cache.set("a", "x" * 10)
        s3_server.kill()
        cache.set("b", 1)
        assert cache.get("missing") is None
        assert "refused" in cache.stats().tiers[-1].reason
        s3_server.start()
        clock.advance(2)
        cache.set("c", 3)
        assert cache.get("missing") is None
        assert cache.stats().tiers[-1].state == "up"
