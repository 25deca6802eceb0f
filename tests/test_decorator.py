"""`@cache.cached` on functions of both colours."""

import asyncio
import dataclasses
import datetime
import enum
import gc
import inspect
import threading
import uuid
import weakref
from decimal import Decimal
from pathlib import PurePosixPath
from typing import NamedTuple

import pytest

from forecache import Cache, ConfigError


class Kind(enum.Enum):
    GOOD = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Range:
    low: int
    high: int


@dataclasses.dataclass
class Loose:
    low: int


class Service:
    def __init__(self, cache, region):
        self.region = region
        self.calls = 0
        self.fetch = cache.cached(key="{self.region}:{id}", ttl=60)(type(self).plain).__get__(self)

    def plain(self, id):
        self.calls += 1
        return (self.region, id)


def calls_of(cache, **options):
    """A cached function that tells how often it was called."""

    @cache.cached(**options)
    def function(*args, **kwargs):
        function.calls += 1
        return (args, kwargs)

    function.calls = 0
    return function


def test_a_function_is_called_once_for_each_of_its_arguments(cache):
    calls = []

    @cache.cached
    def double(x, y=1, *, z=2):
        calls.append((x, y, z))
        return x * 2

    assert [double(1), double(1), double(1, 1), double(x=1), double(1, y=1, z=2), double(2)] == [2, 2, 2, 2, 2, 4]
    assert calls == [(1, 1, 2), (2, 1, 2)]
    assert double(1, z=3) == 2
    assert len(calls) == 3


def test_an_async_function_is_called_once_for_each_of_its_arguments(cache):
    calls = []

    @cache.cached(ttl="1m")
    async def double(x):
        calls.append(x)
        await asyncio.sleep(0)
        return x * 2

    async def program():
        assert await asyncio.gather(*(double(x) for x in (1, 1, 2))) == [2, 2, 4]
        assert await double(1) == 2

    asyncio.run(program())
    assert sorted(calls) == [1, 2]
    assert inspect.iscoroutinefunction(double)
    assert not inspect.iscoroutinefunction(calls_of(cache))
    assert double.cache_info()[:2] == (1, 3)


def test_both_faces_have_the_decorator(cache):
    @cache.aio.cached(key="k:{x}")
    async def f(x):
        return x

    assert asyncio.run(f(1)) == 1
    assert cache.get("k:1") == 1


def test_a_template_makes_the_key_of_arguments_defaults_and_attributes(cache):
    @cache.cached(key="{point.x}:{name!r}:{width:03}:{{}}:{table[a]}")
    def f(point, name="n", *, width=7, table={"a": 1}):  # noqa: B006
        return 1

    assert f.cache_key(Point(1, 2)) == "1:'n':007:{}:1"
    assert f.cache_key(name="m", point=Point(3, 2), width=12) == "3:'m':012:{}:1"
    f(Point(1, 2))
    assert cache.get("1:'n':007:{}:1") == 1


def test_a_template_may_use_what_a_function_collects(cache):
    @cache.cached(key="{args[0]}:{kwargs[x]}:{width:{args[1]}}")
    def f(*args, width=1, **kwargs):
        return 1

    assert f.cache_key("a", 4, x=2) == "a:2:   1"


def test_a_key_may_be_made_by_a_function(cache):
    @cache.cached(key=lambda id, **_: f"user:{id}")
    def user(id, verbose=False):
        return id

    user(5, verbose=True)
    assert cache.get("user:5") == 5


def test_methods_are_cached_for_the_object_or_what_of_it_is_in_the_key(cache):
    west, east = Service(cache, "west"), Service(cache, "east")
    assert [west.fetch(1), west.fetch(1), east.fetch(1)] == [("west", 1), ("west", 1), ("east", 1)]
    assert (west.calls, east.calls) == (1, 1)

    class Plain:
        @cache.cached
        def value(self):
            return 1

        @classmethod
        @cache.cached
        def name(cls):
            return cls.__name__

        @staticmethod
        @cache.cached
        def one(x):
            return x

    with pytest.raises(TypeError, match=r"self: a .*Plain has no text that stands for its value; .*key='name:\{self.id\}'"):
        Plain().value()
    assert Plain.name() == Plain().name() == "Plain"
    assert Plain.one(1) == Plain().one(1) == 1


