"""How values go down to tiers and come up again, in both colours."""

import threading
from datetime import date

import pytest
from conftest import PATIENCE, Face
from tiers_made import Counting, Noted, made

from forecache import (
    MISSING,
    AsyncCache,
    Cache,
    CacheClosed,
    CodecError,
    ConfigError,
    Disk,
    ImmutableError,
    ReentrantLoad,
    Removed,
    ZMemory,
)
from forecache._core import Counters, Entry
from forecache.events import TierFailed
from forecache.testing import FakeClock, FaultyTier, Raise
from forecache.tiers.boundary import Custom
from forecache.tiers.tier import Stored


@pytest.fixture(params=["sync", "async"])
def colour(request):
    return request.param


@pytest.fixture
def clock():
    return FakeClock()


def test_what_is_written_through_is_in_the_tier_when_set_returns(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    assert face.set("a", {"b": (1, 2)})
    assert list(tier.entries) == ["a"]
    face.close()


def test_what_is_written_behind_is_in_the_tier_after_a_flush(colour):
    tier = Noted()
    tier.gate.clear()
    face = made((tier, "behind"), colour=colour)
    face.set("a", 1)
    assert not tier.entries
    assert face.stats().tiers[0].queued == 1 if colour == "sync" else True
    tier.gate.set()
    face.flush()
    assert list(tier.entries) == ["a"]
    assert face.cache.stats().tiers[0].queued == 0
    face.close()


def test_close_writes_what_is_queued(colour):
    tier = Noted()
    face = made((tier, "behind"), colour=colour)
    face.set_many({f"k{n}": n for n in range(600)})
    face.close()
    assert len(tier.entries) == 600
    with pytest.raises(CacheClosed):
        face.get("k0")
    face.close()


def test_what_is_demoted_is_written_when_memory_has_no_room(colour):
    tier = Noted()
    face = made((tier, "demote"), colour=colour, capacity="3KB")
    for n in range(20):
        face.set(f"k{n}", "v" * 300)
    assert not tier.of("set")
    face.flush()
    assert tier.entries
    assert all(face.get(f"k{n}") == "v" * 300 for n in range(20))
    face.close()


def test_a_set_deletes_the_older_copy_of_a_demoting_tier():
    tier = Noted()
    face = made((tier, "demote"))
    tier.entries.update({})
    face.set("a", 1, write="through")
    assert "a" in tier.entries
    face.set("a", 2)
    assert "a" not in tier.entries
    assert face.get("a") == 2
    face.close()


def test_a_write_around_leaves_memory_out(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    face.set("a", 1)
    face.set("a", 2, write="around")
    assert face.cache._peek("a", MISSING) is MISSING
    assert face.get("a") == 2
    assert face.cache._peek("a") == 2, "it didn't climb"
    face.close()


def test_a_wrong_write_mode_is_refused_before_anything_is_stored(colour):
    face = made((Noted(), "through"), colour=colour)
    with pytest.raises(ConfigError, match="write: got 'beside'"):
        face.set("a", 1, write="beside")
    assert face.get("a", MISSING) is MISSING
    face.close()


def test_a_value_without_a_stored_form_leaves_the_cache_as_it_was(colour):
    face = made((Noted(), "behind"), colour=colour)
    face.set("a", 1)
    for verb, arguments in (("set", ("a", object())), ("add", ("b", object())), ("set_many", ({"b": 1, "c": object()},))):
        with pytest.raises(CodecError):
            getattr(face, verb)(*arguments)
    assert face.get("a") == 1
    assert face.get_many(["b", "c"]) == {}
    face.close()


def test_a_hit_climbs_with_its_times_tags_and_owner(colour, clock):
    tier = Noted(clock=clock)
    first = made((tier, "through"), colour=colour, clock=clock)
    first.set("a", date(2020, 2, 2), ttl=10, tti=7, tags=["t"], owner="o")
    second = made((Noted(tier.entries, clock=clock), "through"), colour=colour, clock=clock)
    clock.advance(4)
    assert second.get("a") == date(2020, 2, 2)
    assert second.cache._peek("a") == date(2020, 2, 2)
    assert second.cache.stats().owners[-1].name == "o"
    assert second.cache._tagged("t") == 1
    assert second.ttl("a") == pytest.approx(6, abs=0.01)
    clock.advance(6)
    assert second.get("a", MISSING) is MISSING
    first.close()
    second.close()


def test_get_many_touches_each_tier_once(colour):
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "through"), colour=colour)
    face.set_many({f"k{n}": n for n in range(9)}, write="around")
    upper.entries.pop("k1")
    upper.asked.clear()
    lower.asked.clear()
    assert face.get_many([*(f"k{n}" for n in range(9)), "none"]) == {f"k{n}": n for n in range(9)}
    assert len(upper.of("get")) == 1
    assert lower.of("get") == [["k1", "none"]]
    face.close()


