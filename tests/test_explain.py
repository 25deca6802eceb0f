"""Which entries leave next, where a key is, and why it isn't: `candidates` and `explain`, in both colours."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiers_made import Noted, made

from forecache import POLICIES, Cache, CacheClosed, ConfigError, Owner
from forecache.explain import Candidate, Place
from forecache.testing import DictTier

WORDS = {
    "lru": "least recently used",
    "lfu": "least frequently used: no hit since it came",
    "s3fifo": "no hit",
    "arc": "asked for once",
    "random": "drawn at random",
    "sieve": "no hit since the hand last passed",
    "clock2q+": "no hit",
    "tinylfu": "counted lately",
    "adaptive": "used once, ",
    "logistic": "used once, ",
    "learned": "entries like it are asked for again with ",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_tells_who_leaves_next_and_why(policy):
    cache = Cache(max_entries=20, policy=policy, seed=1)
    cache.set_many({f"k{n}": n for n in range(20)})
    candidates = cache.candidates(20)
    assert {each.key for each in candidates} == set(cache)
    scores = [each.score for each in candidates]
    assert scores == sorted(scores, reverse=True)
    assert (scores[0], scores[-1]) == (1.0, 0.0)
    assert all(WORDS[policy] in each.reason for each in candidates)
    assert [each.key for each in cache.candidates(3)] == [each.key for each in candidates[:3]]
    assert cache.candidates(0) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_who_was_evicted_is_told_with_the_policys_word(policy, clock):
    cache = Cache(max_entries=20, policy=policy, seed=1, clock=clock)
    cache.set_many({f"k{n}": n for n in range(40)})
    clock.advance(90)
    gone = [f"k{n}" for n in range(40) if f"k{n}" not in cache]
    assert len(gone) == 20
    for key in gone:
        told = cache.explain(key)
        assert (told.state, told.places, told.left.cause) == ("evicted", (), "evicted")
        assert told.left.seconds == pytest.approx(90, abs=0.05)
        assert WORDS[policy] in told.left.reason
        assert str(told) == f"{key!r} isn't there: evicted 90 s ago: {told.left.reason}"


def test_the_next_to_leave_leaves(face):
    face.set_many({"a": 1, "b": 2, "c": 3})
    cache = Cache(max_entries=3, policy="lru")
    cache.set_many({"a": 1, "b": 2, "c": 3})
    cache.get("a")
    first = cache.candidates(1)
    assert first == [Candidate("b", 1.0, "least recently used")]
    cache.set("d", 4)
    assert "b" not in cache
    assert len(face.candidates(2)) == 2


def test_what_is_pinned_or_has_ended_is_no_candidate(clock):
    cache = Cache(max_entries=10, policy="lru", clock=clock)
    cache.set("pinned", 1, pin=True)
    cache.set("short", 1, ttl=5)
    cache.set_many({"a": 1, "b": 2})
    clock.advance(6)
    assert [(each.key, each.score) for each in cache.candidates()] == [("a", 1.0), ("b", 0.0)]


def test_owners_of_low_priority_are_the_next():
    cache = Cache(max_entries=4, policy="lru", owners={"batch": Owner(priority=-1)})
    cache.set("a", 1)
    cache.set("b", 1, owner="batch")
    assert [each.key for each in cache.candidates()] == ["b", "a"]


def test_learned_tells_uses_age_and_chance():
    cache = Cache(max_entries=100, policy="learned", seed=1)
    cache.set("often", 1)
    for _ in range(3):
        cache.get("often")
    cache.set_many({f"k{n}": n for n in range(50)})
    reason = cache.explain("often").places[0].reason
    assert reason.startswith("used 4 times, 50 requests ago; entries like it are asked for again with ")
    assert reason.endswith(" % chance within the next 100 requests")


@pytest.mark.parametrize("given", [-1, 1.5, True, "3", 2**31])
def test_a_wrong_number_is_refused(cache, given):
    with pytest.raises(ConfigError, match=r"n: got .*; allowed: a whole number from 0 to 2\*\*31 - 1"):
        cache.candidates(given)


def test_what_is_there_is_told(clock, face):
    face.set("a", "x" * 100, ttl=60, tags=["t", "u"], owner="web", immutable=True, pin=True)
    clock.advance(20)
    told = face.explain("a")
    (place,) = told.places
    assert (told.state, bool(told), told.left) == ("there", True, None)
    assert (place.tier, place.ttl, place.owner, place.tags) == ("memory", 40.0, "web", ("t", "u"))
    assert (place.immutable, place.pinned, place.age, place.reason) == (True, True, None, "")
    assert str(told) == f"'a' is in memory: weight {place.weight:,}, 40 s left, owner 'web', tags 't', 'u', immutable, pinned"
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.key = "b"


def test_every_way_of_leaving_is_told(clock, face):
    face.set_many({"deleted": 1, "popped": 1, "again": 1})
    face.set("expired", 1, ttl=5)
    face.set("invalidated", 1, tags=["t"])
    face.set("owned", 1, owner="o")
    face.set("over", 1)
    face.delete("deleted")
    face.pop("popped")
    face.delete("again")
    face.set("again", 2)
    face.invalidate(tags=["t"])
    face.clear(owner="o")
    clock.advance(6)
    assert face.set("over", "x" * 2_000_000) is False
    states = {
        key: face.explain(key).state for key in ("deleted", "popped", "expired", "invalidated", "owned", "over", "again", "new")
    }
    assert states == {
        "deleted": "deleted",
        "popped": "deleted",
        "expired": "expired",
        "invalidated": "invalidated",
        "owned": "deleted",
        "over": "refused",
        "again": "there",
        "new": "never seen",
    }
    assert str(face.explain("over")).endswith("refused 0 s ago: too large beside what is pinned")
    assert str(face.explain("new")) == "'new' isn't there: never seen in memory"
    face.clear()
    assert face.explain("again").state == "deleted"


def test_who_comes_after_others_is_told_that_it_wasnt_admitted():
    cache = Cache(max_entries=2, owners={"batch": -1})
    cache.set_many({"a": 1, "b": 2})
    assert cache.set("c", 3, owner="batch") is False
    assert "what is there was preferred" in str(cache.explain("c"))


def test_what_left_longer_ago_than_the_last_removals_is_not_known(cache):
    cache.set("first", 1)
    cache.delete("first")
    for n in range(5000):
        cache.set(f"k{n}", n)
        cache.delete(f"k{n}")
    told = cache.explain("first")
    assert (told.state, told.left) == ("not known", None)
    assert 256 <= told.remembered <= 4096
    assert "left longer ago than the last" in str(told)
    assert cache.explain("k4999").state == "deleted"


def test_nobody_takes_note_of_a_question(cache):
    cache.set("a", 1, tti=60)
    before = cache.stats()
    cache.explain("a"), cache.explain("b"), cache.candidates()
    after = cache.stats()
    assert (after.hits, after.misses, after.sets) == (before.hits, before.misses, before.sets)


def test_wrong_keys_and_closed_caches_are_refused(face):
    with pytest.raises(TypeError, match="key: expected a str"):
        face.explain(7)
    assert face.explain("\ud800").state == "never seen"
    face.close()
    for call in (lambda: face.explain("a"), face.candidates):
        with pytest.raises(CacheClosed):
            call()


def test_tiers_are_told_and_nothing_climbs(colour, clock):
    tier = Noted(clock=clock)
    face = made((tier, "through"), colour=colour, clock=clock, max_entries=2, policy="lru")
    face.set("a", 1, ttl=600, tags=["t"], owner="web")
    face.set_many({"b": 2, "c": 3})
    face.flush()
    told = face.explain("a")
    (place,) = told.places
    assert (told.state, place.tier, place.owner, place.tags) == ("there", tier.name, "web", ("t",))
    assert 0 < place.ttl <= 600
    assert told.left.cause == "evicted"
    assert f"in {tier.name}: " in str(told)
    assert "not in memory: evicted" in str(told)
    assert face.cache._peek("a") is None
    assert face.stats().promoted == 0
    assert [each.tier for each in face.explain("c").places] == ["memory", tier.name]
    assert face.explain("d").state == "never seen"
    face.delete("a")
    assert not face.explain("a")
    face.close()


class HeldUp(Noted):
    """Deletes, which are in line, don't wait while its gate is shut."""

    def delete_many(self, keys):
        return DictTier.delete_many(self, keys)


