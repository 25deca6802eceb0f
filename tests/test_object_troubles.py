"""Object stores without conditions, that aren't there, or don't answer; wrong options; and no secret is shown."""

import os
import socket
import subprocess
import sys
import time

import pytest
from object_home import KEYS, payloads, swept
from servers.proxy import Proxy, Unconditional

from forecache import Cache, ConfigError, ObjectStore, TierUnavailable
from forecache._core import Entry
from forecache.flow import run
from forecache.tiers.objects.tier import ObjectTier
from forecache.tiers.objects.url import where


class Heedless(Proxy):
    """A proxy for an object store that takes no notice of conditions."""

    async def _forward(self, link, data):
        for header in (b"if-none-match", b"if-match"):
            data = data.replace(header + b":", b"x" * len(header) + b":")
        await super()._forward(link, data)


@pytest.fixture(params=[Unconditional, Heedless])
def unconditional(request, s3_server, proxy_to):
    proxy = proxy_to(s3_server.address, request.param)
    return {"endpoint": proxy.through(s3_server.url)}


def test_a_store_without_conditions_is_recognised_and_decides_nothing(s3, unconditional, now, do):
    tier = s3.tier(now, **unconditional)
    with pytest.raises(TierUnavailable, match=r"conditions of puts.*Redis or disk"):
        do(tier.swap("a", None, Entry(b"1")))
    assert tier.decides is False
    assert payloads(tier, "a", do=do) == {}
    do(tier.set_many({"a": Entry(b"1")}))
    do(tier.set_many({"a": Entry(b"2"), "b": Entry(b"2")}, absent=True))
    assert payloads(tier, "a", "b", do=do) == {"a": b"1", "b": b"2"}
    assert swept(s3.tier(now, tier.options.where.prefix[:-1], sweep="1h", **unconditional), do).entries == 2


def test_beside_a_disk_the_disk_decides_then(s3, unconditional, tmp_path):
    from forecache import Disk

    with Cache(tiers=[Disk(tmp_path), s3.store(**unconditional)]) as cache:
        assert [cache.incr("count"), cache.incr("count")] == [1, 2]
    with Cache(tiers=[s3.store(**unconditional)]) as cache, pytest.raises(TierUnavailable, match="decide"):
        cache.add("a", 1)


def test_decide_false_asks_the_store_for_nothing(s3, now):
    tier = s3.tier(now, decide=False)
    assert tier.decides is False
    with pytest.raises(TierUnavailable, match="decide=False"):
        run(tier.swap("a", None, Entry(b"1")))


