"""Every operation of B1, in both faces."""

import enum
from datetime import timedelta
from decimal import Decimal

import pytest

from forecache import MISSING, AsyncCache, Cache, CacheClosed, ConfigError, ImmutableError
from forecache.testing import FakeClock


class Colour(str, enum.Enum):
    RED = "red"


def test_what_was_set_is_got(face):
    assert face.set("a", [1]) is True
    assert face.get("a") == [1]
    assert face.get("b") is None
    assert face.get("b", 7) == 7


def test_a_miss_is_told_from_a_cached_none(face):
    face.set("a", None)
    assert face.get("a", MISSING) is None
    assert face.get("b", default=MISSING) is MISSING
    assert not MISSING


def test_delete_pop_and_exists_tell_whether_there_was_an_entry(face):
    face.set("a", 1)
    face.set("b", 2)
    assert face.exists("a") is True
    assert face.delete("a") is True
    assert face.delete("a") is False
    assert face.exists("a") is False
    assert face.pop("b") == 2
    assert face.pop("b") is None
    assert face.pop("b", 5) == 5


def test_add_stores_only_what_is_not_there(face):
    assert face.add("a", 1) is True
    assert face.add("a", 2) is False
    assert face.get("a") == 1


def test_many_at_a_time(face):
    assert face.set_many({"a": 1, "b": 2, "c": None}) == 3
    assert face.get_many(["a", "c", "x"]) == {"a": 1, "c": None}
    assert face.delete_many(["a", "b", "x"]) == 2
    assert face.scan() == ["c"] if face.colour == "async" else list(face.scan()) == ["c"]


def test_times_to_live_and_to_idle_end_entries(face, clock):
    face.set("a", 1, ttl=10)
    face.set("b", 1, ttl="1m", tti=timedelta(seconds=10))
    face.set("c", 1)
    assert face.ttl("a") == 10
    assert face.ttl("c") is None
    assert face.ttl("x") == 0.0
    clock.advance(9)
    assert face.get("b") == 1
    clock.advance(9)
    assert face.get("a") is None
    assert face.get("b") == 1
    clock.advance(11)
    assert face.get("b") is None
    assert face.get("c") == 1


def test_touch_gives_an_entry_new_times(face, clock):
    face.set("a", 1, ttl=10)
    clock.advance(9)
    assert face.touch("a", ttl=20) is True
    clock.advance(19)
    assert face.get("a") == 1
    clock.advance(1)
    assert face.get("a") is None
    assert face.touch("a", ttl=20) is False


def test_incr_counts_and_keeps_the_time_an_entry_has(face, clock):
    assert face.incr("n", ttl=10) == 1
    clock.advance(6)
    assert face.incr("n", 5, ttl=100) == 6
    assert face.ttl("n") == 4
    clock.advance(4)
    assert face.incr("n", -1, initial=100) == 99
    assert face.ttl("n") is None


def test_incr_takes_any_number_but_nothing_else(face):
    assert face.incr("half", 0.5) == 0.5
    assert face.incr("cents", Decimal("0.01"), initial=Decimal(1)) == Decimal("1.01")
    face.set("text", "1")
    face.set("flag", True)
    for wrong in (
        lambda: face.incr("text"),
        lambda: face.incr("flag"),
        lambda: face.incr("n", True),
        lambda: face.incr("n", "1"),
    ):
        with pytest.raises(TypeError, match="must be a number, not"):
            wrong()
    assert face.get("text") == "1"


def test_compare_and_set_compares_by_equality(face, clock):
    assert face.compare_and_set("a", MISSING, [1], ttl=10) is True
    assert face.compare_and_set("a", MISSING, [2]) is False
    clock.advance(5)
    assert face.compare_and_set("a", [1], [2]) is True
    assert face.ttl("a") == 5
    assert face.compare_and_set("a", [2], [3], ttl=60) is True
    assert face.ttl("a") == 60
    assert face.compare_and_set("a", [1], [4]) is False
    assert face.compare_and_set("x", None, 1) is False
    assert face.get("a") == [3]


