"""What sources say: URLs of all tiers, several of a kind, and how sources are put together; no secret is ever shown."""

import json
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import AsyncCache, Cache, Config, ConfigError
from forecache.cli import config as command
from forecache.doubts import doubts
from forecache.hiding import SECRETS, hidden, hides
from forecache.loading import gather
from forecache.options import TIERS
from forecache.sources import from_env, from_toml, from_urls
from forecache.units import wrong
from forecache.urls import SCHEMES


def told(given):
    return [(section.name, section.kind, section.options()) for section in given.tiers()]


def toml(tmp_path, text):
    file = tmp_path / "cache.toml"
    file.write_text(text)
    return from_toml(file)


@pytest.mark.parametrize(
    ("url", "kind", "options"),
    [
        ("redis://", "redis", {"url": "redis://"}),
        ("redis://app:pw@cache:6379/2", "redis", {"url": "redis://app:pw@cache:6379/2"}),
        ("redis://cache/2?capacity=2GB&timeout=50ms", "redis", {"url": "redis://cache/2", "capacity": "2GB", "timeout": "50ms"}),
        ("rediss://c?ca=/a%20b.pem&connections=4", "redis", {"url": "rediss://c", "ca": "/a b.pem", "connections": 4}),
        ("redis+sentinel://h1:1,h2:2,h3/mymaster", "redis", {"url": "redis+sentinel://h1:1,h2:2,h3/mymaster"}),
        ("redis+cluster://h1:1,h2?strict=on", "redis", {"url": "redis+cluster://h1:1,h2", "strict": True}),
        ("unix:///run/redis.sock?db=3&retries=2", "redis", {"url": "unix:///run/redis.sock?db=3", "retries": 2}),
        ("redis://c?password=p%26w", "redis", {"url": "redis://c", "password": "p&w"}),
        ("redis://:a%23b%2Fc@c", "redis", {"url": "redis://:a%23b%2Fc@c"}),
        ("memcached://h1:1,h2?hedge=5ms", "memcached", {"servers": "h1:1,h2", "hedge": "5ms"}),
        ("memcached://", "memcached", {}),
        ("s3://b/a?endpoint=http://h:9&decide=off", "object", {"url": "s3://b/a", "endpoint": "http://h:9", "decide": False}),
        ("gs://bucket", "object", {"url": "gs://bucket"}),
        ("az://box/p?min_size=0", "object", {"url": "az://box/p", "min_size": 0}),
        ("file:///var/objects?concurrency=2", "object", {"url": "file:///var/objects", "concurrency": 2}),
    ],
)  # fmt: skip
def test_a_url_is_a_tier_and_its_options_and_the_rest_is_handed_on(url, kind, options):
    assert told(from_urls([url])) == [(kind, kind, options)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("reddis://cache", r"url: got 'reddis://cache'; allowed: a scheme of .*redis, .*did you mean rediss?\?"),
        ("redis+sentinal://a/b", r"did you mean redis\+sentinel\?"),
        ("redis://cache?capcity=5", r"url option capcity: got '5'; allowed: .*did you mean capacity\?"),
        ("redis://cache?db=1&url=redis://b", r"url option url: got 'redis://b'; allowed: one URL"),
        ("redis://cache?timeout=1&timeout=2", r"timeout in one place only"),
        ("memcached://cache?capacity=5GB", r"url option capacity: got '5GB'; allowed: servers, name"),
        ("memcached://cache/path", r"url: got .*; allowed: hosts, and options in the query"),
        ("redis://:a#b@cache", r"url: got .*; allowed: a URL whose password has .* %23 for '#'"),
        ("s3://bucket#part", r"without '#'"),
        ("s3://bucket?min_ratios=2", r"did you mean min_ratio\?"),
        ("s3://bucket?min_size=lots", r"object.min_size: got 'lots'; allowed: a whole number from 0 to"),
        ("redis://cache?name=", r"name: got ''; allowed: a name, such as 'near'"),
        ("s3://bucket?name=", r"name: got ''; allowed: a name, such as 'near'"),
    ],
)
def test_a_wrong_url_of_a_remote_tier_is_told(url, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_url(url)


def test_two_of_a_kind_need_two_names():
    near, far = "redis://near?name=near", "redis://far?name=far"
    assert [name for name, _, _ in told(from_urls([far, "disk:///a", near]))] == ["far", "disk", "near"]
    with pytest.raises(ConfigError, match=r"another name than 'redis', .*name=… in the query"):
        from_urls(["redis://a", "redis://b"])


def test_toml_has_a_table_for_each_of_a_kind(tmp_path):
    given = toml(
        tmp_path,
        '[[redis]]\nname = "near"\nurl = "redis://near?db=1&capacity=1GB"\n[[redis]]\nname = "far"\nurl = "redis://far"\n'
        '[memcached]\nservers = ["h1", "h2"]\n[object]\nurl = "s3://bucket"\nenabled = false\n',
    )
    assert told(given) == [
        ("near", "redis", {"name": "near", "url": "redis://near?db=1", "capacity": "1GB"}),
        ("far", "redis", {"name": "far", "url": "redis://far"}),
        ("memcached", "memcached", {"servers": ["h1", "h2"]}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[redis]]\n[[redis]]\n", r"redis.name: got 'redis'; allowed: a name for each \[\[redis\]\], and each another"),
        ("[[disk]]\n", r"disk: got 'a list'; allowed: a table of options: \[disk\]$"),
        ("redis = [5]\n", r"redis: got 'a list'; allowed: a table of options: \[redis\], or several: \[\[redis\]\]"),
        ('redis = "redis://app:hunter2@cache"\n', r"redis: got 'redis://app:\*\*\*@cache'; allowed: a table"),
        ('[s3]\nurl = "s3://bucket"\n', r"s3: got .*; allowed: .*did you mean object\?"),
        ("[redis]\ntimout = 5\n", r"redis.timout: got 5; .*did you mean timeout\?"),
        ("[[redis]]\ntimout = 5\n", r"redis\[0\].timout: got 5"),
        ('[redis]\nurl = "memcached://a"\n', r"redis.url: got 'memcached://a'; allowed: a URL of redis, rediss, "),
        ('[redis]\nurl = "redis://a?capacity=1"\ncapacity = 1\n', r"redis.capacity: got 1; allowed: capacity in one place only"),
        ('[redis]\nurl = "cache:6379"\n', r"redis.url: got 'cache:6379'; allowed: a URL of redis"),
        ('[object]\nurl = "redis://a"\n', r"object.url: got 'redis://a'; allowed: a URL of s3, gs, az, file"),
    ],
)
def test_a_wrong_table_is_told(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        toml(tmp_path, text)


def test_the_environment_has_urls_and_switches():
    given = from_env(
        {
            "FORECACHE_REDIS_URL": "unix:///run/redis.sock?db=1",
            "FORECACHE_REDIS_CAPACITY": "1GB",
            "FORECACHE_MEMCACHED_SERVERS": "h1,h2",
            "FORECACHE_OBJECT_URL": "s3://bucket/app",
            "FORECACHE_OBJECT": "off",
            "FORECACHE_CONFIG": "elsewhere.toml",
        }
    )
    assert told(given) == [
        ("redis", "redis", {"url": "unix:///run/redis.sock?db=1", "capacity": "1GB"}),
        ("memcached", "memcached", {"servers": "h1,h2"}),
    ]
    assert told(from_env({"FORECACHE_REDIS": "on"})) == [("redis", "redis", {})]
    with pytest.raises(ConfigError, match=r"FORECACHE_REDIS_ULR: got '.*did you mean FORECACHE_REDIS_URL\?"):
        from_env({"FORECACHE_REDIS_ULR": "redis://a"})


@pytest.mark.parametrize(
    ("variable", "meant", "shown", "hidden"),
    [
        ("REDIS_ULR", "REDIS_URL", "REDIS_CAPACITY", "DISK_PATH"),
        ("S3_URL", "OBJECT_URL", "TTL", "OBJECT_ENDPOINT"),
        ("REDISS_URL", "REDIS_URL", "OBJECT_…", "REDIS_CAPACITY"),
        ("TLL", "TTL", "REDIS_…", "MEMORY_TTL"),
    ],
)
def test_a_wrong_variable_is_told_with_those_that_are_like_it(variable, meant, shown, hidden):
    with pytest.raises(ConfigError, match=rf"did you mean FORECACHE_{meant}\?") as caught:
        from_env({f"FORECACHE_{variable}": "s3://bucket"})
    allowed = str(caught.value).split("; allowed: ")[1].split(" (did")[0].split(", ")
    assert f"FORECACHE_{shown}" in allowed
    assert f"FORECACHE_{hidden}" not in allowed


def test_key_groups_are_told_by_every_source(tmp_path):
    expected = (("token:*", 300.0, None), ("page:*", 3600.0, 600.0))
    groups = {"token:*": "5m", "page:*": {"ttl": "1h", "tti": "10m"}}
    file = tmp_path / "cache.toml"
    file.write_text('[groups]\n"token:*" = "5m"\n"page:*" = { ttl = "1h", tti = "10m" }\n')
    assert Config.from_url(f"memory://?groups={json.dumps(groups)}").groups == expected
    assert Config.from_env({"FORECACHE_GROUPS": json.dumps(groups)}).groups == expected
    assert Config.from_toml(file).groups == Config.load(path=file, environ={}).groups == Config(groups=groups).groups == expected


def test_what_comes_first_wins_and_says_where_it_came_from(tmp_path):
    file = tmp_path / "cache.toml"
    file.write_text(
        'preset = "edge"\nttl = 1\ntti = 1\njitter = 0.1\nnamespace = "file"\n[memory]\ncapacity = "1MB"\n'
        '[disk]\npath = "/file"\ncapacity = "1GB"\nseed = 1\nqueue = 10\n[zmemory]\ncapacity = "1MB"\n'
    )
    environ = {"FORECACHE_TTL": "2", "FORECACHE_TTI": "2", "FORECACHE_DISK_CAPACITY": "2GB", "FORECACHE_DISK_SEED": "2"}
    config = Config.load("memory://?tti=3", "disk:///url?seed=3", path=file, environ=environ, ttl=4)
    zmemory, disk = config.tiers
    assert (config.ttl, config.tti, config.jitter, config.capacity, config.namespace) == (4, 3, 0.1, 10**6, "file")
    assert (disk.path, disk.capacity, disk.seed, disk.queue) == ("/url", 2 * 10**9, 3, 10)
    assert config.origins == {
        "preset": str(file),
        "ttl": "keyword",
        "tti": "URL",
        "jitter": str(file),
        "namespace": str(file),
        "capacity": str(file),
        "zmemory.capacity": str(file),
        "zmemory.compression": "preset edge",
        "disk.enabled": "URL",
        "disk.path": "URL",
        "disk.capacity": "FORECACHE_DISK_CAPACITY",
        "disk.seed": "URL",
        "disk.queue": str(file),
        "disk.compression": "preset edge",
    }
    assert (zmemory.capacity, config.planned) == (10**6, {"prefetch": 0.9})


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            option: st.sets(st.sampled_from(["keyword", "URL", "variable", "file"]))
            for option in ("ttl", "tti", "disk.seed", "disk.level")
        }
    )
)
def test_an_option_is_what_the_first_source_that_has_it_says(said):
    """Each source says another value: 1 is that of keywords, 4 that of the file."""

    def by(source, upper):
        return [option for option, sources in said.items() if source in sources and option.startswith("disk.") != upper]

    def query(options, value):
        return "&".join(f"{option.removeprefix('disk.')}={value}" for option in options)

    urls = [f"memory://?{query(by('URL', True), 2)}", f"disk:///a?compression=zstd&{query(by('URL', False), 2)}"]
    environ = {f"FORECACHE_{option.replace('.', '_').upper()}": "3" for option, sources in said.items() if "variable" in sources}
    lines = [f"{option} = 4" for option in by("file", True)] + ["[disk]"]
    lines += [f"{option.removeprefix('disk.')} = 4" for option in by("file", False)]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "forecache.toml"
        file.write_text("\n".join(lines))
        config = Config.load(*urls, path=file, environ=environ, **dict.fromkeys(by("keyword", True), 1))
    (disk,) = config.tiers
    for option, sources in said.items():
        upper = not option.startswith("disk.")
        origins = {
            "keyword": "keyword",
            "URL": "URL",
            "variable": f"FORECACHE_{option.replace('.', '_').upper()}",
            "file": str(file),
        }
        ranks = [rank for rank, source in enumerate(origins) if source in sources and (upper or source != "keyword")]
        value = {"ttl": config.ttl, "tti": config.tti, "disk.seed": disk.seed, "disk.level": disk.packed.level}[option]
        assert value == (ranks[0] + 1 if ranks else None)
        assert config.origins.get(option) == (list(origins.values())[ranks[0]] if ranks else None)


