"""What a cache has learned is saved, loaded and told of; options of learning are checked."""

import asyncio
import gc
import json
import logging
import math
import os
import threading

import pytest

from forecache import (
    AsyncCache,
    Cache,
    CacheClosed,
    Config,
    ConfigError,
    ModelFailed,
    Owner,
    UnknownModel,
    ZMemory,
    model,
    saving,
)
from forecache._core import Prior
from forecache.registry import Registry
from forecache.saving import Saver

CAPACITY = 500


def turns(begin, end):
    """Keys asked for twice, longer apart than the cache is large, and never again: at best every other request is a hit."""
    return (str(turn if turn % 2 == 0 else max(0, turn - 701)) for turn in range(begin, end))


def play(cache, begin, end):
    """Hits among these turns."""
    hits = 0
    for key in turns(begin, end):
        if cache.get(key) is None:
            cache.set(key, 1)
        else:
            hits += 1
    return hits


def learning(**options):
    return Cache(max_entries=CAPACITY, policy="learned", seed=7, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.fcm"


@pytest.fixture
def saver(monkeypatch):
    """One without a thread, whose time is what a test says."""
    made = Saver(lambda: made.time)
    made.time = 0.0
    monkeypatch.setattr(made, "_start", lambda: None)
    monkeypatch.setattr(saving, "SAVER", made)
    return made


def content(path):
    return path.read_bytes()


def test_a_restarted_cache_knows_what_it_had_learned(path):
    with learning() as first:
        play(first, 0, 50_000)
        had = play(first, 50_000, 53_000)
        first.model.save(path)
    new, again = learning(), learning(model=path)
    for cache in (new, again):
        play(cache, 60_000, 61_000)  # they have to be filled, whatever they know
    assert play(again, 61_000, 64_000) > 1.4 * play(new, 61_000, 64_000)
    assert play(again, 64_000, 67_000) == had


def test_what_was_saved_and_loaded_is_saved_as_the_same(path):
    with learning() as cache:
        play(cache, 0, 30_000)
        cache.model.save(path)
    first = content(path)
    with learning(model=path) as cache:
        cache.model.save(path)
    assert content(path) == first != Prior.shipped().write()


def test_a_running_cache_takes_another_model_and_keeps_its_entries(path):
    taught = learning()
    play(taught, 0, 50_000)
    taught.model.save(path)
    cache = learning()
    play(cache, 0, 1000)
    cache.model.load(path)
    assert (len(cache), cache.stats().model.origin) == (CAPACITY, str(path))
    cache.model.reset()
    assert cache.stats().model.origin == "shipped"
    cache.model.save(path)
    assert content(path) == model_of(learning())


def model_of(cache):
    return cache._learned().write()


def test_all_rooms_are_saved_together(path):
    cache = learning(owners={"tenant-*": Owner(budget=10_000)}, model=None)
    for key in turns(0, 40_000):
        if cache.get(key) is None:
            cache.set(key, 1, owner="tenant-1")
    told = cache.stats().model
    assert told.judged > 100
    cache.model.save(path)
    assert content(path) != Prior.shipped().write()
    cache.model.load(path)
    cache.model.save(path)


def test_stats_tell_how_right_the_model_is():
    cache = learning()
    assert cache.stats().model == type(cache.stats().model)(None, 0, (), None, 0, 0.0, True, "shipped", None, 0)
    play(cache, 0, 60_000)
    told = cache.stats().model
    assert 0.9 < told.accuracy < 1
    assert told.judged > 1000
    assert told.updates > 5
    assert told.seconds > 0
    assert told.calibration_error < 0.25
    assert all(0 <= each.predicted <= 1 and 0 <= each.seen <= 1 and each.weight > 0 for each in told.calibration)
    assert [each.predicted for each in told.calibration] == sorted(each.predicted for each in told.calibration)
    assert json.loads(json.dumps(cache.stats().as_dict()))["model"]["judged"] == told.judged
    assert Cache(policy="lru").stats().model is None


def test_evictions_of_what_never_comes_back_are_right():
    once = learning()
    for number in range(20_000):
        once.set(str(number), 1)
    assert once.stats().model.accuracy == 1.0


def test_offline_nothing_is_learned(path):
    cache = learning(online=False)
    play(cache, 0, 40_000)
    told = cache.stats().model
    assert (told.updates, told.judged, told.accuracy, told.online) == (0, 0, None, False)
    assert model_of(cache) == model_of(learning())


def test_how_fast_it_learns_is_told():
    slow, fast = learning(update_interval=1 << 20), learning(update_interval=256)
    play(slow, 0, 20_000)
    play(fast, 0, 20_000)
    assert fast.stats().model.updates > 4 * slow.stats().model.updates
    forgetful, plain = learning(learning_rate=1), learning()
    play(forgetful, 0, 20_000)
    play(plain, 0, 20_000)
    assert model_of(forgetful) != model_of(plain)


@pytest.mark.parametrize(
    "spoil", [lambda file: b"", lambda file: file[:-1], lambda file: file + b"x" * 10**6, lambda file: b"x" + file]
)
def test_a_damaged_file_is_told_of_and_the_cache_begins_afresh(path, spoil, caplog):
    learning().model.save(path)
    path.write_bytes(spoil(content(path)))
    cache = learning(model=path)
    assert cache.set("a", 1)
    told = cache.stats().model
    assert told.origin == "shipped"
    assert str(path) in told.reason
    assert told.reason in caplog.text
    with pytest.raises(ConfigError, match="model: the file"):
        cache.model.load()
    cache.model.save()
    assert cache.stats().model.reason is None
    assert learning(model=path).stats().model.origin == str(path)


def test_another_version_is_refused_by_its_number(path, caplog):
    file = bytearray(Prior.shipped().write())
    file[8] = 77
    path.write_bytes(file)
    assert "is of version 77" in learning(model=path).stats().model.reason


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_not_waited_for(path, make, caplog):
    make(path)
    assert str(path) in learning(model=path).stats().model.reason


def test_a_file_that_isnt_there_is_an_error_unless_it_will_be_made(path, saver):
    with pytest.raises(ConfigError, match=r"model: got '.*app.fcm'; allowed: a file that exists; with save_interval"):
        learning(model=path)
    assert learning(model=path, save_interval="1h").stats().model.reason is None


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("FORECACHE_REGISTRY", str(tmp_path / "models"))
    with Registry() as opened:
        yield opened


def test_a_model_comes_from_a_registry_by_its_name(registry, path):
    spec = registry.push(Prior.none().write(), "vm")
    for name in ["vm", spec]:
        cache = learning(model=name)
        assert cache.stats().model.origin == name
        cache.model.save(path)
        assert content(path) == Prior.none().write()
    with pytest.raises(ConfigError, match=f"path: got None; allowed: .* since the model was '{spec}' of a registry"):
        cache.model.save()
    running = learning()
    running.model.load("vm")
    assert running.stats().model.origin == "vm"


@pytest.mark.parametrize("name", ["vn", "vm@0123456789abcdef", "vm@latest", "VM"])
def test_a_name_that_no_registry_has_is_an_error(registry, name):
    registry.push(Prior.none().write(), "vm")
    with pytest.raises(UnknownModel, match=f"model: got '{name}'; allowed: "):
        learning(model=name)


def test_a_damaged_model_of_a_registry_is_told_of_and_the_cache_begins_afresh(registry, tmp_path, caplog):
    registry.push(Prior.none().write(), "vm")
    (file,) = (tmp_path / "models" / "vm").glob("*.fcm")
    file.write_bytes(file.read_bytes()[:-1])
    told = learning(model="vm").stats().model
    assert (told.origin, "is damaged" in told.reason) == ("shipped", True)
    assert "vm" in caplog.text


def test_a_save_that_fails_leaves_what_was_there(path, tmp_path, monkeypatch):
    cache = learning()
    cache.model.save(path)
    before = content(path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        cache.model.save(path)
    assert content(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    learning().model.save(link)
    assert link.is_symlink()
    assert len(content(path)) == Prior.LENGTH


def test_it_is_saved_whenever_its_time_has_come_and_at_the_end(path, saver):
    cache = learning(model=path, save_interval="10m", update_interval=256)
    play(cache, 0, 5000)
    saver.time = 599
    assert saver.look() == pytest.approx(1)
    assert not path.exists()
    saver.time = 601
    assert saver.look() == pytest.approx(600)
    first = content(path)
    saver.time = 1300
    saver.look()
    assert cache.stats().model.saved == 1, "nothing was learned since"
    play(cache, 5000, 10_000)
    cache.close()
    assert content(path) != first
    assert cache.stats().model.saved == 2
    assert saver.look() is None


@pytest.mark.parametrize("tiers", [(), (ZMemory("1MB"),)], ids=["memory", "tiers"])
def test_the_async_face_saves_loads_and_closes_too(path, tiers, saver):
    async def main():
        async with AsyncCache(
            max_entries=CAPACITY, policy="learned", model=path, save_interval=60, tiers=tiers, update_interval=256
        ) as cache:
            for key in turns(0, 3000):
                await cache.set(key, 1)
            await cache.model.save()
            await cache.model.load(path)
            await cache.model.reset()
            path.unlink()
            for key in turns(3000, 6000):
                await cache.set(key, 1)
            assert "model" in repr(cache.model)

    asyncio.run(main())
    assert len(content(path)) == Prior.LENGTH


def test_a_save_that_fails_in_the_background_is_told_and_tried_again(path, saver, caplog):
    told = []
    cache = learning(model=f"{path}/nowhere", save_interval=1)
    cache.subscribe(lambda event: told.append(event) if isinstance(event, ModelFailed) else None)
    play(cache, 0, 3000)
    saver.time = 2
    saver.look()
    assert [event.path for event in told] == [f"{path}/nowhere"]
    assert told[0].reason == cache.stats().model.reason
    path.mkdir()
    saver.time = 4
    saver.look()
    assert (cache.stats().model.reason, cache.stats().model.saved) == (None, 1)


def test_caches_that_nobody_has_are_forgotten(path, saver):
    cache = learning(model=path, save_interval=1)
    assert saver.look() is not None
    del cache
    gc.collect()
    assert saver.look() is None


def test_a_thread_saves_and_ends_with_the_last_cache(path):
    saved = threading.Event()
    cache = learning(model=path, save_interval=0.01)
    thread = saving.SAVER._thread
    assert thread.is_alive()
    told = model.keep

    def keep(cache):
        told(cache)
        if path.exists():
            saved.set()

    saving.keep = keep
    try:
        play(cache, 0, 3000)
        assert saved.wait(20)
    finally:
        saving.keep = told
    cache.close()
    thread.join(20)
    assert not thread.is_alive()


def test_who_is_closed_while_another_is_saved_disturbs_nobody(path, saver, monkeypatch):
    caches = [learning(model=f"{path}{number}", save_interval=1) for number in range(3)]
    saved = []

    def keep(cache):
        saved.append(cache)
        if cache is caches[0]:
            caches[1].close()

    monkeypatch.setattr(saving, "keep", keep)
    saver.time = 2
    assert saver.look() == pytest.approx(1)
    assert saved == [caches[0], caches[2]]


def test_whatever_goes_wrong_with_one_the_others_are_saved_and_it_closes(path, saver, monkeypatch, caplog):
    caches = [learning(model=f"{path}{number}", save_interval=1) for number in range(2)]
    for cache in caches:
        play(cache, 0, 3000)
    learned = Cache._learned
    monkeypatch.setattr(Cache, "_learned", lambda cache: 1 / 0 if cache is caches[0] else learned(cache))
    saver.time = 2
    saver.look()
    assert [path.with_name(f"app.fcm{number}").exists() for number in range(2)] == [False, True]
    assert caches[0].stats().model.reason == "division by zero"
    caches[0].close()
    assert caches[0].closed


@pytest.mark.parametrize("tiers", [(), (ZMemory("1MB"),)], ids=["memory", "tiers"])
def test_the_async_face_tries_to_save_once_and_beside_the_loop(path, tiers, saver, monkeypatch):
    failed = []

    def fail(*_):
        failed.append(asyncio._get_running_loop())
        raise OSError(28, "No space left on device")

    async def main():
        cache = AsyncCache(max_entries=CAPACITY, policy="learned", model=path, save_interval=60, tiers=tiers, update_interval=256)
        for key in turns(0, 3000):
            await cache.set(key, 1)
        await cache.close()

    monkeypatch.setattr(os, "replace", fail)
    asyncio.run(main())
    assert failed == [None]


def test_a_relative_path_means_the_same_wherever_the_program_goes(tmp_path, monkeypatch, saver):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    cache = learning(model="app.fcm", save_interval=1)
    play(cache, 0, 3000)
    monkeypatch.chdir(tmp_path / "elsewhere")
    cache.close()
    assert len(content(tmp_path / "app.fcm")) == Prior.LENGTH


def test_what_was_no_model_is_kept_when_the_first_is_saved(path, saver, caplog):
    path.write_bytes(b"of somebody else")
    cache = learning(model=path, save_interval=1)
    play(cache, 0, 3000)
    cache.model.save()
    first = content(path)
    play(cache, 3000, 6000)
    cache.close()
    assert content(path.with_name("app.fcm.bad")) == b"of somebody else"
    assert content(path) != first
    assert len(first) == Prior.LENGTH


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_not_replaced(path, make):
    make(path)
    with pytest.raises(OSError, match="it is no regular file"):
        learning().model.save(path)
    assert not path.is_file()


def test_a_child_that_learned_nothing_leaves_the_file_to_its_parent(path, saver):
    cache = learning(model=path, save_interval="1h")
    play(cache, 0, 3000)
    child = os.fork()
    if child == 0:
        saver.restart()
        cache.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not path.exists()
    cache.close()
    assert path.exists()


def test_the_child_of_a_fork_saves_what_it_learns(path):
    cache = learning(model=path, save_interval="1h")
    child = os.fork()
    if child == 0:
        play(cache, 0, 3000)
        alive = saving.SAVER._thread.is_alive()
        cache.close()
        os._exit(0 if alive and path.exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
    path.unlink()
    cache.close()
    assert not path.exists(), "the parent learned nothing"


@pytest.mark.parametrize("rate", [0, -0.1, 1.01, math.nan, math.inf, "fast", True])
def test_a_wrong_learning_rate_is_told(rate):
    with pytest.raises(ConfigError, match=r"learning_rate: got .*; allowed: a number above 0 and at most 1"):
        learning(learning_rate=rate)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_interval": 255}, "update_interval: got 255; allowed: a whole number from 256"),
        ({"update_interval": 1e4}, "update_interval: got 10000.0"),
        ({"save_interval": 0, "model": "a"}, "save_interval: got 0"),
        ({"save_interval": math.nan, "model": "a"}, "save_interval: got nan"),
        ({"save_interval": 60}, "save_interval: got 60.0; allowed: None without model"),
        ({"save_interval": 60, "model": "a", "online": False}, "save_interval: got 60.0; allowed: None with online=False"),
        ({"online": 1}, "online: got 1; allowed: True or False"),
        ({"model": 7}, "model: got 7; allowed: a path for a file"),
        ({"model": "a\0b"}, "model: got"),
    ],
)
def test_wrong_options_of_learning_are_told(options, message):
    with pytest.raises(ConfigError, match=message):
        learning(**options)


@pytest.mark.parametrize(
    "options", [{"model": "a.fcm"}, {"learning_rate": 0.1}, {"update_interval": 1000}, {"save_interval": 5}, {"online": False}]
)
def test_a_policy_that_doesnt_learn_takes_no_options_of_learning(options):
    (name,) = options
    with pytest.raises(ConfigError, match=f"{name}: got .* since the policy is lru; with learned it has a meaning"):
        Cache(policy="lru", **options)


def test_a_policy_that_doesnt_learn_has_no_model_to_save(path):
    cache = Cache(policy="lru")
    for verb in (lambda: cache.model.save(path), lambda: cache.model.load(path), cache.model.reset):
        with pytest.raises(ConfigError, match="policy: got 'lru'; allowed: learned"):
            verb()
    with pytest.raises(ConfigError, match="policy"):
        cache._learned()


def test_a_path_must_be_named_once(path):
    cache = learning()
    with pytest.raises(ConfigError, match="path: got None"):
        cache.model.save()
    with pytest.raises(ConfigError, match="path: got b'a'"):
        cache.model.save(b"a")
    with pytest.raises(FileNotFoundError):
        cache.model.load(path)
    cache.close()
    with pytest.raises(CacheClosed):
        cache.model.save(path)


def test_all_sources_take_the_options(tmp_path):
    said = {"model": "/m.fcm", "learning_rate": 0.1, "update_interval": 1000, "save_interval": 300.0, "online": True}
    url = "memory://?policy=learned&model=/m.fcm&learning_rate=0.1&update_interval=1000&save_interval=5m&online=true"
    environ = {
        "FORECACHE_MEMORY_POLICY": "ml",
        "FORECACHE_MODEL": "/m.fcm",
        "FORECACHE_LEARNING_RATE": "0.1",
        "FORECACHE_UPDATE_INTERVAL": "1000",
        "FORECACHE_SAVE_INTERVAL": "5m",
        "FORECACHE_ONLINE": "on",
    }
    toml = tmp_path / "a.toml"
    toml.write_text(
        'policy = "learned"\nmodel = "/m.fcm"\nlearning_rate = 0.1\nupdate_interval = 1000\nsave_interval = "5m"\nonline = true\n'
    )
    for config in (Config.from_url(url), Config.from_env(environ), Config.from_toml(toml)):
        assert {name: getattr(config, name) for name in said} == said


def test_a_refused_model_is_logged_as_a_warning(path, caplog):
    path.write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING, "forecache"):
        learning(model=path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