def test_no_increment_is_lost_between_threads(cache, crew):
    for _ in range(4):
        crew.send(lambda: [cache.incr("n") for _ in range(2000)])
    crew.back()
    assert cache.get("n") == 8000


def test_compare_and_set_lets_one_thread_through(cache, crew):
    cache.set("turn", 0)
    wins = []

    def play():
        for turn in range(500):
            if cache.compare_and_set("turn", turn, turn + 1):
                wins.append(turn)  # noqa: PERF401  the condition has an effect

    for _ in range(4):
        crew.send(play)
    crew.back()
    assert sorted(wins) == list(range(cache.get("turn")))


def test_clear_empties_everything_or_what_an_owner_stored(face):
    face.set("a", 1, owner="x")
    face.set("b", 2, owner="y")
    face.set("c", 3)
    face.clear(owner="x")
    assert face.get_many(["a", "b", "c"]) == {"b": 2, "c": 3}
    face.clear()
    assert face.get_many(["a", "b", "c"]) == {}


def test_tags_invalidate_what_carries_them(face):
    face.set("a", 1, tags=["x", "y"])
    face.set("b", 2, tags=["y"])
    face.set("c", 3)
    assert face.invalidate(tags=["x"]) == 1
    assert face.invalidate(tags=["x", "y"]) == 1
    assert face.get_many(["a", "b", "c"]) == {"c": 3}


def test_scan_finds_keys_by_pattern(face):
    face.set_many({f"user:{n}": n for n in range(600)})
    face.set("page:1", 1)
    assert len(set(face.scan())) == 601
    assert sorted(face.scan("user:1?")) == [f"user:{n}" for n in range(10, 20)]
    assert list(face.scan("p*")) == ["page:1"]
    assert list(face.scan(pattern="x*")) == []


def test_scan_refuses_a_pattern_that_is_no_text(cache):
    with pytest.raises(TypeError, match="pattern: expected a str, got int"):
        cache.scan(7)


def test_an_immutable_entry_takes_no_other_content(face):
    face.set("a", [1], immutable=True)
    assert face.set("a", [1]) is True
    for overwrite in (
        lambda: face.set("a", [2]),
        lambda: face.compare_and_set("a", [1], [2]),
        lambda: face.set_many({"a": [2]}),
    ):
        with pytest.raises(ImmutableError, match="'a' is immutable"):
            overwrite()
    assert face.get("a") == [1]
    face.set("n", 1, immutable=True)
    with pytest.raises(ImmutableError):
        face.incr("n")
    assert face.delete("a") is True
    assert face.set("a", [2]) is True


def test_a_pinned_entry_stays_until_it_is_unpinned(clock):
    cache = Cache("1MB", max_entries=10, clock=clock)
    cache.set("kept", 1, pin=True)
    cache.set("late", 2)
    assert cache.pin("late") is True
    assert cache.pin("absent") is False
    cache.set_many({str(n): n for n in range(100)})
    assert cache.get_many(["kept", "late"]) == {"kept": 1, "late": 2}
    assert cache.unpin("kept") is True
    cache.unpin("late")
    cache.set_many({str(n): n for n in range(100, 400)})
    assert cache.get_many(["kept", "late"]) == {}


def test_a_pin_does_not_hold_against_time_or_delete(face, clock):
    face.set("a", 1, pin=True, ttl=5)
    face.set("b", 1, pin=True)
    clock.advance(5)
    assert face.get("a") is None
    assert face.delete("b") is True


def test_resize_evicts_down_to_the_new_bound(face, cache):
    face.set_many({str(n): "x" * 100 for n in range(1000)})
    face.resize("10KB")
    assert cache.stats().weight <= 10_000
    face.resize(max_entries=5)
    assert len(cache) <= 5
    for wrong in (lambda: face.resize("much"), lambda: face.resize(max_entries=0), lambda: face.resize(True)):
        with pytest.raises(ConfigError):
            wrong()


