"""Read, decide, write in one step: where other processes see a tier, in the lowest such; else in memory, against its tickets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forecache._core import MISSING, Entry
from forecache.drain import settle, settle_all
from forecache.engine import number
from forecache.errors import CodecError, ImmutableError, ReentrantLoad, TierUnavailable
from forecache.flow import Flow, Until
from forecache.reads import entry_in, entry_of, get, is_text
from forecache.stack import FAILURES
from forecache.tiers.breaker import Breaker
from forecache.units import Duration, parse_duration
from forecache.writes import listed, put

if TYPE_CHECKING:
    from forecache._core import Changing
    from forecache.stack import Stack
    from forecache.tiered import TieredCache

GONE: Final = object()
"""A decision: what is there is to be deleted."""


class Decision(NamedTuple):
    """What is to come of a key."""

    value: Any
    """What is to be there from now on. MISSING: what is there anyway; `GONE`: nothing."""
    answer: Any
    """What the caller gets."""
    like: Entry | None = None
    """Whose times, tags and owner the value has."""


Choose = Callable[[Any, "Entry | None"], Decision]

MOST = 3
"""How often a tier may refuse to swap what hasn't changed, until the cache decides without it."""


def decide(cache: TieredCache, key: str, choose: Choose, options: dict[str, Any]) -> Flow[Any]:
    """What `choose` answers to the value of a key and its entry, done before anybody changes it. It may be asked again."""
    if not is_text(key):
        decision = choose(MISSING, None)
        if decision.value is not MISSING:
            cache._check_key(key)
        return decision.answer
    with (yield from _begin(cache, key)):
        try:
            return (yield from _decided(cache, key, choose, options))
        finally:
            cache._stack.deciding.pop(key, None)


def _decided(cache: TieredCache, key: str, choose: Choose, options: dict[str, Any]) -> Flow[Any]:
    stack = cache._stack
    shared = _decider(stack, key)
    refused = 0
    while True:
        ticket = cache._fetch(key)
        try:
            entry = None
            if shared is not None:
                try:
                    entry = yield from _settled(cache, shared, key)
                except FAILURES as error:
                    stack.failed(shared, "get_many", (key,), error)
                    shared = None
                    continue
            value, old = _readable(cache, shared, key, entry)
            if value is MISSING and entry is None:
                value, old = yield from _elsewhere(cache, shared, key)
            decision = choose(value, old)
            if decision.value is MISSING:
                if shared is not None and stack.knows(shared):
                    yield from _agree(cache, shared, key, value, ticket)
                return decision.answer
            if shared is None:
                done = yield from _near(cache, key, decision, options, ticket)
            else:
                try:
                    done = yield from _shared(cache, shared, key, decision, options, entry, ticket)
                except FAILURES as error:
                    done, shared = False, stack.undecided(shared, key, error)
                refused += not done
                if refused > MOST and shared is not None and not (yield from _moves(cache, shared, key, entry)):
                    shared = None
            if done:
                return decision.answer
        finally:
            cache._forget(key, ticket)


def _decider(stack: Stack, key: str) -> int | None:
    """The tier that decides about a key; None while a write of it that was given up may still come there and undo that."""
    shared = stack.decider()
    if shared is not None and isinstance(tier := stack.tiers[shared], Breaker) and tier.holds(key):
        if stack.boundaries[shared].strict:
            raise TierUnavailable(f"{tier.name}: a write of {key!r} that was given up may still come")
        return None
    return shared


def _begin(cache: TieredCache, key: str) -> Flow[Changing]:
    """One decision about a key at a time, in this process: else two would decide on what memory still has."""
    deciding = cache._stack.deciding
    me = get_ident(), None if asyncio._get_running_loop() is None else asyncio.current_task()
    begun: Changing | None
    while (begun := cache._begin(key)) is None:
        if deciding.get(key) == me:
            raise ReentrantLoad(f"{key!r} is being changed by the very call that this one comes from")
        woken = cache._stack.signal.wait()
        if (begun := cache._begin(key)) is not None:
            break
        if not (yield Until(woken)):
            raise RuntimeError(f"a task of this thread's event loop is changing {key!r}; use the async face: `await cache.aio…`")
    deciding[key] = me
    return begun


