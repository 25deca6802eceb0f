"""What `Tier` promises, one function a promise; `suite.py` has them checked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from forecache._core import Entry
from forecache.errors import TierUnavailable
from forecache.flow import Flow
from forecache.tiers.tier import Tier

if TYPE_CHECKING:
    from forecache.testing.suite import Scene

MINUTE = 60_000
FIELDS = ("payload", "codec", "written", "soft", "hard", "time_to_idle", "owner", "tags", "cost", "immutable", "pinned")


def same(found: object, expected: object, what: str) -> None:
    """Asserts, and tells what was found where."""
    assert found == expected, f"{what}: expected {expected!r:.300}, found {found!r:.300}"


def an_entry_comes_back_as_it_was(scene: Scene) -> None:
    """All that an entry carries survives, but its version."""
    now = scene.now()
    plain = Entry(b"payload", codec=1)
    full = Entry(
        b"\x00\xff" * 40,
        codec=200,
        written=now,
        soft=now + MINUTE,
        hard=now + 2 * MINUTE,
        time_to_idle=MINUTE,
        owner="acme",
        tags=["users", "büro"],
        cost=2.5,
        immutable=True,
        pinned=True,
    )
    scene.set({"plain": plain, "full": full})
    found = scene.get("plain", "full")
    same(sorted(found), ["full", "plain"], "keys")
    for key, entry in (("plain", plain), ("full", full)):
        for field in FIELDS:
            same(getattr(found[key], field), getattr(entry, field), f"{field} of {key!r}")


def what_is_not_there_is_left_out(scene: Scene) -> None:
    """A miss has no key in the answer, and empty batches are fine."""
    same(scene.get("absent"), {}, "get_many of an absent key")
    scene.set({"there": b"1"})
    same(scene.payloads("absent", "there"), {"there": b"1"}, "get_many")
    same(scene.get(), {}, "get_many of no keys")
    same(scene.delete(), set(), "delete_many of no keys")
    same(len(scene.set({}).refused), 0, "refused of no entries")


def batches_are_whole(scene: Scene) -> None:
    """Hundreds of keys in one call."""
    entries = {f"key:{number}": f"value {number}".encode() for number in range(500)}
    same(len(scene.set(entries).refused), 0, "refused entries")
    same(scene.payloads(*entries, "absent"), entries, "get_many")
    even = {f"key:{number}" for number in range(0, 500, 2)}
    same(scene.delete(*even, "absent"), even, "delete_many")
    same(scene.payloads(*entries), {key: value for key, value in entries.items() if key not in even}, "get_many")


def a_write_replaces_what_was_there(scene: Scene) -> None:
    """The latest is read, whatever its size."""
    for payload in (b"first", b"x" * 3000, b"", b"last"):
        scene.set({"key": payload})
        same(scene.payloads("key"), {"key": payload}, "get_many")
    _listed(scene, ["key"], "scan")


def an_absent_write_keeps_what_is_there(scene: Scene) -> None:
    """`absent` writes only where nothing is."""
    scene.set({"there": b"old"})
    version = scene.version("there")
    scene.set({"there": b"new", "absent": b"new"}, absent=True)
    same(scene.payloads("there", "absent"), {"there": b"old", "absent": b"new"}, "get_many after set_many(absent=True)")
    same(scene.version("there"), version, "version of what was there")


def a_delete_says_what_was_there(scene: Scene) -> None:
    """And it is gone."""
    scene.set({"a": b"1", "b": b"2"})
    same(scene.delete("a", "absent"), {"a"}, "delete_many")
    same(scene.delete("a"), set(), "delete_many again")
    same(scene.payloads("a", "b"), {"b": b"2"}, "get_many")


def what_has_expired_is_not_there(scene: Scene) -> None:
    """Not from `hard` on, to the millisecond, by no verb."""
    hard = scene.now() + MINUTE
    scene.set({key: Entry(b"old", hard=hard) for key in ("a", "b", "c", "d")})
    scene.clock.advance(59.999)
    same(sorted(scene.get("a", "b", "c", "d")), ["a", "b", "c", "d"], "get_many a millisecond before")
    scene.clock.advance(0.001)
    same(scene.get("a"), {}, "get_many at the time")
    same(scene.delete("b"), set(), "delete_many of what has expired")
    scene.set({"c": b"new"}, absent=True)
    expected = {"c": b"new"}
    if scene.decides:
        same(scene.swap("d", None, b"new"), True, "swap in the place of what has expired")
        expected["d"] = b"new"
    same(scene.payloads("a", "b", "c", "d"), expected, "get_many")
    _listed(scene, expected, "scan")


def reading_puts_the_time_to_idle_off(scene: Scene) -> None:
    """But not beyond `hard`."""
    hard = scene.now() + 3 * MINUTE
    scene.set({"read": Entry(b"1", time_to_idle=MINUTE, hard=hard), "idle": Entry(b"2", time_to_idle=MINUTE)})
    for _ in range(3):
        scene.clock.advance(50)
        same(scene.payloads("read"), {"read": b"1"}, "get_many within the time to idle")
    same(scene.get("idle"), {}, "get_many after the time to idle")
    scene.clock.advance(30)
    same(scene.get("read"), {}, "get_many after hard")


def each_change_gives_another_version(scene: Scene) -> None:
    """The tier's own, whatever the entry says; the same until it changes."""
    seen = set()
    for payload in (b"1", b"2", b"2"):
        scene.set({"key": Entry(payload, version=7)})
        version = scene.version("key")
        same(scene.version("key"), version, "version of what didn't change")
        assert version not in seen, f"version {version} came twice: a change must give another"
        seen.add(version)
    scene.delete("key")
    scene.set({"key": b"2"})
    assert scene.version("key") not in seen, "a version came again after a delete"