def test_a_value_larger_than_the_cache_is_refused_and_nothing_is_evicted_for_it(face, cache):
    events = []
    cache.subscribe(events.append)
    face.set("a", 1)
    assert face.set("huge", "x" * 2_000_000) is False
    assert [type(event).__name__ for event in events] == ["Refused"]
    assert events[0].key == "huge"
    assert face.get_many(["a", "huge"]) == {"a": 1}
    assert face.incr("a", 1 << 20_000_000) > 0, "what isn't kept is told all the same"


def test_flush_returns_at_once_and_close_ends_everything(face):
    face.set("a", 1)
    face.flush()
    face.close()
    face.close()
    assert face.cache.closed
    assert face.cache.aio.closed
    assert "closed" in repr(face.cache)
    uses = (
        lambda: face.get("a"),
        lambda: face.set("a", 1),
        lambda: face.incr("a"),
        lambda: list(face.scan()),
        lambda: face.get_or_load("a", lambda: 1),
        face.flush,
    )
    for use in uses:
        with pytest.raises(CacheClosed):
            use()


@pytest.mark.parametrize("key", [1, None, b"a", ("a",)])
def test_a_key_that_is_no_text_is_a_type_error(face, key):
    operations = ("get", "delete", "pop", "exists", "touch", "ttl", "pin", "unpin", "incr")
    for name in operations:
        with pytest.raises(TypeError, match="expected a str"):
            getattr(face, name)(key)
    for use in (
        lambda: face.set(key, 1),
        lambda: face.set_many({key: 1}),
        lambda: face.get_many([key]),
        lambda: face.get_or_load(key, lambda: 1),
        lambda: face.compare_and_set(key, 1, 2),
    ):
        with pytest.raises(TypeError, match="expected a str"):
            use()


def test_members_of_a_text_enumeration_stand_for_their_text(face):
    face.set(Colour.RED, 1)
    assert face.get("red") == 1
    assert face.get_or_load(Colour.RED, lambda: 2) == 1
    assert face.delete(Colour.RED)
    assert face.get_or_load(Colour.RED, lambda key: [key]) == ["red"]
    assert face.get_many(["red"])


def test_keys_of_any_text_are_fine_but_lone_surrogates_are_not(face):
    for key in ("", "ключ", "🗝", "a" * 100_000, "\0"):
        assert face.set(key, key) is True
        assert face.get(key) == key
    with pytest.raises(ValueError, match="surrogates"):
        face.set("\ud800", 1)
    assert face.get("\ud800") is None


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), True, "soon", timedelta(0), [], "-5s"])
def test_a_ttl_that_is_no_duration_is_an_error_that_says_so(face, ttl):
    for use in (
        lambda: face.set("a", 1, ttl=ttl),
        lambda: face.touch("a", ttl=ttl),
        lambda: face.get_or_load("a", lambda: pytest.fail("was called"), ttl=ttl),
    ):
        with pytest.raises(ConfigError, match=r"ttl: got .*; allowed: seconds above 0"):
            use()
    assert face.get("a") is None


def test_a_copying_cache_shares_no_object_with_anybody(clock):
    cache = Cache(copy=True, clock=clock)
    value = {"list": [1]}
    cache.set("a", value)
    value["list"].append(2)
    got = cache.get("a")
    got["list"].append(3)
    next(iter(cache.values()))["list"].append(4)
    cache.get_many(["a"])["a"]["list"].append(5)
    loaded = cache.get_or_load("b", lambda: [1])
    loaded.append(2)
    cache.get_or_load("b", list).append(3)
    assert cache.get("a") == {"list": [1]}
    assert cache.get("b") == [1]


def test_without_copy_the_very_object_comes_back(face):
    value = object()
    face.set("a", value)
    assert face.get("a") is value


def test_a_weigher_counts_in_its_own_unit(clock):
    cache = Cache(10, weigher=lambda key, value: value, clock=clock)
    assert cache.set("a", 4)
    assert cache.set("b", 6)
    assert cache.stats().weight == 10
    assert cache.set("c", 11) is False
    cache.set("d", 1)
    assert cache.stats().weight <= 10