VALUES = [
    1,
    1.0,
    True,
    "1",
    b"1",
    None,
    ...,
    (1, ("a",)),
    (),
    Point(1, 2),
    frozenset({1, 2}),
    Kind.GOOD,
    Range(1, 2),
    int,
    Decimal(1),
    uuid.UUID(int=1),
    datetime.date(2024, 1, 1),
    datetime.datetime(2024, 1, 1),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    datetime.time(1),
    PurePosixPath("a"),
    range(3),
    (("a", "b"),),
    ("a,b",),
    ("a", "b"),
]


def test_different_values_have_different_keys_and_equal_ones_the_same(cache):
    f = calls_of(cache)
    keys = [f.cache_key(value) for value in VALUES]
    assert len(set(keys)) == len(VALUES)
    assert keys == [f.cache_key(value) for value in VALUES]
    assert f.cache_key(frozenset("abc")) == f.cache_key(frozenset("cba"))
    assert f.cache_key(a=1, b=2) == f.cache_key(b=2, a=1)
    assert f.cache_key(a=1, b=2) != f.cache_key(a=1, b="2")


class Zone(datetime.tzinfo):
    pass


SOMEWHERE = datetime.datetime(2024, 1, 1, tzinfo=Zone())


@pytest.mark.parametrize("value", [[1], {}, {1}, object(), Loose(1), ([],), bytearray(), SOMEWHERE])
def test_a_value_that_can_change_needs_a_key(cache, value):
    with pytest.raises(TypeError, match="give the function a key"):
        calls_of(cache)(value)


def test_a_call_that_the_function_would_refuse_is_a_type_error(cache):
    @cache.cached
    def f(a, /, b, *, c=1):
        return (a, b, c)

    assert f(1, 2, c=3) == f(1, b=2, c=3) == (1, 2, 3)

    @cache.cached
    def g(a, *, b):
        return (a, b)

    assert g(1, b=2) == g(b=2, a=1) == (1, 2)
    calls = [(f, (1,), {}), (f, (1, 2, 3), {}), (f, (), {"a": 1, "b": 2}), (f, (1, 2), {"d": 4})]
    calls += [(g, (1,), {}), (g, (1, 2), {}), (g, (1,), {"a": 1, "b": 2}), (g, (), {})]
    for function, args, kwargs in calls:
        with pytest.raises(TypeError):
            function(*args, **kwargs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"key": "user:{uid}"},
            r"key: got 'user:\{uid\}'; allowed: fields that are parameters of the function: id \(did you mean id\?\)",
        ),
        ({"key": "user:{}"}, r"key: got 'user:\{\}'"),
        ({"key": "user:{0}"}, r"key: got"),
        ({"key": "user:{id"}, r"key: got .*; allowed: a template such as"),
        ({"key": "{id:{width}}"}, r"key: got"),
        ({"key": 5}, r"key: got 5; allowed: a template"),
        ({"tags": ["{uid}"]}, r"tags: got '\{uid\}'"),
        ({"tags": "users"}, r"tags: got 'users'; allowed: a list of texts: \['users'\]"),
        ({"ttl": 0}, r"ttl: got 0"),
        ({"tti": "x"}, r"tti: got 'x'"),
        ({"negative_ttl": -1}, r"negative_ttl: got -1"),
    ],
)
def test_a_wrong_option_is_told_when_the_function_is_defined(cache, options, message):
    with pytest.raises(ConfigError, match=message):

        @cache.cached(**options)
        def user(id):
            return id


def test_what_cannot_be_cached_is_told_when_it_is_defined(cache):
    def generator():
        yield 1

    async def agenerator():
        yield 1

    for wrong in (generator, agenerator, "ttl", 5, int):
        with pytest.raises(ConfigError, match="function: got"):
            cache.cached(wrong)
    with pytest.raises(ConfigError, match=r"allowed: .*parameters of the function: it has none"):
        cache.cached(key="{x}")(lambda: 1)