def test_the_file_is_the_named_one_else_that_of_the_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORECACHE_TTI", "2")
    assert Config.load(environ={}).origins == {}
    (tmp_path / "forecache.toml").write_text("ttl = 1")
    (tmp_path / "b.toml").write_text("ttl = 2")
    assert (Config.load(environ={}).ttl, Config.load(environ={}).origins) == (1, {"ttl": "forecache.toml"})
    environ = {"FORECACHE_CONFIG": str(tmp_path / "b.toml")}
    assert Config.load(environ=environ).ttl == 2
    assert Config.load(path="forecache.toml", environ=environ).ttl == 1
    with pytest.raises(ConfigError, match=r"FORECACHE_CONFIG: got 'c.toml'; allowed: a TOML file"):
        Config.load(environ={"FORECACHE_CONFIG": "c.toml"})
    with pytest.raises(FileNotFoundError):
        Config.load(path="c.toml")


def test_a_cache_is_made_of_all_sources_of_a_file_or_of_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORECACHE_TTI", "2")
    (tmp_path / "forecache.toml").write_text("ttl = 1")
    (tmp_path / "b.toml").write_text("ttl = 2")
    with Cache.from_config() as cache, Cache.from_config("b.toml", tti=3) as other:
        assert (cache.config.ttl, cache.config.tti, other.config.ttl, other.config.tti) == (1, 2, 2, 3)
    aio = AsyncCache.from_config(Config(ttl=5))
    assert aio.sync.config.ttl == 5
    aio.sync.close()
    with pytest.raises(TypeError, match="a Config says it all"):
        Cache.from_config(Config(), ttl=5)