def a_swap_takes_the_place_of_a_version_only(scene: Scene) -> None:
    """And says whether it did."""
    same(scene.swap("key", None, b"1"), True, "swap where nothing is")
    same(scene.swap("key", None, b"2"), False, "swap for nothing where something is")
    version = scene.version("key")
    same(scene.swap("key", version, b"3"), True, "swap of the version that is there")
    same(scene.swap("key", version, b"4"), False, "swap of a version that was there")
    same(scene.payloads("key"), {"key": b"3"}, "get_many")
    same(scene.swap("key", version, None), False, "swap of an old version for nothing")
    same(scene.swap("key", scene.version("key"), None), True, "swap for nothing")
    same(scene.get("key"), {}, "get_many after a swap for nothing")
    same(scene.swap("absent", 1, b"5"), False, "swap of a version where nothing is")


def swaps_count_right_whoever_races(scene: Scene) -> None:
    """Four who read, add one and swap lose no count."""

    def count(times: int) -> Flow[None]:
        while times:
            found = yield from scene.tier.get_many(["count"])
            entry = found.get("count")
            number = int(entry.payload) + 1 if entry else 1
            times -= yield from scene.tier.swap("count", entry.version if entry else None, Entry(b"%d" % number))

    scene.together([count(50) for _ in range(4)])
    same(scene.payloads("count"), {"count": b"200"}, "the count after 4 times 50")


def racing_batches_leave_nothing_half(scene: Scene) -> None:
    """Each entry is one that somebody wrote under its key, or none."""

    def churn(who: int) -> Flow[None]:
        keys = [f"key:{number}" for number in range(20)]
        for turn in range(10):
            yield from scene.tier.set_many({key: Entry(f"{key} {who} {turn} ".encode() * 50) for key in keys})
            found = yield from scene.tier.get_many(keys)
            for key, entry in found.items():
                words = entry.payload.split()
                writes = set(zip(words[0::3], words[1::3], words[2::3], strict=True))
                assert len(writes) == 1 and words[0] == key.encode(), f"{key!r} has an entry of several writes: {writes!r:.200}"
            yield from scene.tier.delete_many(keys[who::4])

    scene.together([churn(who) for who in range(4)])


def clear_empties(scene: Scene) -> None:
    """All of it."""
    scene.set({f"key:{number}": b"x" for number in range(50)})
    assert scene.do(scene.tier.clear()) in (50, None), "clear() says how many there were, or None"
    same(scene.get(*(f"key:{number}" for number in range(50))), {}, "get_many after clear")
    _listed(scene, [], "scan after clear")
    scene.set({"key:1": b"new"})
    same(scene.payloads("key:1"), {"key:1": b"new"}, "get_many of what was set after clear")


