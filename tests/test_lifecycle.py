"""From the import to the exit: garbage, forks, threads that never end, and programs that stop in the middle."""

import asyncio
import gc
import os
import subprocess
import sys
import time
import weakref

import pytest
from conftest import PATIENCE

import forecache
from forecache import Cache, CacheClosed


class Node:
    """A value that knows the cache it is in."""

    def __init__(self, cache):
        self.cache = cache


def run_program(text, timeout=PATIENCE):
    command = [sys.executable, "-X", "faulthandler", "-c", text]
    # Without coverage, whose own locks a fork under load can catch locked.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def test_a_cycle_through_a_cached_value_is_collected():
    cache = Cache()
    node = Node(cache)
    cache.set("a", [node, {"self": node}])
    gone = [weakref.ref(cache), weakref.ref(node)]
    del cache, node
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_a_cycle_through_listeners_weighers_and_the_async_face_is_collected():
    holder = []
    cache = Cache(on_remove=lambda *_: holder, weigher=lambda *_: len(holder) + 1)
    cache.subscribe(lambda event: holder)
    holder.append(cache)
    cache.set("a", cache.aio)
    gone = weakref.ref(cache)
    holder.clear()
    del cache
    gc.collect()
    assert gone() is None


def test_a_cache_without_cycles_is_freed_at_once():
    cache = Cache()
    node = Node(None)
    cache.set("a", node)
    cache.get_or_load("b", lambda: 1)
    gone = [weakref.ref(cache), weakref.ref(node)]
    del node
    gc.disable()
    try:
        del cache
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_values_are_dropped_when_their_entries_leave(cache, clock):
    values = {name: Node(None) for name in ("deleted", "replaced", "cleared", "expired")}
    gone = {name: weakref.ref(value) for name, value in values.items()}
    cache.set_many(values)
    cache.set("expired", values["expired"], ttl=1)
    del values
    cache.delete("deleted")
    assert gone["deleted"]() is None
    cache.set("replaced", 1)
    assert gone["replaced"]() is None
    clock.advance(2)
    cache.get("expired")
    assert gone["expired"]() is None
    cache.clear()
    assert gone["cleared"]() is None


def test_a_finaliser_of_a_value_may_use_the_cache(cache):
    class Last:
        def __del__(self):
            cache.set("told", 1)
            cache.get_or_load("loaded", lambda: 1)

    cache.set("a", Last())
    cache.delete("a")
    assert cache.get_many(["told", "loaded"]) == {"told": 1, "loaded": 1}


def test_with_closes_the_cache():
    with Cache() as cache:
        cache.set("a", 1)
    assert cache.closed
    with pytest.raises(CacheClosed):
        cache.get("a")


def test_an_exception_leaves_no_reference_to_what_it_passed(cache):
    node = Node(None)
    gone = weakref.ref(node)

    def load(node=node):
        raise LookupError

    with pytest.raises(LookupError):
        cache.get_or_load("a", load)
    del node, load
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not of this system")
def test_a_child_forked_under_load_has_a_cache_that_works():
    text = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
from forecache import Cache
cache, stop = Cache("1MB"), threading.Event()
def hammer(number):
    turn = 0
    while not stop.is_set():
        turn += 1
        cache.set(f"k{turn % 100}", turn)
        cache.get(f"k{(turn + 7) % 100}")
        cache.get_or_load(f"l{turn % 5}", lambda: turn)
        cache.delete(f"l{(turn + 1) % 5}")
def hang():
    stop.wait()
    return "late"
threads = [threading.Thread(target=hammer, args=(n,)) for n in range(4)]
threads.append(threading.Thread(target=cache.get_or_load, args=("hanging", hang)))
for thread in threads: thread.start()
while not len(cache._flights): pass
for turn in range(20):
    pid = os.fork()
    if pid == 0:
        assert cache.get_or_load("hanging", lambda: "from the child") == "from the child"
        for key in range(200):
            cache.set(f"k{key}", key)
            assert cache.get_or_load(f"c{key}", lambda: key) == key
        assert cache.incr("n") == 1
        cache.clear()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
stop.set()
for thread in threads: thread.join()
assert cache.get("hanging") == "late"
print("fine")
"""
    done = run_program(text, 60)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is not of this system")
def test_a_loader_that_forks_goes_on_in_both(cache):
    text = """
import os
from forecache import Cache
cache = Cache()
def load():
    pid = os.fork()
    if pid == 0:
        return "child"
    assert os.waitpid(pid, 0)[1] == 0
    return "parent"
got = cache.get_or_load("a", load)
assert cache.get("a") == got
assert cache.get_or_load("b", lambda: cache.get_or_load("a", lambda: 1)) == got
print(got)
"""
    done = run_program(text)
    assert (sorted(done.stdout.split()), done.returncode) == (["child", "parent"], 0), done.stderr


def test_a_program_ends_at_once_with_loads_under_way_and_threads_hammering():
    text = """