def _settled(cache: TieredCache, shared: int, key: str) -> Flow[Entry | None]:
    """What a tier has when all is written that was on its way there."""
    yield from settle(cache, shared, [key])
    entries = yield from cache._stack.tiers[shared].get_many((key,))
    cache._stack.attached(cache)
    return entries.get(key)


def _readable(cache: TieredCache, shared: int | None, key: str, entry: Entry | None) -> tuple[Any, Entry | None]:
    if entry is None or shared is None:
        return MISSING, None
    try:
        return cache._stack.decode(key, entry), entry
    except CodecError:
        cache._stack.damaged(shared, key)
        return MISSING, None


def _elsewhere(cache: TieredCache, shared: int | None, key: str) -> Flow[tuple[Any, Entry | None]]:
    """The value and entry of a key that the deciding tier lacks. If that one would have it were it there still, what memory and
    the tiers above have is out of date."""
    stack = cache._stack
    value, old = yield from entry_of(cache, key, skip=shared)
    if shared is None or value is MISSING or not stack.knows(shared):
        return value, old
    if cache._peek(key, MISSING) is not MISSING:
        payload, _ = stack.encode(key, value)
        if not stack.takes(shared, len(payload)):
            return value, old
    return (yield from entry_in(cache, key, stack.depths[shared + 1 :]))


def _agree(cache: TieredCache, shared: int, key: str, value: Any, ticket: int) -> Flow[None]:
    """Takes out what memory and the tiers above have, if it isn't what the deciding tier says: else who reads and tries again
    reads it again."""
    near = cache._peek(key, MISSING)
    above = b"d" * shared
    if not above and (near is MISSING or near is value or _same(near, value)):
        return
    if cache._drop(key, above.ljust(len(cache._stack.tiers), b"-"), ticket) is not None:
        yield from settle_all(cache, (1 << shared) - 1, [key])


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an array compares element by element
        return False


def _moves(cache: TieredCache, shared: int, key: str, entry: Entry | None) -> Flow[bool]:
    """Whether the tier has another entry by now: then it was others who kept it from swapping."""
    now = (yield from cache._stack.tiers[shared].get_many((key,))).get(key)
    return (now and now.version) != (entry and entry.version)


def _near(cache: TieredCache, key: str, decision: Decision, options: dict[str, Any], ticket: int) -> Flow[bool]:
    if decision.value is not GONE:
        return (yield from put(cache, key, decision.value, options, None, ticket, decision.like)) is not None
    if cache._drop(key, cache._stack.delete, ticket) is None:
        return False
    yield from settle_all(cache, (1 << len(cache._stack.tiers)) - 1, [key])
    return True


def _shared(
    cache: TieredCache, shared: int, key: str, decision: Decision, options: dict[str, Any], entry: Entry | None, ticket: int
) -> Flow[bool]:
    stack = cache._stack
    new = None if decision.value is GONE else _new(cache, key, decision, options)
    if new is not None or entry is not None:
        version = None if entry is None else entry.version
        if not (yield from stack.tiers[shared].swap(key, version, new)):
            return False
    elif cache._drop(key, stack.delete, ticket) is None:  # only this process had it
        return False
    # What left memory since it was read must not come back from the way down.
    plan = b"".join(b"c" if depth == shared else b"d" for depth in stack.depths)
    if cache._drop(key, plan, ticket) is None and entry is None and new is not None:
        # Somebody of this process changed it after it was read, and that is newer.
        cache._purge(shared, key)
    if cache._queued(shared, [key]):
        yield from settle(cache, shared, [key])
    others = (1 << len(stack.tiers)) - 1 & ~(1 << shared)
    if others:
        yield from settle_all(cache, others, [key])
        counters = stack.counters
        if counters is not None and stack.counting >> shared & 1:
            # Who looked anew since the swap may have read what was below.
            counters.bump(counters.stripe(stack.namespace, key))
    return True


def _new(cache: TieredCache, key: str, decision: Decision, options: dict[str, Any]) -> Entry:
    stack = cache._stack
    payload, number = stack.encode(key, decision.value)
    like = decision.like
    if like is None:
        return cache._fresh(key, payload, number, stack.now(), **options)
    return _beside(like, payload, number)