def test_tiers_of_several_sources_are_one_where_they_have_one_name(tmp_path):
    file = tmp_path / "cache.toml"
    file.write_text('[redis]\nname = "near"\nurl = "redis://near"\n')
    near = ("near", "redis", {"name": "near", "url": "redis://near"})
    assert told(gather([], file, {"FORECACHE_REDIS_TIMEOUT": "1s"})) == [("near", "redis", near[2] | {"timeout": "1s"})]
    assert told(gather([], file, {"FORECACHE_REDIS": "off"})) == []
    assert told(gather(["redis://far"], file, {})) == [("redis", "redis", {"url": "redis://far"}), near]
    assert told(gather(["redis://other?name=near"], file, {"FORECACHE_REDIS": "off"})) == [
        ("near", "redis", {"name": "near", "url": "redis://other"})
    ]
    assert told(gather(["redis://a?name=a"], None, {"FORECACHE_REDIS_TIMEOUT": "1s"})) == [
        ("a", "redis", {"name": "a", "url": "redis://a", "timeout": "1s"})
    ]
    file.write_text('[[redis]]\nname = "near"\n[[redis]]\nname = "far"\n')
    assert told(gather([], file, {"FORECACHE_REDIS": "off"})) == []
    given = gather([], file, {"FORECACHE_REDIS_NAME": "far", "FORECACHE_REDIS_TIMEOUT": "1s"})
    assert told(given) == [("near", "redis", {"name": "near"}), ("far", "redis", {"name": "far", "timeout": "1s"})]
    with pytest.raises(ConfigError, match=r"FORECACHE_REDIS_TIMEOUT: .*FORECACHE_REDIS_NAME, which says whose it is: near, far"):
        gather([], file, {"FORECACHE_REDIS_TIMEOUT": "1s"})