def test_set_many_touches_each_tier_once(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    assert face.set_many({f"k{n}": n for n in range(9)}) == 9
    assert len(tier.of("set")) == 1
    assert face.delete_many([f"k{n}" for n in range(12)]) == 9
    assert len(tier.of("delete")) == 1
    face.close()


def test_a_delete_cancels_what_is_queued_and_waits_for_what_is_in_flight(crew, colour):
    tier = Noted()
    tier.gate.clear()
    face = made((tier, "behind"), colour=colour)
    face.set("a", 1)
    assert tier.held.acquire(timeout=PATIENCE)
    face.set("b", 2)
    crew.send(face.delete, "b")
    assert tier.held.acquire(timeout=PATIENCE)
    crew.send(face.delete, "a")
    tier.gate.set()
    assert crew.back().results == [True, True]
    assert not crew.errors
    face.flush()
    assert not tier.entries
    assert not any("b" in keys for keys in tier.of("set"))
    face.close()


def test_the_latest_of_many_writes_is_what_stays(crew):
    tier = Noted()
    face = made((tier, "behind"))

    def write(number):
        for n in range(200):
            face.set(f"k{number}", n)

    for number in range(4):
        crew.send(write, number)
    crew.back()
    face.flush()
    other = made((Noted(tier.entries), "behind"))
    assert [other.get(f"k{number}") for number in range(4)] == [199] * 4
    face.close()
    other.close()


def test_a_full_queue_has_writers_wait(crew, colour):
    tier = Noted()
    tier.gate.clear()
    face = made((tier, "behind"), colour=colour, options={"queue": "2KB"})
    face.set("a", b"x" * 1500)
    assert tier.held.acquire(timeout=PATIENCE)
    waited = []
    wait = face.cache._stack.signal.wait

    def noted():
        waited.append((face.cache._peek("b"), tier.gate.is_set()))
        tier.gate.set()
        return wait()

    face.cache._stack.signal.wait = noted
    crew.send(face.set, "b", b"y" * 1500)
    assert crew.back().results == [True]
    assert waited[0] == (None, False), "it didn't wait"
    face.flush()
    assert set(tier.entries) == {"a", "b"}
    face.close()


def test_a_full_queue_may_refuse_and_leaves_nothing_older_below(crew, colour):
    tier = Noted()
    face = made((tier, "behind"), colour=colour, options={"queue": "2KB", "when_full": "refuse"})
    face.set("b", "old")
    face.flush()
    tier.gate.clear()
    face.set("a", b"x" * 1500)
    assert tier.held.acquire(timeout=PATIENCE)
    crew.send(face.set, "b", b"y" * 1500)
    assert tier.held.acquire(timeout=PATIENCE), "what is older isn't being deleted"
    tier.gate.set()
    assert crew.back().results == [True]
    assert tier.of("delete") == [["b"]]
    assert face.cache.stats().tiers[0].refused == 1
    assert face.get("b") == b"y" * 1500
    face.flush()
    assert set(tier.entries) == {"a"}
    face.close()


def test_a_tier_that_fails_is_a_miss_and_an_event(colour):
    tier = FaultyTier(Noted())
    heard = []
    face = made((tier, "through"), colour=colour)
    face.cache._stack.tiers = (tier,)  # without its breaker
    face.cache.subscribe(heard.append)
    tier.always(Raise(OSError("gone")))
    assert face.get("a", "default") == "default"
    assert face.set("a", 1)
    assert face.get("a") == 1
    assert face.delete("a")
    assert face.get_or_load("b", lambda: 2) == 2
    assert face.incr("n") == 1
    face.clear()
    verbs = {event.verb for event in heard if isinstance(event, TierFailed)}
    assert {"get_many", "set_many", "delete_many", "clear"} <= verbs
    tier.heal()
    face.close()


def test_a_failed_write_leaves_nothing_older_below():
    tier = FaultyTier(Noted())
    face = made((tier, "through"))
    face.cache._stack.tiers = (tier,)
    face.set("a", "old")
    tier.plan("set_many", Raise(OSError("once")))
    face.set("a", "new")
    face.flush()
    assert "a" not in tier.tier.entries
    assert face.get("a") == "new"
    face.close()


def test_a_strict_tier_raises(colour):
    tier = FaultyTier(Noted())
    face = made((tier, "through"), colour=colour, options={"strict": True})
    tier.always(Raise(OSError("gone")))
    for verb, arguments in (("get", ("a",)), ("set", ("a", 1)), ("delete", ("a",))):
        with pytest.raises(OSError, match="gone"):
            getattr(face, verb)(*arguments)
    tier.heal()
    face.close()


def test_what_cannot_be_read_is_a_miss_and_removed(colour):
    tier = Noted()
    heard = []
    face = made((tier, "through"), colour=colour, on_remove=lambda *event: heard.append(event))
    list(run_sets(tier, {"a": Entry(b"\xc1", codec=1), "b": Entry(b"x", codec=99), "c": Entry(b"x", codec=3)}))
    assert face.get_many(["a", "b", "c"]) == {}
    assert not tier.entries
    assert {key for key, _, cause in heard if cause == "corrupt"} == {"a", "b", "c"}
    assert face.cache.stats().tiers[0].corrupt == 3
    face.close()


def run_sets(tier, entries):
    from forecache.flow import run

    yield run(tier.set_many(entries))


def test_a_pickle_is_only_read_under_its_key_and_namespace(colour):
    tier = Noted()
    secret = b"sixteen bytes or more"
    face = made((tier, "through"), colour=colour, codec="pickle", secret=secret, namespace="n")
    face.set("a", range(3), write="around")
    tier.entries["b"] = tier.entries["a"]
    assert face.get("a") == range(3)
    assert face.get("b", MISSING) is MISSING
    other = made((Noted(tier.entries), "through"), colour=colour, codec="pickle", secret=secret, namespace="m")
    assert other.get("a", MISSING) is MISSING
    face.close()
    other.close()


def test_what_a_tier_evicts_sinks_to_the_next(colour):
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "demote"), colour=colour)
    upper.evicts = {"old": Entry(b"sunk")}
    face.set("a", 1)
    face.flush()
    assert list(lower.entries) == ["old"]
    assert face.get("old") == b"sunk"
    face.close()