def _beside(like: Entry, payload: bytes, codec: int, **other: Any) -> Entry:
    names = ("written", "hard", "time_to_idle", "owner", "tags", "cost", "immutable", "pinned")
    rest = {name: getattr(like, name) for name in names} | other
    return Entry(payload, codec=codec, **rest)


def add(cache: TieredCache, key: str, value: Any, **options: Any) -> Flow[bool]:
    """See `Cache.add`."""
    listed(options)
    cache._check(**options)
    cache._check_key(key)
    cache._stack.encode(key, value)
    if not cache._stack.is_outdone() and cache._peek(key, MISSING) is not MISSING:
        return False
    answer = yield from decide(cache, key, lambda now, _: _STAY if now is not MISSING else Decision(value, True), options)
    return bool(answer)


_STAY = Decision(MISSING, False)


def pop(cache: TieredCache, key: str, default: Any = None) -> Flow[Any]:
    """See `Cache.pop`."""
    return (
        yield from decide(cache, key, lambda now, _: Decision(MISSING, default) if now is MISSING else Decision(GONE, now), {})
    )


def incr(cache: TieredCache, key: str, amount: float = 1, *, initial: float = 0, ttl: Duration | None = None) -> Flow[Any]:
    """See `Cache.incr`."""
    number("amount", amount)
    number("initial", initial)

    def choose(now: Any, old: Entry | None) -> Decision:
        if now is MISSING:
            return Decision(initial + amount, initial + amount)
        number(f"the value of {key!r}", now)
        _changeable(key, old, now, now + amount)
        return Decision(now + amount, now + amount, old)

    return (yield from decide(cache, key, choose, {"ttl": ttl}))


def compare_and_set(cache: TieredCache, key: str, expected: Any, value: Any, *, ttl: Duration | None = None) -> Flow[bool]:
    """See `Cache.compare_and_set`."""
    cache._check(ttl=ttl)
    if is_text(key):
        cache._stack.encode(key, value)
    seconds = None if ttl is None else parse_duration(ttl, "ttl")

    def choose(now: Any, old: Entry | None) -> Decision:
        if now is MISSING or expected is MISSING:
            return Decision(value, True) if now is expected else _STAY
        if not (now is expected or now == expected):
            return _STAY
        _changeable(key, old, now, value)
        if old is not None and seconds is not None:
            old = _beside(old, b"", 0, hard=cache._stack.now() + max(1, int(seconds * 1000)))
        return Decision(value, True, old)

    return bool((yield from decide(cache, key, choose, {"ttl": ttl})))


def setdefault(cache: TieredCache, key: str, default: Any = None) -> Flow[Any]:
    """See `Cache.setdefault`."""
    value = cache._near(key, MISSING)
    if value is MISSING:
        value = yield from get(cache, key, MISSING)
    if value is not MISSING:
        return value

    def choose(now: Any, _: Entry | None) -> Decision:
        return Decision(default, default) if now is MISSING else Decision(MISSING, now)

    return (yield from decide(cache, key, choose, {}))


def touch(cache: TieredCache, key: str, *, ttl: Duration | None = None, tti: Duration | None = None) -> Flow[bool]:
    """See `Cache.touch`."""
    cache._check(ttl=ttl, tti=tti)
    stack = cache._stack
    said = cache._fresh(key, b"", 0, stack.now(), ttl=ttl, tti=tti)

    def choose(now: Any, old: Entry | None) -> Decision:
        if now is MISSING or old is None:
            return _STAY
        keeps = said.hard is None or (ttl is None and tti is not None)
        idle = old.time_to_idle if tti is None else said.time_to_idle
        return Decision(now, True, _beside(old, b"", 0, hard=old.hard if keeps and ttl is None else said.hard, time_to_idle=idle))

    return bool((yield from decide(cache, key, choose, {})))


def pin(cache: TieredCache, key: str) -> Flow[bool]:
    """See `Cache.pin`. It climbs to memory, and is kept there."""
    if not cache._near_exists(key):
        yield from get(cache, key, None)
    return cache._near_pin(key)


def _changeable(key: str, old: Entry | None, now: Any, value: Any) -> None:
    if old is not None and old.immutable and not (now is value or now == value):
        raise ImmutableError(f"{key!r} is immutable and holds other content; delete it first")