def test_tiers_of_other_sources_take_their_places_between_those_of_urls():
    environ = {"FORECACHE_ZMEMORY": "on", "FORECACHE_MEMCACHED": "on", "FORECACHE_DISK_PATH": "/a"}
    names = [name for name, _, _ in told(gather(["redis://", "file:///o"], None, environ))]
    assert names == ["zmemory", "disk", "redis", "memcached", "object"]


def test_the_keyword_tiers_takes_the_place_of_all_tiers(tmp_path):
    config = Config.load("disk:///a", environ={"FORECACHE_ZMEMORY": "on"}, tiers=[])
    assert (config.tiers, config.origins) == ((), {"tiers": "keyword"})


def test_a_loaded_config_is_a_value_like_any_other():
    config = Config.load("disk:///a", environ={}, ttl=5)
    again = pickle.loads(pickle.dumps(config))
    assert again == config == Config(ttl=5, tiers=Config.from_url("disk:///a").tiers)
    assert hash(again) == hash(config)
    assert again.origins == config.origins


SECRET = "hunter2"


@pytest.mark.parametrize(
    "fail",
    [
        lambda: from_urls([f"reddis://app:{SECRET}@cache"]),
        lambda: from_urls([f"redis://app:{SECRET}@cache#"]),
        lambda: from_urls([f"redis://:x#{SECRET}@cache"]),
        lambda: from_urls([f"redis://:a {SECRET}/?@cache#"]),
        lambda: from_urls([f"redis://cache?pasword={SECRET}"]),
        lambda: from_urls([f"redis://cache?password=1&password={SECRET}"]),
        lambda: from_urls([f"s3://bucket#?secret_key={SECRET}"]),
        lambda: from_urls([f"memcached://a:{SECRET}@cache/x"]),
        lambda: from_urls([f"redis://a:{SECRET}@x", f"redis://a:{SECRET}@x"]),
        lambda: from_env({"FORECACHE_REDIS_PASWORD": SECRET}),
        lambda: from_env({"FORECACHE_REDIS_PASSWD": SECRET}),
        lambda: from_env({"FORECACHE_OBJECT_SECRETKEY": SECRET}),
        lambda: from_env({"FORECACHE_REDIS_URI": f"redis://:{SECRET}@cache"}),
        lambda: from_env({"FORECACHE_REDIS_URL": f"redis://:{SECRET}@cache#"}),
        lambda: from_env({"FORECACHE_REDIS_URL": f"redis//:{SECRET}@cache"}),
        lambda: from_env({"FORECACHE_REDIS_URL": "redis://cache?password=1", "FORECACHE_REDIS_PASSWORD": SECRET}),
        lambda: Config(secret=SECRET),
        lambda: Config(codec="pickle", secret=SECRET),
        lambda: Config(secret=SECRET, codec="pickle", ttl=f"redis://:{SECRET}@cache"),
    ],
)
def test_no_error_shows_a_secret(fail):
    with pytest.raises(ConfigError) as told:
        fail()
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "urls",
    [
        [f"redis://app:{SECRET}@cache:6379/2"],
        [f"rediss+sentinel://:{SECRET}@h1,h2/main?password=other"],
        [f"redis+cluster://h1?username=app&password={SECRET}"],
        [f"unix://:{SECRET}@/run/redis.sock?db=1"],
        [f"s3://bucket/app?access_key={SECRET}&secret_key={SECRET}"],
        ["disk:///a?capacity=1GB", f"az://box?access_key=account&secret_key={SECRET}"],
    ],
)
def test_no_configuration_shows_a_secret(urls):
    config = Config.from_url(*urls, codec="pickle", secret=SECRET * 3)
    assert SECRET not in repr(config) + str(config) + repr(config.tiers) + str(config.origins)
    assert SECRET not in " ".join(f"{row}" for row in command.settings(config)) + str(doubts(config))


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@cache:port",
        f"redis://:{SECRET}@cache/no/number",
        f"redis://:{SECRET}@a,b",
        f"redis+sentinel://:{SECRET}@a,b",
        f"redis+cluster://:{SECRET}@a,b/7",
        f"redis://:{SECRET}@cache?certificate=/a&timeout=1",
        f"redis://:{SECRET}@cache?capacity=5",
        f"redis://cache?password={SECRET}&level=5",
        f"s3://key:{SECRET}@bucket",
        f"s3://bucket?endpoint=http://key:{SECRET}@host",
        f"s3://bucket?secret_key={SECRET}&sweep=never",
        f"az://box?secret_key={SECRET}&decide=perhaps",
    ],
)
def test_no_error_of_a_tier_shows_a_secret(url):
    with pytest.raises(ConfigError) as told:
        Config.from_url(url)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "table", [f'secret = ["{SECRET}"]', f'[[memory]]\nsecret = "{SECRET}"', f'[redis]\npasword = "{SECRET}"']
)
def test_no_error_about_a_file_shows_a_secret(tmp_path, table):
    file = tmp_path / "cache.toml"
    file.write_text(table)
    with pytest.raises((ConfigError, AttributeError, TypeError)) as told:
        Config.from_toml(file)
    assert SECRET not in str(told.value)