def test_what_was_changed_while_it_left_a_tier_does_not_sink():
    upper, lower = Noted(name="upper"), Noted(name="lower")
    face = made((upper, "through"), (lower, "demote"))

    class Meanwhile(Noted):
        def set_many(self, entries, *, absent=False):
            stored = yield from super().set_many(entries, absent=absent)
            if "a" in entries:
                face.delete("old")
                return Stored((), {"old": Entry(b"outdated")})
            return stored

    upper.__class__ = Meanwhile
    face.set("a", 1)
    face.flush()
    assert face.get("old", MISSING) is MISSING
    assert not lower.entries
    face.close()


def test_what_a_loader_finds_in_a_lower_tier_is_not_loaded(colour):
    tier = Noted()
    face = made((tier, "through"), colour=colour)
    face.set("a", 1, write="around")
    tier.asked.clear()
    assert face.get_or_load("a", lambda: pytest.fail("loaded")) == 1
    assert len(tier.of("get")) == 1
    assert face.get_or_load("b", lambda: 2, ttl=5) == 2
    assert len(tier.of("get")) == 2
    assert "b" in tier.entries
    face.close()


def test_threads_count_in_a_shared_tier(crew, colour):
    entries = {}
    faces = [made((Noted(entries, shared=True), "behind"), colour=colour) for _ in range(2)]

    def count(face):
        for _ in range(100):
            face.incr("n")

    for face in faces * 2:
        crew.send(count, face)
    crew.back()
    assert not crew.errors
    assert faces[0].incr("n", 0) == 400
    for face in faces:
        face.close()


def test_threads_count_in_tiers_of_their_own(crew, colour):
    face = made((Noted(), "behind"), colour=colour, capacity="2KB")

    def count():
        for _ in range(100):
            face.incr("n")

    for _ in range(4):
        crew.send(count)
    crew.back()
    assert not crew.errors
    assert face.get("n") == 400
    face.close()


def test_only_one_of_many_adds(crew, colour):
    entries = {}
    faces = [made((Noted(entries, shared=True), "behind"), colour=colour) for _ in range(2)]
    for n in range(8):
        crew.send(faces[n % 2].add, "a", n)
    assert sorted(crew.back().results) == [False] * 7 + [True]
    for face in faces:
        face.close()


def test_a_value_is_popped_once(crew, colour):
    entries, counters = {}, Counters()
    faces = [made((Counting(entries, view), "behind"), colour=colour) for view in (counters, Counters(counters))]
    faces[0].set("a", 1)
    faces[0].flush()
    for n in range(8):
        crew.send(faces[n % 2].pop, "a")
    assert [each for each in crew.back().results if each is not None] == [1]
    for face in faces:
        face.close()


