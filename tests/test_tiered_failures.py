"""What comes of values that tiers or codecs fail at, in both colours."""

import threading

import pytest
from servers.process import wait_until
from tiers_made import Noted, made

from forecache import (
    MISSING,
    Cache,
    CodecError,
    ConfigError,
)
from forecache._core import Entry
from forecache.events import TierFailed
from forecache.flow import run
from forecache.testing import DictTier, FaultyTier, Raise
from forecache.tiers.boundary import Custom


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


def test_where_no_thread_can_be_started_writes_wait_and_nobody_hears_of_it(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    slow = DictTier(name="slow")
    with monkeypatch.context() as patch, Cache(tiers=[DictTier(name="one"), Custom(slow, write="behind")]) as cache:
        patch.setattr("forecache.threads._idle", [])
        patch.setattr(threading.Thread, "start", refuse)
        assert cache.set("a", 1)
        assert cache.get("a") == 1
        assert cache.delete("b") is False
        cache.flush()
        assert list(run(slow.get_many(["a"]))) == ["a"]
        patch.undo()
        cache.set("c", 2)
        cache.set("d", 3)
        wait_until(lambda: len(run(slow.get_many(["c", "d"]))) == 2, "what was queued is written")