def clear_by_tag_or_owner_leaves_the_others(scene: Scene) -> None:
    """Whoever carries any of the tags goes, or is the owner's."""
    scene.set(
        {
            "red": Entry(b"1", tags=["red"]),
            "both": Entry(b"2", tags=["red", "blue"], owner="acme"),
            "blue": Entry(b"3", tags=["blue"]),
            "plain": Entry(b"4"),
            "acme": Entry(b"5", owner="acme"),
            "emca": Entry(b"6", owner="emca"),
        }
    )
    every = ("red", "both", "blue", "plain", "acme", "emca")
    assert scene.do(scene.tier.clear(tags=["green"])) in (0, None), "clear of a tag that nothing carries removes nothing"
    same(sorted(scene.get(*every)), sorted(every), "get_many")
    assert scene.do(scene.tier.clear(tags=["red", "green"])) in (2, None), "clear(tags=…) says how many there were, or None"
    same(sorted(scene.get(*every)), ["acme", "blue", "emca", "plain"], "get_many after clear by tag")
    assert scene.do(scene.tier.clear(owner="acme")) in (1, None), "clear(owner=…) says how many there were, or None"
    same(sorted(scene.get(*every)), ["blue", "emca", "plain"], "get_many after clear by owner")
    scene.set({"acme": Entry(b"7", owner="acme")})
    same(scene.payloads("acme"), {"acme": b"7"}, "get_many of what the owner stored after clear")


def a_scan_gives_every_key_once(scene: Scene) -> None:
    """In batches, all keys or those that match."""
    keys = {f"key:{number}" for number in range(700)} | {"other", "key"}
    scene.set(dict.fromkeys(keys, b"x"))
    scene.delete("key:13")
    keys.remove("key:13")
    same(sorted(scene.scan()), sorted(keys), "scan")
    same(sorted(scene.scan("key:1?")), [f"key:1{digit}" for digit in range(10) if digit != 3], "scan of key:1?")
    same(scene.scan("*th*"), ["other"], "scan of *th*")
    same(scene.scan("nothing*"), [], "scan of nothing*")


def a_scan_misses_nothing_that_stays(scene: Scene) -> None:
    """Though others come and go meanwhile."""
    stay = {f"stay:{number}" for number in range(300)}
    scene.set(dict.fromkeys(stay, b"x"))
    seen: list[str] = []
    cursor: int | None = 0
    turn = 0
    while cursor is not None:
        cursor, batch = scene.do(scene.tier.scan(cursor, None))
        seen += batch
        if turn < 3:  # a tier may go on for as long as something comes
            scene.set({f"come:{turn}:{number}": b"x" for number in range(50)})
            scene.delete(*(f"come:{turn - 1}:{number}" for number in range(50)))
        turn += 1
    missed = stay.difference(seen)
    assert not missed, f"scan missed {len(missed)} keys that were there all the while, such as {min(missed)!r}"