def test_scan_and_items_are_of_all_tiers(colour):
    face = made((Noted(), "behind"), (Noted(name="other"), "demote"), colour=colour, capacity="3KB")
    face.set_many({f"k{n:02}": "v" * 200 for n in range(30)})
    assert sorted(face.scan("k*")) == [f"k{n:02}" for n in range(30)]
    face.flush()
    assert sorted(face.scan()) == [f"k{n:02}" for n in range(30)]
    assert len(face.cache) == 30
    assert dict(face.cache.items())["k07"] == "v" * 200
    assert "k07" in face.cache
    del face.cache["k07"]
    with pytest.raises(KeyError):
        face.cache["k07"]
    with pytest.raises(KeyError):
        del face.cache["k07"]
    face.close()


def test_a_pinned_key_climbs_and_stays(colour):
    face = made((Noted(), "through"), colour=colour, capacity="3KB")
    face.set("a", 1, write="around")
    assert face.pin("a")
    assert not face.pin("b")
    for n in range(50):
        face.set(f"k{n}", "v" * 200)
    assert face.cache._peek("a") == 1
    face.close()


def test_a_subclass_of_users_comes_before_the_tiers():
    class Loud(Cache):
        def set(self, key, value, **options):
            return super().set(key.upper(), value, **options)

    cache = Loud(tiers=[Custom(Noted(), write="behind")])
    cache.set("a", 1)
    assert (cache.get("A"), cache.get("a")) == (1, None)
    assert isinstance(cache, Loud)
    cache.close()


def test_async_cache_with_tiers_has_its_face():
    async_cache = AsyncCache("1MB", tiers=[Custom(Noted(), write="through")])
    assert async_cache.sync.aio is async_cache
    assert type(async_cache).__name__ == "TieredFace"
    async_cache.sync.close()


def test_cached_functions_find_what_lies_below(colour):
    tier = Noted()
    cache = made((tier, "through")).cache
    calls = []

    @cache.cached(key="f:{x}")
    def f(x):
        calls.append(x)
        return x + 1

    assert f(1) == 2
    again = made((Noted(tier.entries), "through")).cache
    g = again.cached(key="f:{x}")(f.__wrapped__)
    assert g(1) == 2
    assert calls == [1]
    cache.close()
    again.close()


def test_listeners_hear_of_victims_once(colour):
    heard = []
    face = made((Noted(), "behind"), colour=colour, capacity="2KB")
    face.cache.subscribe(lambda event: heard.append(event) if isinstance(event, Removed) else None)
    for n in range(10):
        face.set(f"k{n}", "v" * 300)
    face.flush()
    assert {event.cause for event in heard} == {"size"}
    assert len({event.key for event in heard}) == len(heard)
    face.close()


class Evicting(Noted):
    """A shared tier that has something done in the middle of a swap."""

    def swap(self, key, version, entry):
        swapped = yield from super().swap(key, version, entry)
        self.meanwhile()
        return swapped


def test_what_leaves_memory_during_a_decision_does_not_come_back(colour):
    tier = Evicting(shared=True)
    face = made((tier, "through"), colour=colour)
    face.set("n", 1)

    def meanwhile():
        tier.gate.clear()  # nothing goes down until the end
        face.cache.resize("1B")
        assert face.cache._queued(0, ["n"]), "it wasn't evicted"
        face.cache.resize("1MB")

    tier.meanwhile = meanwhile
    assert face.incr("n") == 2
    assert face.get("n") == 2
    tier.gate.set()
    assert face.get("n") == 2
    face.close()


def test_what_is_on_its_way_down_stays_out_of_memory_while_all_is_cleared(crew):
    tier = Noted()
    face = made((tier, "demote"))
    face.set("a", 1)
    tier.gate.clear()
    face.cache.resize("1B")
    assert tier.held.acquire(timeout=PATIENCE), "it isn't in flight"
    face.cache.resize("1MB")
    cleared = threading.Event()

    def clear():
        face.clear()
        cleared.set()

    crew.send(clear)
    assert not cleared.is_set()
    for _ in range(PATIENCE * 1000):
        if face.cache._stack.signal._waiting:  # it waits for what is in flight
            break
        threading.Event().wait(0.001)
    face.get("a")
    tier.gate.set()
    crew.back()
    assert face.get("a", MISSING) is MISSING
    face.close()


