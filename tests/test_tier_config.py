"""Tiers in a configuration: where they may be said, what they may be, and what a wrong one is told."""

import dataclasses
import inspect
from pathlib import Path

import pytest

from forecache import Cache, Config, ConfigError, Custom, Disk, TierUnavailable, ZMemory
from forecache.codec import Json
from forecache.loading import KINDS, kind
from forecache.options import TIERS
from forecache.testing import DictTier, FakeClock
from forecache.tiers.breaker import Breaker
from forecache.tiers.tier import wall_time


def test_a_bare_cache_has_no_tier_below_memory():
    config = Config()
    assert (config.tiers, config.codec, config.secret) == ((), "msgpack", None)


def test_a_disk_has_a_gigabyte_and_writes_behind_unless_told():
    disk = Disk("/var/cache/app")
    assert (disk.capacity, disk.policy, disk.admission, disk.write, disk.queue, disk.when_full) == (
        10**9,
        "lru",
        "doorkeeper",
        "behind",
        64_000_000,
        "wait",
    )
    assert (disk.packed.compression, disk.packed.min_size, disk.strict, disk.name) == ("lz4", 1024, False, "disk")


def test_compressed_memory_takes_what_is_evicted_above_it():
    assert (ZMemory().capacity, ZMemory().write, ZMemory().name) == (10**8, "demote", "zmemory")


