"""Presets: what they give, what they leave, and what they are cut to."""

import json
import warnings

import pytest

from forecache import Cache, Config, ConfigError, ZMemory, machine
from forecache.presets import PRESETS

GB = 10**9


@pytest.fixture
def host(monkeypatch):
    """Sets what the host has; without a call it has more than any preset asks for."""

    def has(memory=10**15, disk=10**15):
        monkeypatch.setattr(machine, "memory", lambda: memory)
        monkeypatch.setattr(machine, "room", lambda _directory: disk)

    has()
    return has


def below(config):
    return [(tier.name, tier.capacity, tier.packed.compression) for tier in config.tiers]


@pytest.mark.parametrize(
    ("preset", "memory", "tiers", "planned"),
    [
        ("default", 10, [("disk", 100 * GB, "lz4")], {}),
        ("edge", 2.5, [("zmemory", 2.5 * GB, "lz4"), ("disk", GB, "lz4")], {"prefetch": 0.9}),
        ("regional", 20, [("disk", 200 * GB, "snappy")], {"prefetch": 0.6}),
        ("global", 50, [("disk", 500 * GB, "zstd")], {"prefetch": 0.5, "dedup": True}),
    ],
)
def test_a_preset_sizes_the_tiers_that_urls_name(host, preset, memory, tiers, planned):
    config = Config.from_url("disk:///var/cache/app", preset=preset)
    assert (config.capacity, below(config), config.planned) == (memory * GB, tiers, planned)
    assert config.origins["capacity"] == f"preset {preset}"
    assert PRESETS.keys() == {"default", "edge", "regional", "global"}


def test_the_tiers_below_memory_get_their_sizes_in_their_order(host):
    urls = ["zmemory://", "redis://a", "memcached://b", "s3://c", "file:///d?name=last"]
    config = Config.from_url(*urls, preset="default")
    sizes = [("zmemory", 10**8), ("redis", 100 * GB), ("memcached", None), ("object", 1000 * GB), ("last", None)]
    assert [(tier.name, tier.capacity) for tier in config.tiers] == sizes


def test_every_source_can_name_a_preset(host, tmp_path):
    file = tmp_path / "cache.toml"
    file.write_text('preset = "edge"')
    expected = Config("2500MB", tiers=[ZMemory("2500MB")])
    assert Config.from_url("memory://?preset=edge") == Config.from_env({"FORECACHE_PRESET": "edge"}) == expected
    assert Config.from_toml(file) == Config.load(path=file, environ={}) == expected
    with Cache.from_url(preset="edge") as cache:
        assert cache.config == expected
    assert Config.from_toml(file, preset="regional").capacity == 20 * GB


def test_a_preset_gives_way_to_what_is_said(host):
    config = Config.from_url(
        "memory://?capacity=1GB", "zmemory://?compression=zstd", "disk:///a?capacity=5GB", preset="edge", ttl="1h"
    )
    assert (config.capacity, config.ttl) == (GB, 3600)
    assert below(config) == [("zmemory", 2.5 * GB, "zstd"), ("disk", 5 * GB, "lz4")]
    assert Config.from_env({"FORECACHE_PRESET": "edge", "FORECACHE_ZMEMORY": "off"}).tiers == ()


def test_capacities_are_cut_to_the_host_with_a_warning(host):
    host(memory=10 * GB, disk=80 * GB)
    with pytest.warns(RuntimeWarning) as told:
        config = Config.from_url("disk:///a", preset="global")
    assert (config.capacity, below(config)) == (7.5 * GB, [("disk", 72 * GB, "zstd")])
    assert [str(each.message) for each in told] == [
        "preset global: 50GB of memory become 7.5GB, because the host has 10GB",
        "preset global: 500GB at /a become 72GB, because its file system has room for 80GB",
    ]
    assert {each.filename for each in told} == {__file__}


def test_both_kinds_of_memory_are_cut_alike(host):
    host(memory=4 * GB)
    with pytest.warns(RuntimeWarning, match="preset edge: 5GB of memory become 3GB, because the host has 4GB"):
        config = Config.from_url(preset="edge")
    assert (config.capacity, below(config)) == (1.5 * GB, [("zmemory", 1.5 * GB, "lz4")])


def test_what_was_said_is_not_cut(host):
    host(memory=GB, disk=GB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = Config.from_url("memory://?capacity=8GB", "disk:///a?capacity=9GB", preset="regional")
    assert (config.capacity, config.tiers[0].capacity) == (8 * GB, 9 * GB)


def test_a_host_that_tells_nothing_gets_what_the_preset_says(host):
    host(memory=None, disk=None)
    assert Config.from_url("disk:///a", preset="global").capacity == 50 * GB


@pytest.mark.parametrize("wrong", ["egde", "", 5, ["edge"]])
def test_a_wrong_preset_is_told(wrong):
    with pytest.raises(ConfigError, match=r"preset: got .*; allowed: default, edge, regional, global"):
        Config.from_url(preset=wrong)
    with pytest.raises(ConfigError, match=r"preset: got 'egde'; .*did you mean edge\?"):
        Config.from_env({"FORECACHE_PRESET": "egde"})


def test_the_hosts_memory_is_the_least_of_what_it_has_and_may_have(tmp_path, monkeypatch):
    info, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    inner = tmp_path / "app.slice" / "web.service"
    inner.mkdir(parents=True)
    info.write_text("MemTotal:       2000 kB\nMemAvailable:    500 kB\n")
    monkeypatch.setattr(machine, "_MEMORY_INFO", info)
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "cgroup")
    assert machine.memory() == 2000 * 1024
    limit.write_text("max\n")
    assert machine.memory() == 2000 * 1024
    limit.write_text("1000000\n")
    assert machine.memory() == 1_000_000
    (inner.parent / "memory.max").write_text("700000\n")
    assert machine.memory() == 1_000_000
    (tmp_path / "cgroup").write_text("0::/app.slice/web.service\n")
    assert machine.memory() == 700_000
    (inner.parent / "memory.max").unlink()
    info.unlink()
    limit.unlink()
    assert machine.memory() is None


def test_what_is_left_counts_files_that_the_kernel_can_drop(tmp_path, monkeypatch):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       2000 kB\nMemAvailable:    500 kB\n")
    monkeypatch.setattr(machine, "_MEMORY_INFO", info)
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUP", tmp_path / "none")
    assert machine.free_memory() == 500 * 1024
    (tmp_path / "memory.max").write_text("400000")
    (tmp_path / "memory.current").write_text("390000")
    assert machine.free_memory() == 10_000
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 50000\nactive_file 7\n")
    assert machine.free_memory() == 60_000
    old = tmp_path / "memory"
    old.mkdir()
    for name, text in (("limit_in_bytes", "9000"), ("usage_in_bytes", "8500"), ("stat", "total_inactive_file 200")):
        (old / f"memory.{name}").write_text(text)
    assert machine.free_memory() == 700


def test_the_room_of_a_directory_is_what_is_free_and_what_it_has(tmp_path):
    absent = machine.room(str(tmp_path / "not" / "yet"))
    (tmp_path / "full").write_bytes(b"x" * 2**20)
    there = machine.room(str(tmp_path))
    assert absent is not None
    assert there is not None
    assert there > 2**20


def test_planned_options_can_be_written_as_json(host):
    assert json.loads(json.dumps(Config.from_url(preset="global").planned)) == {"prefetch": 0.5, "dedup": True}