def values_of_any_size_come_back(scene: Scene) -> None:
    """From none to a mebibyte, alone and in one batch. What is too large for the tier is refused, or comes back too."""
    sizes = (0, 1, 1023, 1024, 4096, 16_383, 16_384, 16_385, 65_536, 2**20)
    payloads = {
        f"size:{size}": bytes(number * 7 % 251 for number in range(min(size, 1009))) * (size // 1009 + 1) for size in sizes
    }
    payloads = {key: payload[: int(key[5:])] for key, payload in payloads.items()}
    largest = scene.largest
    for key, payload in list(payloads.items()):
        scene.set({key: b"old"})
        refused = scene.set({key: payload}).refused
        if refused and len(payload) > largest:
            del payloads[key]
        else:
            same(len(refused), 0, f"refused of {key}")
        found = scene.payloads(key)
        expected = {key: payload} if key in payloads else {}
        assert found == expected, f"{key}: {len(found.get(key, b''))} other bytes came back"
    assert scene.payloads(*payloads) == payloads, "get_many of values of all sizes gave others"


def any_text_is_a_key(scene: Scene) -> None:
    """Up to 65,535 bytes in UTF-8, and none is taken for another."""
    keys = ["", " ", "\0", "a\0b", "a", "A", "é", "e\u0301", "\U0001f600", "../../etc/passwd", "*", "?", "a" * 1024, "b" * 65_535]
    entries = {key: f"value {number}".encode() for number, key in enumerate(keys)}
    same(len(scene.set(entries).refused), 0, "refused entries")
    same(scene.payloads(*keys), entries, "get_many")
    _listed(scene, keys, "scan")
    same(scene.delete(*keys), set(keys), "delete_many")


def what_is_no_text_harms_nothing(scene: Scene) -> None:
    """A key that UTF-8 can't hold is not there, or a ValueError; others are fine beside it."""
    scene.set({"a": b"1"})
    with suppress(ValueError):
        same(scene.get("\ud800"), {}, "get_many of a lone surrogate")
    same(scene.payloads("a"), {"a": b"1"}, "get_many after that")


def statistics_count(scene: Scene) -> None:
    """Hits and misses by key; the name is the tier's."""
    before = scene.tier.stats()
    same(before.name, scene.tier.name, "stats().name")
    scene.set({"a": b"1"})
    scene.get("a", "b")
    scene.get("a")
    after = scene.tier.stats()
    same((after.hits - before.hits, after.misses - before.misses), (2, 1), "hits and misses")
    same(after.entries in (1, None), True, "stats().entries is 1, or None")


def what_was_flushed_is_still_there(scene: Scene) -> None:
    """`flush` takes nothing away."""
    scene.set({"a": b"1"})
    scene.do(scene.tier.flush())
    same(scene.payloads("a"), {"a": b"1"}, "get_many after flush")


def a_closed_tier_gives_nothing(scene: Scene) -> None:
    """It raises `TierUnavailable`, or behind a breaker there is nothing; closing it twice is fine."""
    scene.set({"a": b"1"})
    scene.do(scene.tier.close())
    scene.do(scene.tier.close())
    with suppress(TierUnavailable):
        same(scene.get("a"), {}, "get_many after close")
    same(scene.tier.stats().name, scene.tier.name, "stats().name after close")


def what_was_stored_lasts(scene: Scene) -> None:
    """Whoever opens the tier after it was closed finds it."""
    now = scene.now()
    scene.set({"a": Entry(b"1", hard=now + MINUTE, tags=["red"]), "b": b"x" * 2**17, "gone": b"3"})
    scene.delete("gone")
    version = scene.version("a")
    scene.do(scene.tier.close())
    scene.tier = scene.again()
    same(scene.payloads("a", "b", "gone"), {"a": b"1", "b": b"x" * 2**17}, "get_many after closing and opening")
    same(scene.version("a"), version, "version after closing and opening")
    if scene.decides:
        same(scene.swap("a", version, b"2"), True, "swap after closing and opening")
    else:
        scene.set({"a": b"2"})
    scene.set({"c": Entry(b"4", tags=["red"])})
    scene.do(scene.tier.clear(tags=["red"]))
    same(sorted(scene.get("a", "b", "c")), ["a", "b"], "get_many after clear by tag")


def who_shares_it_sees_the_same(scene: Scene) -> None:
    """At once, and what one decides is decided for all."""
    other = scene.again()
    same((scene.tier.shared, other.shared), (True, True), "shared")
    scene.set({"a": b"1"})
    found = scene.do(other.get_many(["a"]))
    same(found["a"].payload, b"1", "get_many of the other")
    if scene.decides:
        same(scene.do(other.swap("a", found["a"].version, Entry(b"2"))), True, "swap by the other")
        same(scene.swap("a", found["a"].version, b"3"), False, "swap of what the other swapped")
        same(scene.payloads("a"), {"a": b"2"}, "get_many")
    same(scene.do(other.delete_many(["a"])), {"a"}, "delete_many by the other")
    same(scene.get("a"), {}, "get_many of what the other deleted")
    scene.set({"b": b"4"})
    scene.do(other.clear())
    same(scene.get("b"), {}, "get_many after the other's clear")


def those_who_share_it_count_together(scene: Scene) -> None:
    """Swaps of two tiers over the same data lose no count."""
    tiers = [scene.tier, scene.again()]

    def count(tier: Tier, times: int) -> Flow[None]:
        while times:
            entry = (yield from tier.get_many(["count"])).get("count")
            number = int(entry.payload) + 1 if entry else 1
            times -= yield from tier.swap("count", entry.version if entry else None, Entry(b"%d" % number))

    scene.together([count(tier, 50) for tier in tiers * 2])
    same(scene.payloads("count"), {"count": b"200"}, "the count after 4 times 50")


def it_stays_within_its_capacity(scene: Scene) -> None:
    """Whatever is written, and what it gives back as evicted isn't there any more."""
    capacity = scene.tier.stats().capacity
    assert capacity, "a tier that evicts says its capacity in stats()"
    size = max(capacity // 100, 1)
    gave: set[str] = set()
    for turn in range(40):
        batch = {f"key:{turn}:{number}": _noise(size, 10 * turn + number) for number in range(10)}
        stored = scene.set(batch)
        assert not set(stored.evicted).intersection(stored.refused), "an entry was refused and evicted at once"
        gave |= set(stored.evicted)
        held = scene.tier.stats().bytes
        assert held is not None and held <= capacity, f"it holds {held} bytes of {capacity}"
    keys = [f"key:{turn}:{number}" for turn in range(40) for number in range(10)]
    found = scene.payloads(*keys)
    assert found, "it holds nothing after 400 writes of a hundredth of its capacity"
    assert not gave.intersection(found), "what it gave back as evicted is still there"
    for key, payload in found.items():
        _, first, second = key.split(":")
        assert payload == _noise(size, 10 * int(first) + int(second)), f"{key} has other bytes than were written"


def what_is_too_large_is_refused(scene: Scene) -> None:
    """And what was under its key is gone: nobody may read that any more."""
    capacity = scene.tier.stats().capacity or 0
    scene.set({"key": b"old", "other": b"1"})
    stored = scene.set({"key": _noise(capacity + 1, 1)})
    same(list(stored.refused), ["key"], "refused")
    same(scene.payloads("key", "other"), {"other": b"1"}, "get_many")


def a_tier_that_does_not_list_has_an_empty_scan(scene: Scene) -> None:
    """In one batch."""
    scene.set({"a": b"1"})
    same(scene.do(scene.tier.scan(0, None)), (None, []), "scan of a tier that doesn't list")


def a_tier_that_does_not_decide_says_so(scene: Scene) -> None:
    """Nobody takes a swap for done that wasn't."""
    with suppress(TierUnavailable):
        raise AssertionError(f"swap of a tier that doesn't decide raises TierUnavailable; it gave {scene.swap('a', None, b'1')}")
    same(scene.get("a"), {}, "get_many after that")


def _listed(scene: Scene, keys: Iterable[str], what: str) -> None:
    """Asserts what keys there are, where the tier knows."""
    same(sorted(scene.scan()), sorted(keys) if scene.lists else [], what)


def _noise(size: int, number: int) -> bytes:
    """Bytes that no compression shortens, other ones for each number."""
    return random.Random(number).randbytes(size)  # noqa: S311


Checks = Sequence[Callable[[Any], None]]

ALWAYS: Checks = (
    an_entry_comes_back_as_it_was,
    what_is_not_there_is_left_out,
    batches_are_whole,
    a_write_replaces_what_was_there,
    an_absent_write_keeps_what_is_there,
    a_delete_says_what_was_there,
    what_has_expired_is_not_there,
    reading_puts_the_time_to_idle_off,
    each_change_gives_another_version,
    a_swap_takes_the_place_of_a_version_only,
    swaps_count_right_whoever_races,
    racing_batches_leave_nothing_half,
    clear_empties,
    clear_by_tag_or_owner_leaves_the_others,
    a_scan_gives_every_key_once,
    a_scan_misses_nothing_that_stays,
    values_of_any_size_come_back,
    any_text_is_a_key,
    what_is_no_text_harms_nothing,
    statistics_count,
    what_was_flushed_is_still_there,
    a_closed_tier_gives_nothing,
)
LASTING: Checks = (what_was_stored_lasts,)
SHARED: Checks = (who_shares_it_sees_the_same, those_who_share_it_count_together)
LISTING: Checks = (a_scan_gives_every_key_once, a_scan_misses_nothing_that_stays)
DECIDING: Checks = (a_swap_takes_the_place_of_a_version_only, swaps_count_right_whoever_races, those_who_share_it_count_together)
BOUNDED: Checks = (it_stays_within_its_capacity, what_is_too_large_is_refused)