def test_tiers_are_frozen_and_equal_by_what_they_were_told():
    disk = Disk("/var/cache/app", "20GB", timeout="500ms")
    assert disk == Disk(Path("/var/cache/app"), 20 * 10**9, timeout=0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        disk.capacity = 5
    assert hash(disk) == hash(Disk("/var/cache/app", "20GB", timeout="500ms"))


def test_urls_give_tiers_in_their_order():
    config = Config.from_url(
        "memory://?capacity=512MB&ttl=5m", "zmemory://?capacity=256MB&policy=clock2q+", "disk:///var/cache/my%20app?capacity=20GB"
    )
    assert (config.capacity, config.ttl) == (512_000_000, 300)
    assert config.tiers == (ZMemory("256MB", policy="clock2q+"), Disk("/var/cache/my app", "20GB"))
    assert Config.from_url("disk:///var/cache/app").tiers == (Disk("/var/cache/app"),)
    assert Config.from_url("disk:///var/cache/app").capacity == Config().capacity


def test_toml_and_environment_give_tiers_by_their_speed(tmp_path):
    expected = (ZMemory("256MB"), Disk("/var/cache/app", "20GB", level=3, compression="zstd", strict=True, min_ratio=1.5))
    file = tmp_path / "cache.toml"
    file.write_text(
        '[disk]\npath = "/var/cache/app"\ncapacity = "20GB"\ncompression = "zstd"\nlevel = 3\nstrict = true\nmin_ratio = 1.5\n'
        '[zmemory]\ncapacity = "256MB"\n'
    )
    assert Config.from_toml(file).tiers == expected
    environ = {
        "FORECACHE_DISK_PATH": "/var/cache/app",
        "FORECACHE_DISK_CAPACITY": "20GB",
        "FORECACHE_DISK_COMPRESSION": "zstd",
        "FORECACHE_DISK_LEVEL": "3",
        "FORECACHE_DISK_STRICT": "on",
        "FORECACHE_DISK_MIN_RATIO": "1.5",
        "FORECACHE_ZMEMORY_CAPACITY": "256MB",
    }
    assert Config.from_env(environ).tiers == expected
    assert Config.from_env({"FORECACHE_ZMEMORY": "on"}).tiers == (ZMemory(),)


def test_each_tier_can_be_switched_off(tmp_path):
    environ = {"FORECACHE_DISK_PATH": "/var/cache/app", "FORECACHE_ZMEMORY_CAPACITY": "1GB"}
    assert Config.from_env(environ | {"FORECACHE_DISK": "off"}).tiers == (ZMemory("1GB"),)
    assert Config.from_env(environ | {"FORECACHE_ZMEMORY": "off"}).tiers == (Disk("/var/cache/app"),)
    file = tmp_path / "cache.toml"
    file.write_text('[disk]\nenabled = false\npath = "/var/cache/app"\n[zmemory]\nenabled = true\n')
    assert Config.from_toml(file).tiers == (ZMemory(),)


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (
            ["disk://var/cache"],
            r"url: got 'disk://var/cache'; allowed: an absolute path after three slashes, as in disk:///var/cache",
        ),
        (["disk://"], r"url: got 'disk://'; allowed: a path, as in disk:///var/cache/app"),
        (["disk:///a#b"], r"url: got .*; allowed: a path without '#', or with %23 for it"),
        (["disk:///~/cache", "disk:///b"], r"url: got 'disk:///b'; allowed: one disk:// only"),
        (["disk:///a", "memory://"], r"url: got 'memory://'; allowed: memory:// before the others"),
        (["zmemory://256MB"], r"url: got .*; allowed: options in the query, and nothing else"),
        (["disk:///a?max_entries=5"], r"url option max_entries: got '5'; allowed: path, capacity, policy, admission"),
        (["disk:///a?ttl=5m"], r"url option ttl: got '5m'; allowed: path, capacity"),
        (["disk:///a?path=/b"], r"url option path: got '/b'; allowed: path in one place only"),
        (["memory://?admission=all"], r"url option admission: got 'all'; allowed: capacity, max_entries, policy"),
        (["dsk:///a"], r"url: got 'dsk:///a'; allowed: a scheme of memory, zmemory, disk, redis, .* \(did you mean disk\?\)"),
        (["disk:///a?capacity=5MB"], r"disk.capacity: got '5MB'; allowed: 8MiB or more"),
        (["disk:///a?strict=perhaps"], r"disk.strict: got 'perhaps'; allowed: True or False"),
    ],
)
def test_a_wrong_url_is_told(urls, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_url(*urls)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FORECACHE_DISK": "on"}, r"disk.path: got None; allowed: the directory, as an absolute path; .*FORECACHE_DISK=off"),
        ({"FORECACHE_DISK_CAPACITY": "5GB"}, r"disk.path: got None"),
        ({"FORECACHE_DISK_PTH": "/a"}, r"FORECACHE_DISK_PTH: got '/a'; .*did you mean FORECACHE_DISK_PATH\?"),
        ({"FORECACHE_DISK_TTL": "5"}, r"FORECACHE_DISK_TTL: got '5'; allowed: "),
        ({"FORECACHE_DISK": "maybe"}, r"FORECACHE_DISK: got 'maybe'; allowed: on or off"),
        ({"FORECACHE_TIERS": "disk"}, r"FORECACHE_TIERS: got 'disk'"),
    ],
)
def test_a_wrong_environment_is_told(environ, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_env(environ)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Disk("cache"), r"disk.path: got 'cache'; allowed: an absolute path, such as '/var/cache/app'; a relative one"),
        (lambda: Disk("~/cache"), r"disk.path: got '~/cache'; .*expanduser"),
        (lambda: Disk(""), r"disk.path: got ''"),
        (lambda: Disk("/a\0b"), r"disk.path: got"),
        (lambda: Disk(5), r"disk.path: got 5"),
        (lambda: Disk("/a", "1MB"), r"disk.capacity: got '1MB'; allowed: 8MiB or more"),
        (lambda: Disk("/a", policy="s3fifo"), r"disk.policy: got 's3fifo'; allowed: lru, lfu, adaptive, learned"),
        (lambda: Disk("/a", admission="some"), r"disk.admission: got 'some'; allowed: doorkeeper, all"),
        (lambda: Disk("/a", write="back"), r"disk.write: got 'back'; allowed: through, behind, demote"),
        (lambda: Disk("/a", queue="0"), r"disk.queue: got '0'"),
        (lambda: Disk("/a", when_full="drop"), r"disk.when_full: got 'drop'; allowed: wait, refuse"),
        (lambda: Disk("/a", compression="lzma"), r"compression: got \"lzma\"; allowed: none, lz4, zstd, snappy, gzip"),
        (lambda: Disk("/a", compression=None), r"disk.compression: got None"),
        (lambda: Disk("/a", level=1), r"level: got 1; allowed: none, because lz4 has none"),
        (lambda: Disk("/a", compression="zstd", level=20), r"disk.level: got 20; allowed: a whole number from 1 to 19"),
        (lambda: Disk("/a", min_size=-1), r"disk.min_size: got -1"),
        (lambda: Disk("/a", min_ratio=0.5), r"disk.min_ratio: got 0.5; allowed: a number from 1"),
        (lambda: Disk("/a", strict=1), r"disk.strict: got 1; allowed: True or False"),
        (lambda: Disk("/a", timeout=0), r"disk.timeout: got 0; allowed: seconds above 0"),
        (lambda: ZMemory("many"), r"zmemory.capacity: got 'many'"),
        (lambda: ZMemory(policy="best"), r"zmemory.policy: got 'best'; allowed: lru, lfu, random, s3fifo"),
        (lambda: Config(tiers="disk:///a"), r"tiers: got 'disk:///a'; allowed: a list of tiers"),
        (lambda: Config(tiers=Disk("/a")), r"tiers: got Disk\(.*; allowed: a list of tiers"),
        (lambda: Config(tiers=[5]), r"tiers: got 5; allowed: .*this has no get_many, set_many"),
        (lambda: Config(tiers=[DictTier]), r"tiers: got .*; this has no name"),
        (lambda: Config(tiers=[Disk("/a"), Disk("/b")]), r"tiers: got Disk.*; allowed: one tier of each name: .* 'disk'"),
        (lambda: Config(tiers=[DictTier(name="memory")]), r"one tier of each name"),
        (lambda: Config(tiers=[DictTier(name="")]), r"whose name is a str that isn't empty"),
        (lambda: Config(codec="yaml"), r"codec: got 'yaml'; allowed: msgpack, json, pickle"),
        (lambda: Config(codec=5), r"codec: got 5; allowed: msgpack, json, pickle, or an object"),
        (lambda: Config(codec="pickle"), r"secret: got None; allowed: bytes to sign with"),
        (lambda: Config(codec="pickle", secret="short"), r"secret: got '5 bytes'; allowed: 16 random bytes or more"),
        (lambda: Config(secret="x" * 16), r"secret: got 'bytes'; allowed: none"),
        (lambda: Config(codec=Json()), r"codec.number: got 2; allowed: 128 to 255"),
    ],
)
def test_a_wrong_tier_is_told_with_its_field_and_what_is_allowed(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_secret_is_not_shown():
    config = Config(codec="pickle", secret="sixteen bytes or more")
    assert config.secret == b"sixteen bytes or more"
    assert "sixteen" not in repr(config)


def test_a_tier_of_ones_own_is_taken_with_defaults_or_as_told():
    tier = DictTier(name="mine")
    (plain,) = Cache(tiers=[tier]).config.tiers
    assert plain == Custom(tier)
    assert (plain.name, plain.write, plain.timeout, plain.strict) == ("mine", "through", 5, False)
    assert Config(tiers=[Custom(tier, write="behind", timeout=None)]).tiers[0].write == "behind"


def test_made_tiers_have_their_layers(tmp_path):
    now = wall_time(FakeClock())
    own = DictTier(now=now)
    assert isinstance(Custom(own).make("space", now), Breaker)
    assert Custom(own).make("space", now).tier is own
    assert ZMemory().make("space", now).stats().capacity == 10**8
    where = tmp_path / "a file"
    where.write_text("no directory")
    broken = Disk(where).make("space", now)
    assert broken.stats().state == "down"
    assert str(where) in broken.stats().reason
    with pytest.raises(TierUnavailable, match="a file"):
        Disk(where, strict=True).make("space", now)


@pytest.mark.parametrize("name", KINDS)
def test_the_table_names_the_options_and_defaults_that_there_are(name):
    parameters = dict(inspect.signature(kind(name).__init__).parameters)
    del parameters["self"]
    assert set(parameters) == set(TIERS[name])
    for option, parameter in parameters.items():
        told = TIERS[name][option].default
        if parameter.default is None:
            assert told in ("none", "random", "usual", "the cloud's", "the environment's"), option
        elif parameter.default is not parameter.empty:
            assert told.strip('`"') == str(parameter.default).replace("False", "false").replace("True", "true"), option
