"""The object tier: puts that were given up, stores behind an authority of one's own, and what is told where credentials lack."""

import asyncio
import contextlib

import pytest
from servers import certificates
from servers.proxy import Proxy

from forecache import Cache, ConfigError, Disk, Memcached, ObjectStore, Redis, TierUnavailable
from forecache._core import Entry
from forecache.config import Config
from forecache.doubts import doubts
from forecache.flow import arun, run
from forecache.tiers.objects.places import Place
from forecache.tiers.objects.ports import Plain
from forecache.tiers.objects.url import where


@pytest.fixture(params=["sync", "async"])
def do(request):
    return run if request.param == "sync" else lambda flow: asyncio.run(arun(flow))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TierUnavailable("broke off")])
@pytest.mark.parametrize("verb", ["set", "add"])
def test_a_put_that_is_carried_out_after_a_later_delete_is_not_read(tmp_path, monkeypatch, verb, error):
    now = [1_700_000_000_000]
    boundary = ObjectStore(f"file://{tmp_path}", min_size=0, timeout=60, retries=0)
    tier = boundary.make("space", lambda: now[0])
    run(tier.set_many({"b": Entry(b"other")}))
    kept, puts = [], Plain.put

    def put(port, name, parts, mode="overwrite"):
        if not name.endswith("/a"):
            return puts(port, name, parts, mode)
        kept.append((port, name, parts, mode))
        raise error

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt, TierUnavailable):
        for kind in Plain, *Plain.__subclasses__():
            patch.setattr(kind, "put", put)
        run(tier.set_many({"a": Entry(b"late")}) if verb == "set" else tier.swap("a", None, Entry(b"late")))
    assert len(kept) == 1
    run(tier.delete_many(["a"]))
    assert kept[0][0].put(*kept[0][1:])
    assert list(run(tier.get_many(["a", "b"]))) == ["b"]
    assert kept[0][0].put(*kept[0][1:])
    now[0] += 60_000 // 2 + 1500
    assert list(run(tier.get_many(["a"]))) == []
    assert tier.stats().owed == 0
    run(tier.set_many({"a": Entry(b"new")}))
    assert run(tier.get_many(["a"]))["a"].payload == b"new"
    run(tier.close())


class Secured(Proxy):
    """A proxy that speaks TLS with its clients."""

    def __init__(self, target, context):
        self._context = context
        super().__init__(target)

    async def _listen(self):
        self._listener = await asyncio.start_server(self._accept, *self.address, ssl=self._context)


def test_a_store_behind_an_authority_of_ones_own_is_trusted_if_told_so(s3_server, tmp_path, do):
    import ssl

    files = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.server_key)
    with Secured(s3_server.address, context) as proxy:
        options = {"endpoint": f"https://127.0.0.1:{proxy.port}", "access_key": "any", "secret_key": "any", "min_size": 0}
        trusting, doubting = (
            ObjectStore("s3://forecache/own", region="us-east-1", retries=0, **more, **options).make("ca", lambda: 0)
            for more in ({"ca": files.authority}, {})
        )
        do(trusting.set_many({"a": Entry(b"1")}))
        assert do(trusting.get_many(["a"]))["a"].payload == b"1"
        assert do(doubting.get_many(["a"])) == {}
        assert "certificate" in doubting.stats().reason.lower()
        for tier in (trusting, doubting):
            do(tier.close())


@pytest.mark.parametrize(
    ("url", "options"), [("file:///var/cache/app", {}), ("s3://bucket/app", {"endpoint": "http://127.0.0.1:9000"})]
)
def test_certificates_are_for_stores_that_are_asked_by_https(url, options):
    with pytest.raises(ConfigError, match=r"object.ca: got '/etc/ca.pem'; allowed: nothing, unless"):
        ObjectStore(url, ca="/etc/ca.pem", **options)


def test_a_file_of_certificates_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.pem"):
        ObjectStore("s3://bucket/app", region="us-east-1", ca=tmp_path / "no.pem").make("space", lambda: 0)


@pytest.mark.parametrize(
    ("url", "told"), [("s3://bucket", "AWS_ACCESS_KEY_ID"), ("gs://bucket", "GOOGLE_SERVICE_ACCOUNT"), ("az://box", "AZURE_")]
)
def test_who_has_no_credentials_is_told_how_to_give_them(url, told):
    import obstore

    error = obstore.exceptions.GenericError("Error performing PUT http://169.254.169.254/latest/api/token in 1ms - timed out")
    with pytest.raises(TierUnavailable, match="no credentials were found: give .*secret_key.*" + told):
        Place(obstore, None, where("object.url", url)).absent(error)


@pytest.mark.parametrize("kind", ["redis", "memcached", "object"])
def test_what_has_no_owner_can_be_cleared_everywhere(kind, colour, request, tmp_path):
    tier = {
        "redis": lambda: Redis(request.getfixturevalue("redis_server").url),
        "memcached": lambda: Memcached([f"127.0.0.1:{each.port}" for each in request.getfixturevalue("memcached_servers")]),
        "object": lambda: ObjectStore(f"file://{tmp_path}", min_size=0),
    }[kind]()
    with Cache(tiers=[tier], namespace=request.node.name) as cache:
        cache.set("nobody's", 1)
        if colour == "sync":
            cache.clear(owner="")
        else:
            asyncio.run(cache.aio.clear(owner=""))
        assert cache.get("nobody's") is None


def test_a_disk_below_the_network_and_a_short_time_for_objects_are_doubted():
    redis, disk = Redis("redis://cache"), Disk("/var/cache/app")
    short, long = (ObjectStore("s3://bucket/app", timeout=seconds) for seconds in (3.9, 4))
    told = {doubt.setting: doubt.words for doubt in doubts(Config(tiers=[redis, disk, short], namespace="app", ttl="1h"))}
    assert told["tiers"].startswith("disk comes after redis")
    assert told["object.timeout"].startswith("less than 4 s")
    told = {doubt.setting: doubt.words for doubt in doubts(Config(tiers=[disk, redis, long], namespace="app", ttl="1h"))}
    assert not {"tiers", "object.timeout"} & set(told)