import asyncio, threading, time
from forecache import Cache
cache = Cache("100KB", ttl=0.01, on_remove=lambda *event: None)
def hammer():
    turn = 0
    while True:
        turn += 1
        cache.set(f"k{turn % 1000}", "x" * 500)
        cache.get(f"k{turn % 777}")
        cache.get_or_load(f"l{turn % 50}", lambda: turn)
def hang():
    cache.get_or_load("hanging", threading.Event().wait)
async def tasks():
    load = asyncio.create_task(cache.aio.get_or_load("task", lambda: asyncio.Event().wait()))
    await asyncio.sleep(0.05)
for target in (hammer, hammer, hammer, hang, hang):
    threading.Thread(target=target, daemon=True).start()
asyncio.run(tasks())
print("ends")
"""
    began = time.monotonic()
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("ends\n", 0), done.stderr
    assert done.stderr == ""
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize(
    "call",
    [
        "Cache(weigher=forever).set('a', 1)",
        "Cache(on_remove=forever, max_entries=1).set_many({'a': 1, 'b': 2})",
        "Cache().get_many(keys())",
        "Cache().set('a', 1, tags=keys())",
        "Cache().set_many(Endless())",
        "Cache().set('a', 1, tags=[Endless()])",
        "Cache().set('a', Endless())",
        "Cache(copy=True).set('a', Endless())",
    ],
)
def test_a_program_ends_well_while_a_thread_is_in_code_of_the_users(call):
    text = f"""
import threading, time
from collections import UserDict
from forecache import Cache
inside = threading.Event()
def forever(*_):
    inside.set()
    while True: time.sleep(0.0002)
def keys():
    forever()
    yield "a"
class Endless(UserDict):
    items = __repr__ = __del__ = __deepcopy__ = forever
threading.Thread(target=lambda: {call}, daemon=True).start()
inside.wait()
print("ends")
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("ends\n", 0), done.stderr


def test_ctrl_c_in_a_loader_ends_the_program_and_frees_the_key():
    text = """
import os, signal
from forecache import Cache
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job has not
cache = Cache()
def load():
    os.kill(os.getpid(), signal.SIGINT)
    while True: pass
try:
    cache.get_or_load("a", load)
except KeyboardInterrupt:
    assert not len(cache._flights)
    print(cache.get_or_load("a", lambda: "next"))
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("next\n", 0), done.stderr


def test_a_signal_handler_may_use_the_cache_that_it_interrupts():
    text = """
import itertools, signal
from forecache import Cache
cache, seen, numbers = Cache("10KB"), [], itertools.count()
def handler(*_):
    seen.append(cache.get_or_load(f"h{next(numbers)}", lambda: 1))
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
turn = 0
while len(seen) < 200:
    turn += 1
    cache.get_or_load(f"k{turn % 100}", lambda: turn)
    cache.delete(f"k{(turn + 1) % 100}")
signal.setitimer(signal.ITIMER_REAL, 0)
print("fine")
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_threads_and_tasks_hammer_one_cache_and_it_keeps_its_budget(crew):
    cache = Cache("50KB", ttl=0.05, tti=0.02)
    until = time.monotonic() + 1

    def threads(number):
        turn = 0
        while time.monotonic() < until:
            turn += 1
            key = f"k{(turn * 7 + number) % 500}"
            cache.set(key, (key, "x" * (turn % 700)))
            found = cache.get(key)
            assert found is None or found[0] == key
            cache.get_or_load(key, lambda: (key, ""))  # noqa: B023  called at once
            if turn % 50 == 0:
                cache.resize(40_000 + turn % 20_000)
                cache.delete_many([f"k{n}" for n in range(20)])
                assert cache.stats().weight <= 60_000

    async def tasks():
        turn = 0
        while time.monotonic() < until:
            turn += 1
            key = f"k{turn % 500}"
            found = await cache.aio.get_or_load(key, lambda: (key, ""))  # noqa: B023  awaited at once
            assert found[0] == key
            await cache.aio.incr("n")

    for number in range(2):
        crew.send(threads, number)
    crew.send(asyncio.run, tasks())
    assert crew.back().errors == []


def test_the_import_says_its_version_and_warns_of_a_debug_build(monkeypatch):
    assert forecache.__version__.count(".") >= 2
    text = """
import warnings, sys, types
import forecache._core as core
core.DEBUG = True
for name in [name for name in sys.modules if name == "forecache"]: del sys.modules[name]
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    import forecache
print(told[0].category.__name__, told[0].message)
"""
    done = run_program(text)
    assert done.stdout.startswith("RuntimeWarning forecache is a debug build"), done.stderr


def test_public_names_are_there():
    for name in forecache.__all__:
        assert getattr(forecache, name) is not None