@pytest.mark.parametrize("mode", ["demote", "behind"])
def test_what_is_on_its_way_down_is_told_and_stays_there(colour, clock, mode):
    tier = HeldUp(clock=clock)
    face = made((tier, mode), colour=colour, clock=clock, max_entries=2, policy="lru")
    tier.gate.clear()
    face.set("a", 1, ttl=5, tags=["t"])
    face.set_many({"b": 2, "c": 3})
    (place,) = face.explain("a").places
    assert (place.tier, place.ttl, place.tags) == ("queue", 5, ("t",))
    assert [face.cache._peek(key) for key in "abc"] == [None, 2, 3]
    clock.advance(6)
    assert not face.explain("a")
    tier.gate.set()
    face.close()


STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "get", "delete", "expire", "clear"]), st.sampled_from("abcdefgh")), min_size=1, max_size=60
)


@given(policy=st.sampled_from(POLICIES), steps=STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
def test_whatever_was_done_each_key_is_explained_rightly(policy, steps):
    cache = Cache(max_entries=4, policy=policy, seed=1)
    ended = {}
    unsubscribe = cache.subscribe(lambda event: ended.__setitem__(event.key, event.cause))
    for verb, key in steps:
        if verb == "set":
            cache.set(key, 1)
        elif verb == "clear":
            cache.clear()
        elif verb == "expire":
            cache.touch(key, ttl=1e-9)
            cache.get(key)
        else:
            getattr(cache, verb)(key)
    there = {key for key in "abcdefgh" if key in cache}
    told = {key: cache.explain(key).state for key in "abcdefgh"}
    names = {"size": "evicted", "explicit": "deleted", "expired": "expired"}
    for key, state in told.items():
        assert state == ("there" if key in there else names[ended[key]] if key in ended else "never seen")
    assert {each.key for each in cache.candidates(10)} == there
    unsubscribe()


def test_a_value_that_waits_to_be_encoded_has_no_size_yet():
    assert str(Place("queue", 0, None, None, "", (), False, False)) == "in queue: not encoded yet"
    assert str(Place("queue", 7, None, None, "", (), False, False)) == "in queue: 7 bytes"