def test_tags_times_and_owner_go_to_the_entries(cache):
    @cache.cached(key="u:{id}", ttl=10, tti=5, tags=["users", "user:{id}"], owner="o", cost=2)
    def user(id):
        return id

    user(1)
    user(2)
    assert cache.ttl("u:1") == 5
    assert cache.invalidate(tags=["user:1"]) == 1
    assert cache.invalidate(tags=["users"]) == 1


def test_a_result_of_none_is_kept_as_the_negative_ttl_says(cache, clock):
    forever, short, never = (calls_of_none(cache, negative_ttl=ttl) for ttl in (None, 5, 0))
    for function in (forever, short, never):
        function()
        function()
    assert [function.calls for function in (forever, short, never)] == [1, 1, 2]
    clock.advance(5)
    for function in (forever, short):
        function()
    assert [function.calls for function in (forever, short)] == [1, 2]


def calls_of_none(cache, **options):
    @cache.cached(**options)
    def function():
        function.calls += 1

    function.calls = 0
    return function


def test_cache_info_counts_this_function_and_clear_empties_only_it(cache):
    f, g = calls_of(cache), calls_of(cache)
    for x in (1, 1, 2):
        f(x)
        g(x)
    cache.set("other", 1)
    assert f.cache_info() == (1, 2, 1_000_000, 2)
    assert f.cache_info().hits == 1, "looking counts nothing"
    f.cache_clear()
    assert f.cache_info() == (0, 0, 1_000_000, 0)
    assert g.cache_info() == (1, 2, 1_000_000, 2)
    assert cache.get("other") == 1
    f(1)
    f(1)
    assert f.cache_info() == (1, 1, 1_000_000, 1)


def test_functions_of_one_name_do_not_answer_for_one_another(cache):
    def make(factor):
        @cache.cached
        def times(x):
            return x * factor

        return times

    assert [make(2)(5), make(3)(5)] == [10, 15]


def test_the_wrapper_looks_like_the_function(cache):
    def user(id: int, verbose: bool = False) -> str:
        """Finds a user."""
        return str(id)

    cached = cache.cached(user)
    assert (cached.__name__, cached.__doc__, cached.__wrapped__) == ("user", "Finds a user.", user)
    assert inspect.signature(cached) == inspect.signature(user)


def test_threads_share_one_call(cache, crew):
    calls, go = [], threading.Event()

    @cache.cached
    def slow(x):
        calls.append(x)
        assert go.wait(20)
        return x

    for _ in range(4):
        crew.send(slow, 1)
    while cache.stats().misses < 4:
        pass
    go.set()
    assert crew.back().results == [1] * 4
    assert calls == [1]


def test_a_call_that_raises_is_not_kept(cache):
    @cache.cached
    def fail():
        raise LookupError("nothing there")

    for _ in range(2):
        with pytest.raises(LookupError, match="nothing there"):
            fail()
    assert fail.cache_info()[:2] == (0, 2)


def test_a_function_that_calls_itself_with_other_arguments_is_fine():
    cache = Cache()

    @cache.cached
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(40) == 102334155


def test_a_cached_function_is_collected_with_its_cache():
    cache = Cache()
    cached = calls_of(cache)
    cached(1)
    gone = weakref.ref(cache)
    del cache, cached
    gc.collect()
    assert gone() is None


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2
    RUN = 4


def test_flags_are_told_apart_whether_they_have_a_name_or_not(cache):
    @cache.cached
    def same(rights, **more):
        return rights, more

    for rights in (Rights(0), Rights.READ, Rights.READ | Rights.WRITE, Rights.READ | Rights.RUN, Rights(8), Rights(16)):
        assert same(rights)[0] is rights or same(rights)[0] == rights


def test_names_of_keywords_cannot_pass_for_others(cache):
    @cache.cached
    def given(x, **more):
        return sorted(more)

    assert given(1, **{"y=4,z": 3}) == ["y=4,z"]
    assert given(1, y=4, z=3) == ["y", "z"]


def test_a_subclass_that_adds_to_a_value_needs_a_key(cache):
    class Tagged(tuple):
        pass

    value = Tagged((1,))
    value.tag = "x"

    @cache.cached
    def first(pair):
        return pair

    with pytest.raises(TypeError, match="give the function a key"):
        first(value)