@pytest.fixture
def hole():
    """The address of somebody who listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def reason(cache, key="a"):
    assert cache.get(key) is None
    return cache.stats().tiers[-1].reason


def test_nothing_is_contacted_before_the_first_use_and_the_client_is_not_loaded_by_an_import(s3_server, proxy_to):
    proxy = proxy_to(s3_server.address)
    Cache(tiers=[ObjectStore("s3://forecache", endpoint=proxy.through(s3_server.url), **KEYS)]).close()
    assert proxy.accepted == 0
    told = subprocess.run(
        [sys.executable, "-c", "import sys, forecache; print('obstore' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "False\n"


def test_a_bucket_that_is_not_there_is_told(s3_server):
    with Cache(tiers=[ObjectStore("s3://nowhere", endpoint=s3_server.url, **KEYS)]) as cache:
        assert "NoSuchBucket" in reason(cache)
    strict = ObjectStore("s3://nowhere", endpoint=s3_server.url, strict=True, **KEYS)
    with Cache(tiers=[strict]) as cache, pytest.raises(TierUnavailable, match="NoSuchBucket"):
        cache.get("a")


def test_an_endpoint_that_nobody_listens_at_is_told():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Cache(tiers=[ObjectStore("s3://forecache", endpoint=f"http://127.0.0.1:{port}", retries=0, **KEYS)]) as cache:
        told = reason(cache)
    assert f"127.0.0.1:{port}" in told
    assert "refused" in told


def test_a_silent_endpoint_is_given_up_in_time(hole):
    with Cache(tiers=[ObjectStore("s3://forecache", endpoint=hole, timeout=0.2, **KEYS)]) as cache:
        began = time.monotonic()
        assert "in time" in reason(cache)
        assert time.monotonic() - began < 2


def test_looking_for_credentials_is_bounded_too(hole, monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", hole)
    with Cache(tiers=[ObjectStore("s3://forecache", endpoint=hole, timeout=0.2)]) as cache:
        began = time.monotonic()
        assert reason(cache)
        assert time.monotonic() - began < 2


def test_no_secret_is_shown(s3_server, hole):
    options = ObjectStore("s3://nowhere", endpoint=hole, timeout=0.1, **KEYS)
    with Cache(tiers=[options]) as cache:
        told = f"{options!r} {cache.config!r} {reason(cache)} {options.address}"
    assert not any(secret in told for secret in KEYS.values())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "s3:/bucket"}, r"s3://bucket/prefix"),
        ({"url": "ftp://bucket"}, r"s3://bucket/prefix"),
        ({"url": "s3://"}, r"s3://bucket/prefix"),
        ({"url": "s3://bucket/../other"}, r"s3://bucket/prefix"),
        ({"url": "file://relative"}, r"file:///var/cache/app"),
        ({"url": "s3://bucket/" + "x" * 301}, "300 bytes"),
        ({"url": 7}, r"s3://bucket/prefix"),
        ({"url": "s3://b", "endpoint": "host:9000"}, "http://host:port"),
        ({"url": "s3://b", "secret_key": ""}, "secret_key"),
        ({"url": "s3://b", "concurrency": 0}, "from 1 to 1000"),
        ({"url": "s3://b", "min_size": -1}, "min_size"),
        ({"url": "s3://b", "decide": "yes"}, "True or False"),
        ({"url": "s3://b", "sweep": 0}, "sweep"),
        ({"url": "s3://b", "name": 7}, "name"),
    ],
)
def test_an_option_that_is_wrong_is_named(options, told):
    with pytest.raises(ConfigError, match=told):
        ObjectStore(**options)


def test_a_password_in_a_url_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="access_key") as raised:
        ObjectStore("s3://user:hush@bucket")
    assert "hush" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        ObjectStore("s3://bucket", endpoint="http://user:hush@host")
    assert "hush" not in str(raised.value)


def test_clouds_are_built_by_url(now):
    gcs = ObjectStore("gs://bucket/app", endpoint="http://127.0.0.1:1", timeout=0.2)
    azure = ObjectStore(
        "az://container/app", endpoint="http://127.0.0.1:1", access_key="account", secret_key="c2VjcmV0", timeout=0.2
    )
    for options in (gcs, azure):
        tier = ObjectTier(options, "space", now)
        with pytest.raises(TierUnavailable, match="refused"):
            run(tier.get_many(["a"]))
    with pytest.raises(ConfigError, match=r"[Aa]ccount"):
        ObjectStore("az://container/app").make("space", now)
    assert where("url", "az://container/a/b").prefix == "a/b/"


def test_a_directory_that_cannot_be_made_is_told_and_tried_again(tmp_path):
    place = tmp_path / "here"
    place.write_text("a file in its place")
    with Cache(tiers=[ObjectStore(f"file://{place}", min_size=0)]) as cache:
        assert str(place) in reason(cache)
        place.unlink()
        cache.set("a", 1)
        assert cache.stats().tiers[-1].sets == 1


@pytest.mark.parametrize("url", ["s3://bucket", "file:///directory"])
def test_without_obstore_the_line_for_pip_is_told_at_once(monkeypatch, url):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ImportError, match=r"pip install 'forecache\[s3\]'"):
        Cache.from_url("memory://", url)