@pytest.mark.parametrize("options", [{"ttl": 5}, {"tti": 5}])
def test_what_ends_on_its_way_down_is_a_miss(colour, clock, options):
    tier = Noted(clock=clock)
    face = made((tier, "behind"), colour=colour, clock=clock)
    face.set("a", "older", write="through")
    tier.gate.clear()
    face.set("a", 1, **options)
    clock.advance(6)
    assert face.get("a", MISSING) is MISSING
    assert face.get_many(["a"]) == {}
    assert not face.exists("a")
    tier.gate.set()
    face.close()


def test_what_can_no_longer_be_encoded_leaves_nothing_older_below():
    tier = Noted()
    face = made((tier, "demote"))
    value = [1]
    face.set("a", "older", write="through")
    tier.gate.clear()
    face.cache._put("a", value, (b"", 0), face.cache._stack.now(), b"d")
    value.append(object())
    face.cache.resize("1B")
    tier.gate.set()
    face.flush()
    assert not tier.entries
    assert face.get("a", MISSING) is MISSING
    face.close()


class Moody:
    """A codec that fails at what it is told to, with an error of its own."""

    number = 200
    fails_at = None

    def encode(self, value, place):
        if value == self.fails_at:
            raise ZeroDivisionError
        return value.encode()

    def decode(self, payload, place):
        return payload.decode()


def test_a_codec_that_fails_on_the_way_down_loses_that_value_only():
    tier, codec, heard = Noted(), Moody(), []
    face = made((tier, "demote"), codec=codec)
    face.cache.subscribe(lambda event: heard.append(event) if isinstance(event, TierFailed) else None)
    face.set_many({"a": "x", "b": "y"})
    codec.fails_at = "x"
    face.cache.resize("1B")
    face.flush()
    assert list(tier.entries) == ["b"]
    assert [(event.verb, event.keys) for event in heard] == [("encode", ("a",))]
    face.cache.resize("1MB")
    face.set("c", "z")
    face.flush()
    assert face.get_many(["a", "b", "c"]) == {"b": "y", "c": "z"}
    face.close()


@pytest.mark.parametrize("way", ["queue", "zmemory", "disk", "around"])
def test_an_immutable_entry_below_memory_takes_no_other_content(colour, tmp_path, way):
    boundary = {
        "queue": lambda: Custom(Noted(), write="behind"),
        "zmemory": lambda: ZMemory("1MB"),
        "disk": lambda: Disk(tmp_path, "8MiB"),
        "around": lambda: Custom(Noted(), write="behind"),
    }[way]()
    face = Face(Cache("1MB", tiers=[boundary]), colour)
    if way == "queue":
        face.cache._stack.tiers[0].tier.gate.clear()
    face.set("a", [1, 2], immutable=True)
    if way != "around":
        face.cache.resize("1B")
        face.cache.resize("1MB")
    if way != "queue":
        face.flush()
    for write in (None, "around", "through"):
        with pytest.raises(ImmutableError, match="'a' is immutable"):
            face.set("a", [1], write=write) if way != "around" else face.set("a", [1], write="around")
        with pytest.raises(ImmutableError, match="'a' is immutable"):
            face.set_many({"a": [1]}, write="around")
        assert face.set("a", [1, 2], write="around" if way == "around" else write)
    if way == "queue":
        face.cache._stack.tiers[0].tier.gate.set()
    assert face.get("a") == [1, 2]
    assert face.delete("a")
    assert face.set("a", [1])
    face.close()


def test_an_immutable_entry_is_so_after_a_restart(colour, tmp_path):
    with Cache("1MB", tiers=[Disk(tmp_path, "8MiB")]) as cache:
        cache.set("a", 1, immutable=True)
        cache.set("b", 1)
    face = Face(Cache("1MB", tiers=[Disk(tmp_path, "8MiB")]), colour)
    with pytest.raises(ImmutableError):
        face.set("a", 2)
    assert face.set("a", 1)
    assert face.set("b", 2)
    assert face.get_many(["a", "b"]) == {"a": 1, "b": 2}
    face.close()


class Nosy:
    """What changes the key about which it is asked."""

    def __init__(self, cache):
        self.cache = cache

    def __eq__(self, other):
        return self.cache.incr("a")

    __hash__ = None


def test_a_verb_that_comes_to_its_own_key_is_an_error(colour):
    face = made((Noted(), "behind"), colour=colour)
    face.set("a", 1)
    with pytest.raises(ReentrantLoad, match="'a' is being changed"):
        face.compare_and_set("a", Nosy(face.cache), 2)
    assert face.incr("a") == 2
    face.close()
