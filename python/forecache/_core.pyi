"""The border to Rust: all that crosses it. Names with an underscore are for the package alone."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, overload

D = TypeVar("D")

DEBUG: Final[bool]
POLICIES: Final[tuple[str, ...]]
ALIASES: Final[list[tuple[str, str]]]
"""Other names of policies, each with the name it stands for."""
FORMATS: Final[tuple[str, ...]]
TIMED: Final[int]
"""Reads of tiers whose ticket is a multiple of this are timed."""

class Missing:
    """The type of `MISSING`, which is false and has no other instance."""

MISSING: Final[Missing]

def milliseconds() -> int:
    """Milliseconds since 1970, by the system's clock."""

class FakeClock:
    """A clock that stands until it is moved: `Cache(clock=FakeClock())`."""

    def __new__(cls) -> FakeClock: ...
    def advance(self, seconds: float) -> None:
        """Moves on; `ValueError` for a negative number."""
    def time(self) -> float:
        """Seconds since the clock was made."""

class Gate:
    """Whether reads may take the short way. It is made open."""

    def __new__(cls) -> Gate: ...
    def set(self, open: bool) -> None: ...

class Memory:
    """The memory tier, and the base class of `Cache`: every method is one call into Rust."""

    def __new__(cls, config: Any, model: Prior | None = None) -> Memory:
        """`config` is a validated `forecache.config.Config`; `model` is what `learned` begins with, instead of what ships."""
    def get(self, key: str, default: Any = None) -> Any: ...
    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
        write: str | None = None,
    ) -> bool: ...
    def add(
        self,
        key: str,
        value: Any,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> bool: ...
    def delete(self, key: str) -> bool: ...
    def pop(self, key: str, default: Any = None) -> Any: ...
    def exists(self, key: str) -> bool: ...
    def touch(self, key: str, *, ttl: Any = None, tti: Any = None) -> bool: ...
    def ttl(self, key: str) -> float | None: ...
    def pin(self, key: str) -> bool: ...
    def unpin(self, key: str) -> bool: ...
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]: ...
    def set_many(
        self,
        items: Mapping[str, Any],
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
        write: str | None = None,
    ) -> int: ...
    def delete_many(self, keys: Iterable[str]) -> int: ...
    def clear(self, *, owner: str | None = None) -> None: ...
    def _shade(self, prior: Prior) -> None:
        """Has `learned` with this prior run in miniature beside the policy in force."""
    def resize(self, capacity: int | str | None = None, *, max_entries: int | None = None) -> None: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def __contains__(self, key: object) -> bool: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: str) -> Any: ...
    def __setitem__(self, key: str, value: Any) -> None: ...
    def __delitem__(self, key: str) -> None: ...
    def _part(self) -> None:
        """Has what has a time to idle leave memory for the queues."""
    def _took(self, depth: int, nanoseconds: int) -> None:
        """A hit in a tier took so long."""
    def _latencies(self) -> list[dict[str, Any]]:
        """How long hits in each tier took, as `forecache.latency` reads it."""
    def _hasten(self, disk: Disk, gate: Gate, decode: Any, wake: Any) -> None:
        """Has reads go to the only tier in one call, while `gate` is open. `decode(key, entry)` gives the value of an entry,
        `wake()` wakes the thread that writes behind."""
    def _express(self, key: str) -> Any:
        """Reads that way: the value, `MISSING` if there is none, `NotImplemented` if only the flow can tell."""
    def _peek(self, key: str, default: Any = None) -> Any:
        """The live value itself (never a copy), with no effect on statistics or eviction."""
    def _swap(self, key: str, current: Any, value: Any, *, ttl: Any = None) -> bool | None:
        """`value` in the place of the very object `current`, or of nothing if that is `MISSING`. None: something else is there by
        now (try again); False: refused for its size. Without `ttl`, times, tags and owner stay as they are."""
    def _check(
        self,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> None:
        """Raises what `set` would raise for these options."""
    def _expect(self, key: str) -> int:
        """Announces that the value of `key` is being loaded, and gives a ticket for it."""
    def _forget(self, key: str, ticket: int) -> None:
        """Takes an announcement back: the load failed, or its value isn't to be stored."""
    def _fulfil(
        self,
        key: str,
        value: Any,
        ticket: int,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> bool | None:
        """Stores the value of an announced key as `set` does, unless the key was set, deleted, cleared or invalidated since: then
        None."""
    def _scan(self, cursor: int, most: int, pattern: str | None) -> tuple[int | None, list[tuple[str, Any]]]:
        """Live entries of the next `most` places and where to go on; `pattern` has `*` and `?`."""
    def _invalidate(self, tags: Iterable[str]) -> int: ...
    def _tagged(self, tag: str) -> int: ...
    def _candidates(self, n: int) -> list[tuple[str, float, str]]:
        """Key, score and reason of the next `n` entries that would leave."""
    def _explain(
        self, key: str
    ) -> tuple[tuple[int, float | None, str, list[str], bool, bool, str] | None, tuple[str, float, str] | None, int | None]:
        """How a key stands in memory: weight, seconds left, owner, tags, whether it is immutable, pinned, and the policy's word;
        what became of it before: cause, seconds since, and why; how many removals are remembered, None if all are."""
    def _learned(self) -> Prior:
        """The model that what was learned so far makes. Only under a policy that has one."""
    def _begin_with(self, model: Prior) -> None:
        """Has the policy forget what it learned, and go by this."""
    def _stats(self) -> dict[str, Any]:
        """Sums, latencies and tables, as `forecache.stats` reads them."""
    def _on_event(self, listener: Any) -> None:
        """`listener(cause, key, value)` is called for every entry that leaves, and with the cause "refused" for a value that was
        not taken; outside any lock, on the thread that caused it. None switches it off."""

    def _near(self, key: str, default: Any = None) -> Any:
        """Like `get`, from memory alone."""
    def _attach(self, tiers: list[tuple[int, bool, bool, bool, bool]]) -> None:
        """Makes a queue for each tier: bytes, whether a full one refuses, whether other processes see the tier, and whether it
        gets at once what is read below it, and whether it has counters that processes share. From then on `get` asks
        `self._below(key, default)` for what memory doesn't have, and what it has no room for is queued for the first tier,
        unless that one gets things at once."""
    def _index(self, depth: int, index: Disk | ZMemory) -> None:
        """What tells at once whether a tier has a key."""
    def _counters(self, counters: Counters | None, namespace: str) -> None:
        """The counters by which other processes tell what they changed. What memory has counts as current."""
    def _put(
        self,
        key: str,
        value: Any,
        stored: tuple[bytes, int],
        now: int,
        plan: bytes,
        near: bool = True,
        ticket: int | None = None,
        like: Entry | None = None,
        sure: bool = False,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> int | None:
        """Sets memory (only drops what it has, unless `near`) and queues the payload for the tiers, in one step.

        `plan` has a letter a tier: `b` to write behind, `t` to write through, `d` to delete, `-` for nothing. Bit 0 of the
        answer: anyone took it; from bit 8: tiers whose queues the caller has to see to. With a ticket it is done only if that
        still stands: else None. `like` gives all that the options would. Negative: nothing was done, since the queue of that
        tier, counted from -1, is full; or, unless `sure`, since what is below is immutable (-65536)."""
    def _put_many(
        self,
        items: list[tuple[str, Any, tuple[bytes, int]]],
        start: int,
        now: int,
        plan: bytes,
        near: bool = True,
        sure: bool = False,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> tuple[int, int, int, list[list[str]]]:
        """The same for some of many, from the item `start` on: how many were done, what `_put` answered to the one after them (0:
        it wasn't asked), how many were taken, and the keys that have to be seen to in the queue of each tier. `sure` is said of
        the first only."""
    def _drop(self, key: str, plan: bytes, ticket: int | None = None) -> tuple[Any, bool] | None:
        """Removes a key from memory; tiers with a `d` delete it, those with a `c` don't get what left the tier above: the
        value, or `MISSING`, and whether a queue had
        one. With a
        ticket only if that still stands: else None."""
    def _look(self, key: str) -> int | tuple[int, int, Any]:
        """A ticket for what tiers have, if nothing is on its way to them; else ticket, mask of the tiers that have nothing
        valid, and what
        was found: `MISSING`, an `Entry`, a value in a tuple, or None if the queue of the mask's tier has to be settled first."""
    def _read_many(self, keys: Iterable[str]) -> tuple[dict[str, Any], Reading | None]:
        """The values of those keys that are there, and the reading of the others; None if there are none."""
    def _fetch(self, key: str) -> int:
        """Announces that the value of `key` is being read from tiers: a ticket, shared by all who do so at a time."""
    def _promote(self, key: str, value: Any, ticket: int, entry: Entry, now: int, depth: int = 0) -> None:
        """Stores what the tier at `depth` had, or what lay in a queue, unless the key was changed since the ticket was given."""
    def _take(self, depth: int, keys: Sequence[str] | None, bytes: int = 4_000_000) -> Taken:
        """Takes operations from a queue, of these keys or some that are due. What may leave the tier for the next is noted from
        now on."""
    def _entry(self, depth: int, key: str, payload: bytes, codec: int, now: int) -> Entry | None:
        """The entry of a live value that was taken to be demoted, encoded."""
    def _fresh(
        self,
        key: str,
        payload: bytes,
        codec: int,
        now: int,
        *,
        ttl: Any = None,
        tti: Any = None,
        tags: Iterable[str] | None = None,
        owner: str | None = None,
        cost: float | None = None,
        immutable: bool = False,
        pin: bool = False,
    ) -> Entry:
        """The entry that `set` with these options would give to a tier."""
    def _held(self, key: str, now: int) -> Entry | None:
        """The entry of what memory has, with an empty payload."""
    def _waiting(self, key: str, now: int) -> tuple[int, Entry | None]:
        """What of a key is on its way down, and nothing is done about it: a mask of the tiers that have nothing valid, and the
        entry, if there is one; that of a live value has an empty payload."""
    def _purge(self, depth: int, key: str) -> None:
        """Has a tier delete a key, unless something newer waits for it."""
    def _queued(self, depth: int, keys: Sequence[str]) -> list[str]:
        """Those of the keys that have something in a queue."""
    def _ready(self, depth: int, keys: Sequence[str]) -> bool:
        """Whether an operation of one of the keys may be taken."""
    def _keys(self, depth: int) -> list[str]:
        """Keys in a queue."""
    def _void(self, tags: list[str], owner: str | None) -> tuple[int, list[list[str]]]:
        """Empties the queues, or has what carries a tag or is the owner's be deleted: how many, and by queue the keys in
        flight."""
    def _carrying(self, tags: list[str]) -> list[str]:
        """Keys of memory's entries with any of these tags, but for what other processes have changed."""
    def _check_key(self, key: str) -> None:
        """Raises what `set` would raise for this key."""
    def _check_keys(self, keys: list[str]) -> None:
        """Raises what `set_many` would raise for any of these keys."""
    @overload
    def _begin(self, key: None) -> Changing: ...
    @overload
    def _begin(self, key: str) -> Changing | None:
        """While what is given is held, nothing that tiers have under the key (None: any) climbs. None: somebody else holds it."""
    def _is_current(self, key: str, epoch: int) -> bool:
        """Whether nobody else has changed a key since a tier of this process got an entry with this epoch."""
    def _sleeping(self, sleeps: bool) -> bool:
        """The thread that writes behind is about to sleep, or not; says whether something waits."""
    def _wakes(self) -> bool:
        """Whether the thread that writes behind has to be woken."""
    def _queues(self) -> tuple[list[tuple[int, int, int]], int]:
        """Entries, bytes and refusals of each queue, and how often something climbed."""
    def _on_the_way(self) -> list[str]:
        """Keys of what is on its way down."""
    def _forked(self) -> None:
        """For the child of a fork: what waits is the parent's to write."""

    def _record(
        self,
        path: str | os.PathLike[str],
        *,
        sampled: int,
        hash_keys: bool,
        secret: bytes | None,
        max_bytes: int,
        seconds: float | None,
        description: str,
    ) -> Recorder:
        """Begins to record what is asked for. `sampled` are keys of a million; None for `secret` is one that nobody knows."""

class Reading:
    """What a call reads from tiers: each key that memory doesn't have, once. Its end takes announcements back."""

    def keys(self) -> list[str]: ...
    def on_the_way(self) -> list[tuple[int, str]]:
        """Keys of which something is on its way to tiers, with their places: `Memory._look` tells of them."""
    def hold(self, at: int, ticket: int) -> None:
        """The ticket of the key at that place, which ends with the others."""
    def promote(
        self, entries: dict[str, Entry], found: dict[str, Any], now: int, depth: int, trusted: bool
    ) -> list[tuple[str, int, Entry]]:
        """Adds to `found` what of the entries of the tier at `depth` is bytes as they are, and stores it, if the tier is
        `trusted`; keys, tickets and entries of the others are answered. What nobody asked for is left out."""
    def end(self) -> None:
        """Takes announcements back."""

class Taken:
    """Operations in flight to a tier. Left by an interrupt, or dropped, what wasn't ended waits again; left by an error, the tier
    has to delete what was to be written."""

    sets: Final[dict[str, Entry]]
    demotes: Final[list[tuple[str, Any, bool]]]
    """Live values, and whether only where nothing is: encode each and ask `Memory._entry` for its entry."""
    sinks: Final[dict[str, Entry]]
    """What left the tier above: only where nothing is."""
    deletes: Final[list[str]]
    sinking: Final[dict[str, Entry]]
    """To be filled with what leaves this tier, for the next."""

    def __bool__(self) -> bool: ...
    def __enter__(self) -> Taken: ...
    def __exit__(self, *raised: object) -> None: ...
    def end(self, failed: list[str]) -> None:
        """All was done, but for `failed`, of which nobody knows: the tier has to delete them, unless it is told better."""

class Changing:
    """Holds what `Memory._begin` began, until it is left or dropped; what was read meanwhile doesn't climb any more either. After
    an interrupt memory forgets the key, of which a shared tier may have another value by now."""

    def __enter__(self) -> Changing: ...
    def __exit__(self, *raised: object) -> None: ...

class Recorder:
    """A recording under way, or over."""

    @property
    def active(self) -> bool:
        """Whether it still records, in this process."""
    @property
    def own(self) -> bool:
        """Whether it was begun in this process, not in the one that this was forked from."""
    @property
    def progress(self) -> tuple[int, int, int, float]:
        """Hits, misses, bytes and seconds so far."""
    @property
    def error(self) -> str | None:
        """Why it failed, if it did."""
    def stop(self) -> None:
        """Has it end."""
    def wait(self) -> tuple[int, int, int, int, float, str]:
        """Waits until it has ended and the file is complete: hits, misses, keys, bytes, seconds, reason. `TraceError` if it
        failed."""
    def wait_at_most(self, seconds: float) -> bool:
        """Waits, but no longer than that, and says whether it has ended."""

class Packing:
    """How stored payloads are compressed."""

    def __init__(
        self, algorithm: str = "none", *, level: int | None = None, min_size: int = 1024, min_ratio: float = 1.2
    ) -> None:
        """`algorithm` is none, lz4, zstd, snappy or gzip; `level` 1 to 19 for zstd and 1 to 9 for gzip. A payload shorter than
        `min_size` bytes, or that doesn't get `min_ratio` times smaller, stays as it is. Raises `ConfigError` otherwise."""

class Entry:
    """A value in the form that tiers exchange: its payload, and what is stored beside it. Times are milliseconds since 1970 (but
    `time_to_idle`: milliseconds), None for never. `version` means something to the tier that holds the entry only; `compression`
    and `stored_bytes` tell how it was stored."""

    payload: Final[bytes]
    codec: Final[int]
    compression: Final[str]
    stored_bytes: Final[int]
    written: Final[int]
    soft: Final[int | None]
    hard: Final[int | None]
    time_to_idle: Final[int | None]
    version: Final[int]
    owner: Final[str]
    generation: Final[int]
    epoch: Final[int]
    mark: Final[int]
    """The epoch of the key's stripe when it was queued for a tier that processes share; 0 if that doesn't matter."""
    tags: Final[list[str]]
    cost: Final[float]
    immutable: Final[bool]
    pinned: Final[bool]

    def __init__(
        self,
        payload: bytes,
        *,
        codec: int = 0,
        written: int = 0,
        soft: int | None = None,
        hard: int | None = None,
        time_to_idle: int | None = None,
        version: int = 0,
        owner: str = "",
        generation: int = 0,
        epoch: int = 0,
        tags: list[str] = ...,
        cost: float = 1.0,
        immutable: bool = False,
        pinned: bool = False,
    ) -> None: ...
    def seal(self, namespace: str, key: str, packing: Packing) -> bytes:
        """The record of the entry, to be read under the same namespace and key only."""
    def seal_pieces(self, namespace: str, key: str, packing: Packing) -> list[bytes]:
        """The same in pieces, which are no copy of a large payload that isn't compressed."""
    def versioned(self, version: int, payload: bytes | None = None) -> Entry:
        """The same entry under another version, or with another payload."""
    @staticmethod
    def open(namespace: str, key: str, record: bytes) -> Entry:
        """A record taken apart. Raises `CodecError` if it is damaged, was stored under another key, or by a newer forecache."""

class Begin:
    """What each object of a store begins with. `stored` is by the clock of the cache, `sent` by that of the store, milliseconds
    since 1970; a store that hadn't it `within` so many milliseconds was no longer waited for. `key`, `facts` and `length`, of the
    payload, are in bytes."""

    key: Final[int]
    facts: Final[int]
    stored: Final[int]
    sent: Final[int]
    within: Final[int]
    length: Final[int]
    kind: Final[int]
    @staticmethod
    def of(object: Any) -> Begin | None:
        """That of the object that begins with these bytes, in a read-only buffer; None if it is damaged, or not one of ours."""
    @property
    def start(self) -> int:
        """Bytes of the head."""
    def void(self, modified: int) -> bool:
        """Whether nothing is there: it is a grave, or the store had it, `modified`, after it was given up."""

def open_object(namespace: str, key: str, object: Any, modified: int, packed: int = ..., plain: int = ...) -> Entry | bool | None:
    """The entry of an object in a read-only buffer, which a store had from `modified` on. None: nothing is there. False: it is
    damaged, or not ours. True: it has more bytes than are opened where one stands, `packed` if they are compressed, `plain` if
    not. Raises `BufferError` for what can be written to."""

def are_entries(answer: object) -> bool:
    """Whether something is a dict of entries."""

def ask_served(base: bytes, keys: list[str]) -> bytes:
    """What is sent to a Redis server to ask for the generation and the values of keys."""

def open_reply(
    namespace: str, keys: list[str], buffer: bytes | bytearray, size: int, now: int
) -> tuple[dict[str, Entry], list[str], list[str]] | Literal[False] | None:
    """What `open_served` tells, of the reply to `ask_served` as it came, of which a buffer holds `size` bytes. Nobody may write
    to it meanwhile. False: there is more to come. None: something is unusual, as an error or a long value."""

@overload
def open_served(
    namespace: str,
    keys: Sequence[str],
    values: Sequence[bytes | None],
    generation: bytes,
    now: int,
    *,
    versions: Sequence[int] | None = None,
) -> tuple[dict[str, Entry], list[str], list[str]]:
    """The live entries among `values`, each a head of 28 bytes and a record; the keys of those that have a time to idle; and the
    keys whose values are damaged, or somebody else's. `versions` count instead of the heads'."""

@overload
def open_served(
    namespace: str,
    keys: Sequence[str],
    values: Sequence[bytes | None],
    generation: bytes,
    now: int,
    most: int,
    versions: Sequence[int] | None = None,
) -> tuple[dict[str, Entry], list[str], list[str]] | None:
    """The same; None if the values have more bytes than `most`."""

class Disk:
    """Entries on disk that processes of a host share, within a budget of bytes. `now` is in milliseconds since 1970.

    What changes something takes the directory's lock. With `wait=False` it gives None, having done nothing, if the lock is
    taken or the work would take long. Every call can raise `OSError`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "",
        capacity: int = ...,
        policy: str = "adaptive",
        admission: str = "doorkeeper",
        packing: Packing | None = None,
        seed: int | None = None,
        or_read: bool = False,
    ) -> None:
        """Opens a directory, and makes it if there is none. `capacity` is in bytes, of all namespaces, and at least 8 MiB.
        `policy` is lru, lfu or adaptive. `admission`: `"doorkeeper"` has a full directory take only keys that it was given
        lately (and immutable and pinned entries), `"all"` takes all. `seed` fixes hashing and sampling. With `or_read` one
        that can't be written to is opened all the same: it is only read, and what would change something raises `OSError`,
        until it can be written to. Raises `OSError` with
        the reason if the directory can't be used (another's, a newer format, a network file system), `ConfigError` for a
        wrong option."""
    def get(self, key: str, now: int, most: int | None = None) -> Entry | int | None:
        """The entry; None for a miss; the bytes of its record if they are more than `most`, and then it wasn't read."""
    def get_many(self, keys: Sequence[str], now: int, most: int | None = None) -> tuple[dict[str, Entry], list[str]]:
        """What was found, and the keys whose records are longer than `most`."""
    def set_many(self, entries: dict[str, Entry], now: int, *, absent: bool = False, wait: bool = True) -> list[str] | None:
        """Stores entries, with `absent` only under keys that hold nothing. Gives the keys that were refused: too long, not
        admitted, expired, or changed by others since the entry was queued. A key that was refused holds nothing
        afterwards."""
    def delete_many(self, keys: Sequence[str], now: int, *, wait: bool = True) -> list[str] | None:
        """Deletes, and gives the keys that were there."""
    def swap(self, key: str, version: int | None, entry: Entry | None, now: int, *, wait: bool = True) -> bool | None:
        """Stores the entry, or deletes with None, if what is there has that version, None being nothing; says whether it did.
        Raises `ValueError` if there is no room for it."""
    def lacks(self, keys: Sequence[str], now: int) -> list[str]:
        """Those of the keys that hold nothing."""
    def scan(self, cursor: int, most: int, pattern: str | None, now: int) -> tuple[int | None, list[str]]:
        """Some keys, those that match `pattern` (`*` and `?`) of about `most`, and the next cursor, None at the end. Begin
        with 0. A key that is there all the while comes once."""
    def clear(self, tags: Sequence[str], owner: str | None = None, now: int = 0) -> int:
        """Removes all entries of the namespace, or those that carry any of the tags or are the owner's; says how many. Where
        only some are removed, those are counted that have not expired at `now`."""
    def flush(self) -> None:
        """Waits until all that was stored would survive a crash of the machine."""
    def close(self) -> None: ...
    def stats(self) -> dict[str, int]:
        """Entries of the namespace, bytes of the directory and repairs, and what this process did."""
    def cramped(self) -> int:
        """Entries that this process had refused because no space was left on the file system."""
    def read_only(self) -> str | None:
        """That it can't be written to, and why; None if it can be."""
    def counters(self) -> Counters:
        """The directory's counters of changes."""
    def forked(self) -> None:
        """To be called in the child of a fork."""
    @staticmethod
    def info(path: str | os.PathLike[str]) -> dict[str, Any]:
        """What a directory holds: format, capacity, bytes, entries, dead (entries of emptied namespaces), slots of the index,
        clean (whether it needed no repair), classes (bytes of a place, places, places in use, bytes) and namespaces (name,
        entries, bytes)."""
    @staticmethod
    def verify(path: str | os.PathLike[str], progress: Callable[[float], object] | None = None) -> dict[str, int]:
        """Reads and checks everything, and removes what is damaged: good, corrupt, unreachable. `progress` hears from 0 to
        1."""
    @staticmethod
    def gc(path: str | os.PathLike[str], now: int) -> dict[str, int]:
        """Drops what is expired or dead, and gives space back: entries dropped, bytes freed."""

def be_patient() -> None:
    """Has this thread let go of the GIL for any work on a disk that changes something, however short."""

class Counters:
    """Counters of changes that processes share, one a stripe of keys. `other`: another view of the same counters, as another
    process has it; without one, they are shared with nobody."""

    def __init__(self, other: Counters | None = None) -> None: ...
    def stripe(self, namespace: str, key: str) -> int:
        """Where a key counts."""
    def epoch(self, stripe: int) -> int:
        """A number, never 0, that is another than before if others changed a key of the stripe meanwhile."""
    def bump(self, stripe: int) -> None:
        """A key of the stripe was changed through this view."""

class ZMemory:
    """Sealed, compressed records in memory. `now` is milliseconds since 1970. `most` are the bytes of a payload above which an
    entry isn't read: ask again in another thread, with None."""

    def __init__(self, *, namespace: str, capacity: int, policy: str, packing: Packing, seed: int | None = None) -> None: ...
    def get(self, key: str, now: int, most: int | None) -> Entry | int | None:
        """The entry; its bytes if they are more than `most`; None if there is none."""
    def get_many(self, keys: Sequence[str], now: int, most: int | None) -> tuple[dict[str, Entry], list[str]]:
        """The entries that are there, and the keys of those of more than `most`."""
    def set_many(self, entries: Sequence[tuple[str, Entry]], now: int, absent: bool) -> tuple[list[str], dict[str, Entry]]:
        """Keys that were refused, and what was evicted."""
    def delete_many(self, keys: Sequence[str], now: int) -> list[str]:
        """Keys that were there."""
    def swap(self, key: str, version: int | None, entry: Entry | None, now: int) -> bool: ...
    def scan(self, cursor: int, most: int, pattern: str | None, now: int) -> tuple[int | None, list[str]]:
        """Keys of the next `most` places and where to go on."""
    def clear(self, tags: Sequence[str], owner: str | None, now: int) -> int:
        """As that of `Disk`, but all that is counted lived at `now`."""
    def resize(self, capacity: int, now: int) -> dict[str, Entry]:
        """What was evicted."""
    def stats(self) -> dict[str, int]: ...

def is_plain(value: object) -> bool:
    """Whether `value` is made of nothing but None, bool, int (of 64 bits), float, str, bytes, list, and dict with str as keys: of
    these very types, not of others derived from them."""

class Trace:
    """A recording in memory: what was asked for, row by row."""

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        columns: str | dict[str, str] | None = None,
        *,
        format: str | None = None,
        lenient: bool = False,
        group_requests: str | os.PathLike[str] | None = None,
        memory: int | None = None,
    ) -> Trace:
        """Reads a whole file of a format in `FORMATS` (found by the file itself if not given), or raises `TraceError` with the
        byte or line. `columns` maps key, size, time, op, ttl, owner, request, cost, key_size and count to columns of a table,
        by their names or numbers: `"key=id,size=bytes"`. `lenient` counts and skips rows that can't be used. `group_requests`
        is a file of one byte a row (1 for the last of a request), a directory of such files, or a column. `memory` is how many
        bytes the rows may take."""
    def __len__(self) -> int: ...
    @property
    def unique(self) -> int:
        """How many keys there are."""
    @property
    def footprint(self) -> int:
        """Bytes: the largest size that each key ever had, summed."""
    @property
    def page_size(self) -> int:
        """Bytes of a page, where keys number pages; else 0."""
    @property
    def device_size(self) -> int:
        """Bytes of the device that was recorded; else 0."""
    @property
    def opaque(self) -> bool:
        """Whether keys were numbered by first appearance, so that "the next number" looks into the future."""
    @property
    def hashed(self) -> bool:
        """Whether keys are secret hashes of the real ones."""
    @property
    def sampled(self) -> int:
        """Of a million keys, those that were recorded."""
    @property
    def description(self) -> str: ...
    @property
    def skipped(self) -> dict[str, int]:
        """Rows that `lenient` left out, by what was wrong."""
    def costs(self, start: int = 0, stop: int | None = None) -> list[float]:
        """What each access costs to load."""
    def check_addresses(self) -> None:
        """Raises `TraceError` if the keys are no addresses: texts, hashes, or numbered by first appearance."""
    @property
    def expires(self) -> bool:
        """Whether anything has a time to live."""
    @property
    def accesses(self) -> int:
        """Rows that hit or miss: all but deletes and fills."""
    @property
    def only_asks(self) -> bool:
        """Whether there are no fills and no looks: where there are, Belady's optimum is nearly one."""
    def lru_is_exact(self, by_bytes: bool) -> bool:
        """Whether `recency` counts what `simulate` counts for LRU."""
    def in_lockstep(self, policy: str, by_bytes: bool) -> bool:
        """Whether `curve` simulates many sizes with this policy in one pass."""
    def sample(self, keys: float) -> Trace:
        """All accesses to about this share of the keys, chosen by hash."""
    def with_times_to_live(self, factor: float | None) -> Trace:
        """The same with each time to live multiplied; None: nothing expires."""
    def rows(self, start: int = 0, stop: int | None = None) -> list[tuple[int, str, int, str, int | None, str, bool]]:
        """Time in nanoseconds, key, bytes, "get", "set", "delete", "fill" or "look", nanoseconds to live, owner, and whether
        the next row is of the same request."""

class Tally:
    """What a replay counted."""

    accesses: Final[int]
    misses: Final[int]
    bytes: Final[int]
    missed_bytes: Final[int]
    requests: Final[int]
    whole_requests: Final[int]
    seconds: Final[float]
    evictions: Final[int]
    """Those that could be judged; 0 unless `accuracy` was asked for."""
    right_evictions: Final[int]

def simulate(
    trace: Trace,
    policy: str,
    *,
    max_entries: int | None = None,
    capacity: int | None = None,
    seed: int = 0,
    addresses: bool = False,
    prior: Prior | None = None,
    accuracy: bool = False,
    first: int = 0,
) -> Tally:
    """Replays `trace` through an empty store bounded by entries or by bytes (one of them). `prior` goes to `learned`. What is
    counted are the rows from `first` on. `accuracy` counts how many evictions were right: nobody asked for the object within as
    many requests as there were entries."""

class Prior:
    """What the policy `learned` knows before it has seen anything."""

    @staticmethod
    def none() -> Prior:
        """That hits become rarer with age, and no more."""
    @staticmethod
    def shipped() -> Prior:
        """The one that comes with the package."""
    LENGTH: Final[int]
    """Bytes of a file."""
    @staticmethod
    def read(file: bytes, subject: str = "prior: the file") -> Prior:
        """What a file holds that `write` made; `ConfigError` says what is wrong with another one, and begins with `subject`."""
    def corrected(self, evidence: Sequence[Evidence]) -> Prior:
        """What comes of it by what was learned from traces, each of which weighs the same."""
    def write(self) -> bytes:
        """The content of a file."""

class Evidence:
    """What became of the keys of a trace: hits and waits, by class and age. No key is in it."""

    @staticmethod
    def of(trace: Trace, entries: Sequence[int], *, rows: int = ..., weight: float = 100_000) -> Evidence:
        """Of the first `rows`, pooled over caches of so many entries, as if they were `weight` accesses; `TraceError` if all are
        smaller than 50."""

class Lessons:
    """What the policy `learned` knows at the end of a trace.

    `ages` are the least ages of the buckets, in requests, and that past the last. `chances` of a hit in each bucket and `worths`
    in hits a request come by class: frequency, octave of the last gap and the gap before, as `learn/features.rs` numbers them.
    """

    ages: Final[list[float]]
    chances: Final[list[tuple[tuple[int, int, int], list[float]]]]
    worths: Final[list[tuple[tuple[int, int, int], list[float]]]]

    @staticmethod
    def of(trace: Trace, max_entries: int, *, prior: Prior | None = None) -> Lessons:
        """By a cache of so many entries."""

def evicted(
    trace: Trace, policy: str, max_entries: int, *, prior: Prior | None = None
) -> list[tuple[tuple[int, int, int], list[int]]]:
    """How many evictions were of each class, and of it in each bucket of age, as in `Lessons`; `policy` may be "belady", too."""

def curve(trace: Trace, policy: str, sizes: Sequence[int], *, by_bytes: bool = False, seed: int = 0) -> list[Tally]:
    """What `simulate` counts, for each size; in less time where nothing expires: one pass for LRU, no store for others."""

def recency(trace: Trace, sizes: Sequence[int], *, by_bytes: bool = False) -> list[Tally]:
    """LRU at each size in one pass, as if nothing expired; see `curve` for what is exact."""

def belady(trace: Trace, *, max_entries: int | None = None, capacity: int | None = None, accuracy: bool = False) -> Tally:
    """What a policy could have missed that knew the future (one of the two bounds). The fewest misses possible for a number of
    entries; for bytes a heuristic, and no bound. `accuracy` is as for `simulate`, and counts nothing for bytes."""

def write_trace(
    path: str | os.PathLike[str],
    accesses: Iterable[tuple[int, str, int, str, int | None, str, bool, int]],
    *,
    texts: bool = False,
    page_size: int = 0,
    device_size: int = 0,
    opaque: bool = False,
    hashed: bool = False,
    sampled: int = 1_000_000,
    description: str = "",
) -> None:
    """Writes a trace of ours: rows as `Trace.rows` gives them, each with how many pages it covers (1 for keys that are none).
    Keys have to be numbers unless `texts`. The file appears when all is written."""

def convert_trace(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    hash_keys: bool = False,
    secret: bytes | None = None,
    description: str | None = None,
) -> None:
    """Writes any trace as one of ours; with `hash_keys` its keys and owners as hashes, by a secret that is thrown away unless
    given."""

def import_blocks(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    page_size: int = 4096,
    device_size: int = 0,
    description: str = "",
) -> tuple[int, int]:
    """Turns a block recorder's CSV (`time_us,op,offset,length`) into a trace of pages, and says how many requests and pages."""
