"""Every tier works by its URL, its table and its variables, in both colours, on real servers."""

import json
from urllib.parse import urlencode

import pytest
from conftest import Face

from forecache import Cache
from forecache.sources import from_urls

KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI"}
VALUE = {"name": "Ada", "text": "x" * 10_000}
SERVERS = {
    "redis": "redis_server",
    "unix": "redis_server",
    "rediss": "redis_tls",
    "redis+sentinel": "redis_sentinel",
    "redis+cluster": "redis_cluster",
    "memcached": "memcached_servers",
    "s3": "s3_server",
    "file": None,
}


def url_of(scheme, request, folder):
    """The URL of a real server."""
    server = request.getfixturevalue(SERVERS[scheme]) if SERVERS[scheme] else None
    options = {"timeout": "5s"}
    if scheme == "unix":
        base = server.unix_url
    elif scheme == "memcached":
        base = "memcached://" + ",".join(each.url.removeprefix("memcached://") for each in server)
    elif scheme == "s3":
        base, options = f"s3://{server.bucket}/by-url", options | {"endpoint": server.url} | KEYS
    elif scheme == "file":
        base = f"file://{folder}/objects"
    else:
        base = server.url
    if scheme == "rediss":
        options |= server.files
    assert base.startswith(f"{scheme}://")
    return f"{base}?{urlencode(options)}"


def table(name, options):
    """A table of TOML."""
    return f"[{name}]\n" + "".join(f"{option} = {json.dumps(value)}\n" for option, value in options.items())


def make(source, url, folder, namespace):
    """A cache that is told of its tier by one of the sources."""
    (section,) = from_urls([url]).tiers()
    journal = folder / "journal"
    if source == "url":
        return Cache.from_url(url, namespace=namespace, journal=journal)
    if source == "toml":
        file = folder / "cache.toml"
        file.write_text(table(section.kind, section.options()))
        return Cache.from_toml(file, namespace=namespace, journal=journal)
    environ = {f"FORECACHE_{section.kind}_{name}".upper(): str(value) for name, value in section.options().items()}
    return Cache.from_env(environ, namespace=namespace, journal=journal)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("source", ["url", "toml", "env"])
@pytest.mark.parametrize("scheme", SERVERS)
def test_a_tier_shares_what_it_is_given(scheme, source, colour, request, tmp_path):
    url, namespace = url_of(scheme, request, tmp_path), f"{scheme} {source} {colour}"
    with make(source, url, tmp_path, namespace) as cache:
        face = Face(cache, colour)
        face.set("user:7", VALUE, ttl="1h")
        face.set("user:8", VALUE)
        face.delete("user:8")
        assert [tier.reason for tier in cache.stats().tiers] == [None]
    with make(source, url, tmp_path, namespace) as cache:
        face = Face(cache, colour)
        assert (face.get("user:7"), face.get("user:8")) == (VALUE, None)
        assert [(tier.hits, tier.misses, tier.reason) for tier in cache.stats().tiers] == [(1, 1, None)]
    with make(source, url, tmp_path, "another") as cache:
        assert Face(cache, colour).get("user:7") is None


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_stack_of_all_tiers_finds_a_value_wherever_it_is(colour, request, tmp_path):
    far = [url_of(scheme, request, tmp_path) for scheme in ("redis", "memcached", "s3")]
    urls = ["zmemory://?capacity=1MB", f"disk://{tmp_path}/disk?write=through", *far]
    options = {"namespace": f"all {colour}", "journal": tmp_path / "journal"}
    with Cache.from_url(*urls, **options) as cache:
        Face(cache, colour).set("user:7", VALUE, ttl="1h")
    for depth in range(1, len(urls)):
        with Cache.from_url(*urls[depth:], **options) as cache:
            assert Face(cache, colour).get("user:7") == VALUE, urls[depth]
            first, *others = cache.stats().tiers
            assert (first.hits, sum(tier.hits for tier in others)) == (1, 0)