def test_key_groups_have_their_own_times(clock):
    cache = Cache(ttl=100, groups={"token:*": 5, "page:*": {"ttl": "1m", "tti": 10}}, clock=clock)
    cache.set_many({"token:1": 1, "page:1": 1, "x": 1})
    cache.set("token:2", 1, ttl=50)
    assert [cache.ttl(key) for key in ("token:1", "token:2", "page:1", "x")] == [5, 50, 10, 100]


def test_jitter_cuts_a_share_of_the_time(clock):
    cache = Cache(ttl=100, jitter=0.2, seed=1, clock=clock)
    cache.set_many({str(n): n for n in range(200)})
    times = [cache.ttl(str(n)) for n in range(200)]
    assert 80 <= min(times) < 85
    assert 95 < max(times) <= 100


def test_a_cache_of_its_own_for_async_programs():
    import asyncio

    async def program():
        async with AsyncCache("10MB", ttl="5m") as cache:
            assert cache.sync.aio is cache
            await cache.set("a", 1)
            assert cache.sync.get("a") == 1
            assert "async face" in repr(cache)
        return cache

    assert asyncio.run(program()).closed


def test_both_faces_can_be_made_from_every_source(tmp_path):
    file = tmp_path / "cache.toml"
    file.write_text('[memory]\ncapacity = "2MB"\n')
    for kind in (Cache, AsyncCache):
        made = [
            kind.from_url("memory://?capacity=2MB"),
            kind.from_toml(file),
            kind.from_env({"FORECACHE_CAPACITY": "2MB"}),
        ]
        assert [each.sync.config.capacity for each in made] == [2_000_000] * 3
        assert all(type(each) is kind for each in made)


def test_a_clock_only_goes_forward():
    clock = FakeClock()
    clock.advance(1.5)
    assert clock.time() == 1.5
    with pytest.raises(ValueError, match="seconds"):
        clock.advance(-1)


def test_missing_is_no_value(face, cache):
    for store in (face.set, face.add):
        with pytest.raises(ValueError, match="MISSING stands for no value"):
            store("a", MISSING)
    with pytest.raises(ValueError, match="MISSING stands for no value"):
        face.get_or_load("a", lambda: MISSING)
    assert face.exists("a") is False


def test_a_value_nested_deeper_than_a_stack_is_sized(cache):
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert cache.set("nested", nested)
    cache.delete("nested")
    while nested:  # taken apart by hand: Python's own way down is as deep as the value
        nested = nested.pop()


def test_a_value_that_changes_while_it_is_sized_is_stored(cache):
    class Growing:
        def __init__(self, other):
            self.other = other

        def __sizeof__(self):
            self.other[len(self.other)] = 1
            return 10

    value = {}
    value.update({key: Growing(value) for key in range(5)})
    assert cache.set("growing", value)


def test_an_object_that_cannot_tell_its_size_is_stored(cache):
    class Shy:
        def __sizeof__(self):
            raise RuntimeError("no")

    assert cache.set("shy", Shy())


def test_tags_count_towards_the_budget():
    plain, tagged = Cache(), Cache()
    plain.set("a", 1)
    tagged.set("a", 1, tags=["t" * 1000])
    assert tagged.stats().weight >= plain.stats().weight + 1000


def test_an_entry_that_outgrows_its_place_stays(face):
    small = Cache(100, weigher=lambda key, value: value, policy="lfu")
    for number in range(10):
        small.set(f"k{number}", 10)
    assert small.incr("k0", 1) == 11
    assert small.get("k0") == 11
    assert small.stats().weight <= 100


def test_a_touch_without_arguments_leaves_a_time_of_its_own(face, clock):
    face.set("a", 1, ttl=10)
    clock.advance(4)
    assert face.touch("a")
    assert face.ttl("a") == pytest.approx(6)


def test_a_pin_outlasts_the_value_it_was_set_on(clock):
    pinned = Cache(max_entries=2)
    pinned.set("a", 1, pin=True)
    pinned.set("a", 2)
    for number in range(10):
        pinned.set(f"k{number}", number)
    assert pinned.get("a") == 2
