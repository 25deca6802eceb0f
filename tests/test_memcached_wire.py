"""What a Memcached server says, however it comes in, and how its names are spread."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import ConfigError, Memcached, TierUnavailable
from forecache.testing import DictTier, check_tier
from forecache.tiers.memcached_wire import SETTINGS, Exchange, Reply, delete, peek, put, read
from forecache.tiers.ring import Ring

COMMANDS = [read(b"a"), read(b"b"), peek(b"a"), put(b"a", b"value", 0), put(b"a", b"value", 9, absent=True), delete(b"a", 4)]
SAID = b"VA 7 c12\r\nsome\r\n!\r\nEN\r\nHD c3\r\nHD\r\nNS\r\nNF\r\n"
MEANT = [Reply(True, 12, b"some\r\n!"), Reply(False), Reply(True, 3), Reply(True), Reply(False), Reply(False)]


@given(st.lists(st.integers(1, len(SAID) - 1), unique=True).map(sorted))
def test_replies_are_the_same_however_they_are_cut(cuts):
    exchange = Exchange(COMMANDS, "server")
    parts = [SAID[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(SAID)], strict=True)]
    assert [exchange.feed(part) for part in parts] == [False] * len(cuts) + [True]
    assert exchange.replies == MEANT


def test_commands_are_those_of_the_protocol():
    assert Exchange(COMMANDS, "server").sent == (
        b"mg a c v\r\nmg b c v\r\nmg a c\r\nms a 5 T0\r\nvalue\r\nms a 5 T9 ME\r\nvalue\r\nmd a C4\r\n"
    )


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"ERROR\r\n", "1.6.7 or newer"),
        (b"CLIENT_ERROR bad data chunk\r\n", "bad data chunk"),
        (b"SERVER_ERROR busy\r\n", "busy"),
        (b"VA 3 c1\r\nabcdef\r\n", "didn't end where it should"),
        (b"EN\r\nEN\r\n", "more than it was asked"),
        (b"x" * 10_000, "no line"),
        (b"", "closed the connection"),
    ],
)
def test_what_is_no_reply_is_told(reply, told):
    with pytest.raises(TierUnavailable, match=told):
        Exchange([read(b"a")], "server").feed(reply)


@given(st.binary(min_size=1, max_size=60))
def test_garbage_is_an_error_or_a_wait_but_never_a_value(garbage):
    exchange = Exchange([read(b"a")], "server")
    with suppress(TierUnavailable):
        exchange.feed(garbage)
    assert all(not reply.value or garbage.startswith(b"VA ") for reply in exchange.replies)


def test_a_value_that_finds_no_room_is_refused():
    exchange = Exchange([put(b"a", b"value", 0), read(b"a")], "server")
    assert exchange.feed(b"SERVER_ERROR out of memory storing object\r\nEN\r\n")
    assert exchange.replies == [Reply(False, refused=True), Reply(False)]


def test_settings_are_read_to_their_end():
    exchange = Exchange([SETTINGS], "server")
    assert not exchange.feed(b"STAT maxbytes 67108864\r\nSTAT item_size_max 1048")
    assert exchange.feed(b"576\r\nEND\r\n")
    assert exchange.settings[b"item_size_max"] == b"1048576"
    kept = Exchange([SETTINGS], "server")
    assert not kept.feed(b"CLIENT_ERROR no")
    assert kept.feed(b"t here\r\n")
    assert b"item_size_max" not in kept.settings
    with pytest.raises(TierUnavailable, match="reply was"):
        Exchange([SETTINGS], "server").feed(b"HTTP/1.1 400 Bad Request\r\n")


NAMES = st.lists(st.text(st.characters(codec="ascii", exclude_characters=","), min_size=1), min_size=2, max_size=6, unique=True)


@settings(deadline=None)
@given(NAMES, st.lists(st.text(), max_size=50), st.randoms())
def test_who_leaves_a_ring_moves_own_keys_only(names, keys, chance):
    ring = Ring("ring", {name: DictTier(name=name) for name in names})
    shuffled = chance.sample(names, len(names))
    again = Ring("ring", {name: DictTier(name=name) for name in shuffled})
    assert [ring.tier(key).name for key in keys] == [again.tier(key).name for key in keys]
    gone = chance.choice(names)
    rest = Ring("ring", {name: DictTier(name=name) for name in names if name != gone})
    for key in keys:
        before = ring.tier(key).name
        assert before == gone or rest.tier(key).name == before


def test_shares_are_about_equal():
    ring = Ring("ring", {name: DictTier(name=name) for name in ("one", "two", "three")})
    owners = [ring.tier(f"key:{number}").name for number in range(3000)]
    assert all(800 < owners.count(name) < 1200 for name in ("one", "two", "three"))


@pytest.mark.parametrize("count", [1, 3])
def test_a_ring_is_a_tier_if_its_parts_are(count):
    check_tier(lambda now: Ring("ring", {str(number): DictTier(name=str(number), now=now) for number in range(count)}))


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        ("localhost", ("localhost:11211",)),
        (" One , two:5 ", ("one:11211", "two:5")),
        (["[::1]", "[fe80::1]:7"], ("[::1]:11211", "[fe80::1]:7")),
    ],
)
def test_servers_may_be_given_in_any_way(given_, meant):
    assert Memcached(given_).servers == meant


@pytest.mark.parametrize("servers", ["", [], "a,a:11211", "a:0", "a:65536", "a:b", "::1", "[::1", "a b", "user@a", "a/b", 5, [5]])
def test_what_is_no_server_is_told(servers):
    with pytest.raises(ConfigError, match=r"memcached\.servers: got .*; allowed: where servers are"):
        Memcached(servers)