@settings(deadline=None)
@given(
    scheme=st.sampled_from([*SCHEMES, "reddis", "redis+"]),
    before=st.text(max_size=8),
    after=st.text(max_size=8),
    rest=st.sampled_from(["", "/0", "/main", "?capacity=2GB", "?capacty=2GB", "?timeout=never", "#"]),
)
def test_a_password_is_not_shown_whatever_signs_it_has(scheme, before, after, rest):
    try:
        told = repr(Config.from_url(f"{scheme}://app:{before}{SECRET}{after}@cache{rest}"))
    except ConfigError as error:
        told = str(error)
    assert SECRET not in told


def test_what_holds_secrets_is_known_by_its_name():
    named = {name for options in TIERS.values() for name, option in options.items() if "never shown" in option.meaning}
    assert named == {"password", "access_key", "secret_key"}
    assert named < set(SECRETS)
    others = {name for options in TIERS.values() for name in options} - set(SECRETS)
    assert not [name for name in others if hides(f"redis.{name}") or hides(f"FORECACHE_REDIS_{name.upper()}")]
    assert not [scheme for scheme in SCHEMES if hidden(f"{scheme}://host/path?db=1") != f"{scheme}://host/path?db=1"]
    assert SECRET in str(wrong("redis.name", SECRET, "anything"))
