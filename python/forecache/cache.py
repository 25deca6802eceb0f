"""The cache, sync face: a hit is one call into Rust, what misses goes to the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from forecache import engine, flow, loads
from forecache._core import MISSING, FakeClock, Memory, Prior
from forecache.aio import AsyncCache
from forecache.config import LEARNING, Config, Weigher
from forecache.decorators import CachedMethods, Names
from forecache.events import Hub, Listener, OnRemove
from forecache.flight import Flights
from forecache.patterns import Groups, Owners
from forecache.units import Duration, Size, wrong
from forecache.views import Items, Values, batches

if TYPE_CHECKING:
    from forecache.codec import Codec
    from forecache.explain import Candidate, Explanation
    from forecache.model import Kept, Model
    from forecache.recording import Recording
    from forecache.stats import Stats
    from forecache.tiers.boundary import Boundary
    from forecache.tiers.tier import Tier

C = TypeVar("C", bound="Cache")


class Cache(CachedMethods, Memory, MutableMapping[str, Any]):
    """A bounded cache in this process, safe to use from any thread and any event loop. All options have defaults that work.

    | option | default | meaning |
    |---|---|---|
    | `capacity` | `"100MB"` | bytes of keys, values and bookkeeping (`"1GiB"`, 10**9), or units of `weigher` |
    | `max_entries` | None | most entries, in addition |
    | `policy` | `"s3fifo"` | who leaves for space: one of `forecache.POLICIES` |
    | `ttl` | None | time to live, from the write: seconds, `timedelta` or `"2h5m"`; None is forever |
    | `tti` | None | time to idle, from the last access |
    | `jitter` | 0 | share of each TTL, from 0 up to 1, that may be cut off at random: not all expire at once |
    | `weigher` | None | function (key, value) -> weight, a whole number |
    | `copy` | False | deep-copy values on their way in and out; else callers share the live objects |
    | `groups` | None | times by key pattern, first match: `{"token:*": "5m", "page:*": Group(ttl="1h", tti="10m")}` |
    | `namespace` | `""` | name of this cache's keys where it shares a tier with others |
    | `seed` | None | fixes what is random, for tests |
    | `on_remove` | None | function (key, value, cause), called for every entry that leaves |
    | `clock` | None | a `forecache.testing.FakeClock` |
    | `control` | None | where a Unix socket is made for `forecache trace record`; a directory: one a process |
    | `tiers` | () | what lies below memory, the fastest first: `ZMemory(…)`, `Disk(…)`, `Redis(…)` …, or tiers of your own |
    | `codec` | `"msgpack"` | how values are stored below memory: `msgpack`, `json`, `pickle`, or a codec of your own |
    | `secret` | None | what pickled values are signed with, at least 16 bytes |
    | `journal` | None | a directory that keeps what tiers missed; None: beside the disk tier, else where the user's state is |
    | `owners` | None | what owners may claim, by pattern: `{"batch-*": -1, "web": Owner(priority=1, budget="200MB")}` |
    | `shadow` | None | a model to try in miniature beside the policy in force: `name@version` or a file; `stats().shadow` tells |
    | `reserve` | None | bytes of the host's or container's memory to leave free: `capacity` shrinks while less is left |
    | `model` | None | what the policy `learned` begins with: a file that a cache saved, or `name@version` of a registry |
    | `learning_rate` | 0.05 | above 0, at most 1: how much less what was seen counts with each conclusion |
    | `update_interval` | 8192 | requests between two conclusions; or half the entries, if that is more |
    | `save_interval` | None | time after which what was learned is saved to `model`, and again at `close` |
    | `online` | True | whether `learned` learns, or goes by `model` alone |

    Raises `ConfigError` for what isn't allowed. Keys are `str`: all methods raise `TypeError` for others,
    those that store `ValueError` for lone surrogates, and all `CacheClosed` after `close`.

    >>> cache = Cache("512MB", ttl="5m")
    >>> cache.set("user:7", {"name": "Ada"})
    True
    >>> cache.get("user:7"), cache.get("user:8")
    ({'name': 'Ada'}, None)
    """

    config: Config
    """What it was made with; `resize` doesn't change that."""
    _flights: Flights

    def __new__(
        cls: type[C],
        capacity: Size = "100MB",
        *,
        max_entries: int | None = None,
        policy: str = "s3fifo",
        ttl: Duration | None = None,
        tti: Duration | None = None,
        jitter: float = 0,
        weigher: Weigher | None = None,
        copy: bool = False,
        groups: Groups | None = None,
        namespace: str = "",
        seed: int | None = None,
        on_remove: OnRemove | None = None,
        clock: FakeClock | None = None,
        control: str | os.PathLike[str] | None = None,
        tiers: Iterable[Boundary | Tier] = (),
        codec: str | Codec = "msgpack",
        secret: str | bytes | None = None,
        journal: str | os.PathLike[str] | None = None,
        reserve: Size | None = None,
        owners: Owners | None = None,
        shadow: str | os.PathLike[str] | None = None,
        model: str | os.PathLike[str] | None = None,
        learning_rate: float | None = None,
        update_interval: int | None = None,
        save_interval: Duration | None = None,
        online: bool = True,
    ) -> C:
        """See the class."""
        memory = (capacity, max_entries, policy, ttl, tti, jitter, weigher, copy, groups, namespace, seed, on_remove)
        learning = (shadow, model, learning_rate, update_interval, save_interval, online)
        return cls.from_config(Config(*memory, clock, control, tiers, codec, secret, journal, reserve, owners, *learning))

    @classmethod
    def from_config(cls: type[C], config: Config | str | os.PathLike[str] | None = None, **options: Any) -> C:
        """A cache of a `Config`; of a path, or of nothing, one of all sources together: see `Config.load`."""
        if not isinstance(config, Config):
            config = Config.load(path=config, **options)
        elif options:
            raise TypeError("a Config says it all; options go with a path, or with nothing")
        kind = cls
        if config.tiers:
            from forecache.tiered import tiered

            kind = tiered(cls)
        kept = None
        if config.policy in LEARNING:
            from forecache.model import Kept

            kept = Kept(config)
        cache: C = super().__new__(kind, config, None if kept is None else kept.begun)  # type: ignore[assignment]
        cache.config, cache._kept = config, kept
        cache._flights = Flights()
        cache._hub = Hub(cache._on_event, config.on_remove)
        cache._now = config.clock.time if config.clock is not None else time.monotonic
        cache._made = cache._now()
        cache._names = Names()
        if config.shadow is not None:
            cache._shade(_model("shadow", config.shadow))
        cache._furnish()
        if config.control or os.environ.get("FORECACHE_CONTROL"):
            from forecache import control

            cache._reachable = True
            control.attach(cache)
        if config.reserve is not None:
            from forecache.pressure import WATCHER

            WATCHER.add(cache)
        if config.save_interval is not None:
            from forecache.saving import SAVER

            SAVER.add(cache)
        return cache

    def _furnish(self) -> None:
        """For what a subclass needs beside."""

    def _detach(self) -> None:
        """Makes it unreachable from outside."""
        if self._reachable:
            from forecache import control

            control.detach(self)

    def _keep(self) -> None:
        """Saves what was learned, if that was asked for, before it is closed."""
        if self.config.save_interval is not None and not self.closed:
            from forecache.model import keep
            from forecache.saving import SAVER

            if SAVER.forget(self):
                keep(self)

    @classmethod
    def from_url(cls: type[C], *urls: str, **options: Any) -> C:
        """A cache of one URL a tier: `Cache.from_url("memory://", "disk:///var/cache/app")`. See `Config.from_url`."""
        return cls.from_config(Config.from_url(*urls, **options))

    @classmethod
    def from_toml(cls: type[C], path: str | os.PathLike[str], **options: Any) -> C:
        """A cache as a TOML file says. See `Config.from_toml`."""
        return cls.from_config(Config.from_toml(path, **options))

    @classmethod
    def from_env(cls: type[C], environ: Mapping[str, str] | None = None, **options: Any) -> C:
        """A cache as `FORECACHE_…` say. See `Config.from_env`."""
        return cls.from_config(Config.from_env(environ, **options))

    _face: type[AsyncCache] = AsyncCache
    _hub: Hub
    _now: Callable[[], float]
    _made: float
    _aio: AsyncCache
    _names: Names
    _reachable = False
    _kept: Kept | None

    @property
    def model(self) -> Model:
        """What was learned, to be saved or loaded; for the policy `learned`."""
        from forecache.model import Model

        return Model(self)

    @property
    def sync(self) -> Cache:
        """Itself, as `cache.aio.sync` is."""
        return self

    @property
    def aio(self) -> AsyncCache:
        """The async face of this very cache."""
        face: AsyncCache | None = self.__dict__.get("_aio")
        return face if face is not None else self.__dict__.setdefault("_aio", self._face._of(self))

    def get_or_load(
        self,
        key: str,
        loader: Callable[..., Any],
        *,
        ttl: Duration | None = None,
        negative_ttl: Duration | None = None,
        tti: Duration | None = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> Any:
        """The value of `key`; if it isn't there, what `loader` returns, which is then stored.

        However many threads and tasks ask for a key at a time, it is loaded once and all get the result. The loader is called
        with the key if it has a required positional parameter, else with nothing. A loader that returns None found nothing:
        `negative_ttl` is how long that is remembered (0: not at all), without it None is kept like any value.

        What the loader raises reaches all who wait; nothing is stored, and the next call loads again. If its leader is killed
        (KeyboardInterrupt, SystemExit), one of those who wait loads in its place. What is set, deleted, cleared or
        invalidated during a load is newer than its value: the callers get that, the cache keeps the newer state.

        Raises `ReentrantLoad` if the loader waits for its own key, directly or through other loads, in whatever threads and
        tasks, as long as they have the loader's context (those of an executor of its own haven't); and `TypeError` for an
        async loader, which is for `cache.aio.get_or_load`.

        >>> cache = Cache()
        >>> cache.get_or_load("user:7", lambda key: f"loaded {key}", ttl="5m")
        'loaded user:7'
        """
        value = self._near(key, MISSING)
        if value is not MISSING:
            return value
        options = loads.Options(ttl=ttl, tti=tti, tags=tags, owner=owner, cost=cost, immutable=immutable, pin=pin)
        return flow.run(loads.get_or_load(self, key, loads.call_of(loader, key), negative_ttl, options))

    def incr(self, key: str, amount: float = 1, *, initial: float = 0, ttl: Duration | None = None) -> Any:
        """Adds `amount` in one step and returns the sum; a missing key counts as `initial`, and gets `ttl`.

        An entry keeps the times it has. Raises `TypeError` if something isn't a number (a bool isn't).

        >>> cache = Cache()
        >>> cache.incr("visits"), cache.incr("visits", 10), cache.incr("left", -1, initial=100)
        (1, 11, 99)
        """
        return engine.incr(self, key, amount, initial, ttl)

    def compare_and_set(self, key: str, expected: Any, value: Any, *, ttl: Duration | None = None) -> bool:
        """Stores `value` if what is there equals `expected`, in one step; `expected=MISSING` is for nothing there.

        Returns whether it did. Without `ttl` an entry keeps the times it has.

        >>> cache = Cache()
        >>> cache.compare_and_set("a", MISSING, 1), cache.compare_and_set("a", 1, 2), cache.compare_and_set("a", 1, 3)
        (True, True, False)
        """
        return engine.compare_and_set(self, key, expected, value, ttl)

    def scan(self, pattern: str | None = None) -> Iterator[str]:
        """Keys, those that match `pattern` (`*` any characters, `?` one) if it is given, in no order.

        A key that is there all the while comes exactly once; one that comes or goes meanwhile may.
        """
        return (key for batch in batches(self, pattern) for key, _ in batch)

    def invalidate(self, *, tags: Iterable[str]) -> int:
        """Removes the entries that carry any of `tags`, and says how many they were."""
        return self._invalidate(tags)

    def candidates(self, n: int = 10) -> list[Candidate]:
        """The next `n` entries that would leave memory for space if nothing more were asked for, the very next first.

        `score` is the share of the entries that would stay longer, from 1 for the next down to 0, and `reason` is the policy's
        word. Policies that look at a sample (`adaptive`, `learned`, `logistic`) evict one of the first, not always the very
        first. Pinned entries aren't listed.

        >>> cache = Cache(policy="lru")
        >>> cache.set_many({"a": 1, "b": 2, "c": 3})
        3
        >>> cache.candidates(1)
        [Candidate(key='a', score=1.0, reason='least recently used')]
        """
        from forecache.explain import candidates

        return candidates(self, n)

    def explain(self, key: str) -> Explanation:
        """Where `key` is, with what is known of it there; or why it isn't: evicted, expired, deleted, invalidated, refused.

        Neither statistics nor eviction in memory take note, and nothing climbs from a tier; tiers are read, and count that. What
        became of keys is remembered for the last removals from memory: four times as many as there are entries, from 256 to
        4,096.

        >>> cache = Cache(max_entries=1, policy="lru")
        >>> cache.set_many({"a": 1, "b": 2})
        2
        >>> print(cache.explain("a"))
        'a' isn't there: evicted 0 s ago: least recently used
        """
        from forecache.explain import explain

        return flow.run(explain(self, key))

    def stats(self) -> Stats:
        """Sums, sizes and latencies at this moment."""
        from forecache.stats import Loads, Stats

        flights = self._flights
        done = Loads(flights.loads, flights.failures, flights.seconds)
        return Stats.of(self._stats(), done, self._now() - self._made, self._kept)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` with a record for each entry that leaves (`Removed`) or isn't taken (`Refused`); returns what ends it.

        It is called in line, on the thread that caused the event, outside any lock; what it raises is logged. While nobody
        listens, events cost nothing. Raises `ConfigError` for an async listener.
        """
        return self._hub.subscribe(listener, self._on_event)

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        sample: float = 1.0,
        hash_keys: bool = True,
        secret: str | bytes | None = None,
        max_bytes: Size = "1GiB",
        duration: Duration | None = None,
    ) -> Recording:
        """Records what is asked for from now on, as a trace at `path` for `forecache replay`; stop what it gives, or use `with`.

        `sample` is the share of keys that are recorded, chosen by hash. Keys and owners are written as hashes that tell nothing,
        unless `hash_keys` is false; `secret` is what they are hashed with, for several traces that shall agree on them. The
        recording ends by itself after `duration`, or when the file has `max_bytes`. The file appears when it has ended, in the
        place of what is there; if that is a link, in the place of what it leads to.

        Raises `ConfigError` for wrong options or if the cache is being recorded already, and `TraceError` if nothing can be
        written there.
        """
        from forecache import recording

        return recording.record(self, path, sample, hash_keys, secret, max_bytes, duration)

    def flush(self) -> None:
        """Returns when all that was queued is written: at once, since memory queues nothing. Tiers that write behind do."""
        self.exists("")  # a closed cache says so

    def close(self) -> None:
        """Empties the cache and refuses all further calls. A recording under way ends, and its file is complete."""
        try:
            self._keep()
        finally:
            self._detach()
            super().close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return self.scan()

    def items(self) -> Items:
        """A view of keys and values; reading it counts neither as hits nor as accesses."""
        return Items(self)

    def values(self) -> Values:
        """A view of values; reading it counts neither as hits nor as accesses."""
        return Values(self)

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Sets all of a mapping, an iterable of pairs, or keywords."""
        self.set_many({**dict(other), **named})

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of `key`, which is set to `default` if it isn't there."""
        return engine.setdefault(self, key, default)

    def popitem(self) -> tuple[str, Any]:
        """Removes some entry, not necessarily the next to be evicted; `KeyError` if there is none."""
        for key in self:
            value = self.pop(key, MISSING)
            if value is not MISSING:
                return key, value
        raise KeyError("the cache is empty")

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        if self.closed:
            return f"<{type(self).__name__}, closed>"
        stats = self._stats()
        return (
            f"<{type(self).__name__} of {stats['entries']} entries, {stats['weight']} of {stats['capacity']}, {stats['policy']}>"
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can't be pickled or copied: make one in each process, or share a tier")


def _model(field: str, spec: str) -> Prior:
    """A model by its file or its name in the registry."""
    from forecache.model import find

    try:
        return find(spec, field)
    except OSError as error:
        raise wrong(field, spec, f"name, name@version, or a file that can be read ({error.strerror or error})") from None
