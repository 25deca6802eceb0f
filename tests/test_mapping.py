"""The mapping interface: what a program that used a dict expects, and where a cache differs."""

import copy
import pickle
from collections.abc import Mapping, MutableMapping

import pytest

from forecache import MISSING, Cache


def test_a_cache_is_a_mutable_mapping(cache):
    assert isinstance(cache, MutableMapping)
    assert isinstance(cache, Mapping)
    cache["a"] = 1
    assert cache["a"] == 1
    assert "a" in cache
    assert len(cache) == 1
    del cache["a"]
    for miss in (lambda: cache["a"], lambda: cache.__delitem__("a")):
        with pytest.raises(KeyError, match="'a'"):
            miss()


def test_keys_items_and_values_are_views(cache):
    content = {f"k{n}": n for n in range(600)}
    cache.update(content)
    assert set(cache) == set(cache.keys()) == set(content)
    assert dict(cache.items()) == content
    assert sorted(cache.values()) == sorted(content.values())
    assert ("k1", 1) in cache.items()
    assert ("k1", 2) not in cache.items()
    assert "k1" not in cache.items()
    assert 599 in cache.values()
    assert 600 not in cache.values()
    assert cache.keys() & {"k1", "x"} == {"k1"}
    assert len(cache.items()) == 600
    assert cache.stats().hits == 0, "views read without counting"


def test_a_cache_may_change_while_it_is_read(cache):
    cache.update({str(n): n for n in range(1000)})
    for key in cache:
        cache.delete(key)
        cache.set("new" + key, 1)
        if len(cache) > 1500:
            break
    for key, value in cache.items():
        assert cache.pop(key) == value
    assert cache.get("0") is None


def test_expired_entries_are_not_in_it(cache, clock):
    cache.set("a", 1, ttl=5)
    cache.set("b", 2)
    clock.advance(5)
    assert len(cache) == 1
    assert list(cache.items()) == [("b", 2)]
    assert "a" not in cache


def test_update_takes_what_a_dict_takes(cache):
    cache.update({"a": 1}, b=2)
    cache.update([("c", 3)])
    cache.update(d=4)
    assert dict(cache.items()) == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_setdefault_sets_only_what_is_not_there(cache):
    assert cache.setdefault("a", 1) == 1
    assert cache.setdefault("a", 2) == 1
    assert cache.setdefault("b") is None
    assert cache.get("b", MISSING) is None
    assert len(cache.setdefault("huge", "x" * 2_000_000)) == 2_000_000
    copying = Cache(copy=True)
    copying.setdefault("a", []).append(1)
    copying.setdefault("a", []).append(2)
    assert copying.get("a") == []


def test_pop_returns_its_default_and_popitem_takes_any(cache):
    assert cache.pop("a") is None
    assert cache.pop("a", 5) == 5
    cache.update(a=1, b=2)
    assert dict([cache.popitem(), cache.popitem()]) == {"a": 1, "b": 2}
    with pytest.raises(KeyError, match="empty"):
        cache.popitem()


def test_an_empty_cache_is_true_and_equal_only_to_itself(cache):
    other = Cache()
    assert cache
    assert cache == cache  # noqa: PLR0124
    assert cache != other
    assert cache != {}
    assert len({cache, other, cache}) == 2


def test_a_cache_can_neither_be_pickled_nor_copied(cache):
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Cache can't be pickled or copied: make one in each process"):
            attempt(cache)
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert copy.deepcopy([MISSING])[0] is MISSING


def test_a_cache_says_what_it_holds(cache):
    cache.set("a", 1)
    assert repr(cache).startswith("<Cache of 1 entries, ")
    assert repr(cache).endswith(" of 1000000, s3fifo>")


def test_a_subclass_may_add_methods():
    class Users(Cache):
        def user(self, number):
            return self.get_or_load(f"user:{number}", lambda: {"id": number})

    users = Users("1MB", ttl=5)
    assert users.user(1) == {"id": 1}
    assert type(Users.from_url("memory://")) is Users
    assert "Users" in repr(users)
