"""Options: what they may be, where they come from, and what a wrong one is told."""

import dataclasses
import functools
import inspect
import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecache import Cache, Config, ConfigError, ForecacheError, Group
from forecache.config import parse_count, parse_duration, parse_size
from forecache.units import duration_text, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1),
        ("1", 1),
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        ("1MiB", 2**20),
        ("1.5GB", 1_500_000_000),
        (".5KiB", 512),
        ("3B", 3),
        ("1TB", 10**12),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_size(text, "capacity") == size


WRONG_SIZES = [
    "",
    "MB",
    "12 apples",
    "-1",
    "1e3",
    "512M",
    "0",
    "0.1B",
    "9PiB9",
    "9" * 5000,
    0,
    -5,
    2**63,
    1.5,
    True,
    None,
    b"1MB",
    "\u0661",
]


@pytest.mark.parametrize("wrong", WRONG_SIZES)
def test_a_wrong_size_is_told_with_its_field_and_what_is_allowed(wrong):
    with pytest.raises(ConfigError, match=r"^capacity: got .*; allowed: a whole number .* '512MB'"):
        parse_size(wrong, "capacity")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (60, 60),
        (1.5, 1.5),
        ("60", 60),
        ("1.5", 1.5),
        ("2h5m", 7500),
        ("1d 2h", 93_600),
        ("500ms", 0.5),
        ("20us", 2e-5),
        ("1w", 604_800),
        ("2H", 7200),
        ("inf", math.inf),
        (math.inf, math.inf),
        (10**400, math.inf),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text, "ttl") == pytest.approx(seconds)


WRONG_DURATIONS = [
    "",
    "soon",
    "5 5s",
    "-5s",
    "0",
    "0s",
    "5y",
    "nan",
    0,
    -1,
    math.nan,
    -math.inf,
    True,
    None,
    [],
    timedelta(0),
    timedelta(-1),
]


@pytest.mark.parametrize("wrong", WRONG_DURATIONS)
def test_a_wrong_duration_is_told_with_its_field_and_what_is_allowed(wrong):
    with pytest.raises(ConfigError, match=r"^ttl: got .*; allowed: seconds above 0, .* '2h5m'"):
        parse_duration(wrong, "ttl")


@settings(deadline=None)
@given(
    st.integers(1, 2**63 - 1)
    | st.integers(1, 9999).map(lambda tenths: tenths * 10**8)
    | st.integers(1, 999).map(lambda n: n << 29)
)
def test_a_size_is_shown_as_it_is_read(size):
    assert parse_size(size_text(size), "capacity") == size


@settings(deadline=None)
@given(st.floats(1e-9, 1e12) | st.integers(1, 10**9).map(float) | st.just(math.inf))
def test_a_duration_is_shown_as_it_is_read(seconds):
    assert parse_duration(duration_text(seconds), "ttl") == seconds


def test_counts_are_whole_numbers_from_1():
    assert parse_count(5, "max_entries") == 5
    for wrong in (0, None, True, 1.5, "5"):
        with pytest.raises(ConfigError, match="max_entries"):
            parse_count(wrong, "max_entries")


def test_a_bare_cache_has_100_mb_and_no_ttl():
    config = Cache().config
    assert (config.capacity, config.max_entries, config.policy, config.ttl, config.copy) == (
        100_000_000,
        None,
        "s3fifo",
        None,
        False,
    )


def test_a_config_is_frozen_and_can_be_made_anew_with_changes():
    config = Config("1MB", ttl="1m", groups={"a*": 5})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ttl = 5
    assert dataclasses.replace(config, policy="lru") == Config("1MB", policy="lru", ttl=60, groups={"a*": Group(ttl=5)})


async def listener(key, value, cause):
    pass


class Listener:
    async def __call__(self, key, value, cause):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": "many"}, r"capacity: got 'many'; allowed: a whole number"),
        ({"max_entries": 0}, r"max_entries: got 0; allowed: a whole number from 1 to"),
        ({"max_entries": True}, r"max_entries: got True"),
        ({"policy": "s3-fifo"}, r"policy: got 's3-fifo'; allowed: .*lru.* \(did you mean s3fifo\?\)"),
        ({"policy": None}, r"policy: got None; allowed: .*s3fifo"),
        ({"ttl": "0s"}, r"ttl: got '0s'"),
        ({"tti": -1}, r"tti: got -1"),
        ({"jitter": 1}, r"jitter: got 1; allowed: a share from 0"),
        ({"jitter": math.nan}, r"jitter: got nan"),
        ({"jitter": "0.1"}, r"jitter: got '0.1'"),
        ({"weigher": 5}, r"weigher: got 5; allowed: a function \(key, value\) -> weight"),
        ({"copy": 1}, r"copy: got 1; allowed: True or False"),
        ({"namespace": 5}, r"namespace: got 5; allowed: a str"),
        ({"namespace": "\ud800"}, r"namespace: got '\\ud800'"),
        ({"seed": -1}, r"seed: got -1; allowed: a whole number from 0"),
        ({"seed": 2**64}, r"seed: got"),
        ({"on_remove": "print"}, r"on_remove: got 'print'; allowed: a function \(key, value, cause\)"),
        ({"on_remove": listener}, r"on_remove: got .*; not async.*loop.call_soon_threadsafe"),
        ({"on_remove": Listener()}, r"on_remove: got .*; not async"),
        ({"on_remove": functools.partial(listener, "x")}, r"on_remove: got .*; not async"),
        ({"clock": 5}, r"clock: got 5; allowed: .*FakeClock"),
        ({"groups": 5}, r"groups: got 5; allowed: a mapping"),
        ({"groups": ["a*"]}, r"groups: got .*; allowed: a mapping"),
        ({"groups": {5: 5}}, r"groups\[5\]: got 5; allowed: a str"),
        ({"groups": {"a*": "soon"}}, r"groups\['a\*'\].ttl: got 'soon'"),
        ({"groups": {"a*": Group(tti=0)}}, r"groups\['a\*'\].tti: got 0"),
        ({"groups": {"a*": {"tl": 5}}}, r"groups\['a\*'\].tl: got 5; allowed: ttl, tti \(did you mean ttl\?\)"),
    ],
)
def test_a_wrong_option_is_told_with_its_field_and_what_is_allowed(options, message):
    with pytest.raises(ConfigError, match=message) as told:
        Cache(**options)
    assert isinstance(told.value, ValueError)
    assert isinstance(told.value, ForecacheError)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(ConfigError) as told:
        Config("x" * 10_000)
    assert len(str(told.value)) < 500


def test_groups_are_taken_as_durations_mappings_and_groups_in_order():
    config = Config(groups={"a*": "1m", "b*": {"tti": 5}, "c*": Group(ttl=1, tti=math.inf)})
    assert config.groups == (("a*", 60.0, None), ("b*", None, 5.0), ("c*", 1.0, math.inf))


def test_urls_carry_options_in_their_query():
    config = Config.from_url(
        "memory://?capacity=512MB&policy=lru&ttl=5m&tti=60&max_entries=10&jitter=0.1&copy=yes&seed=3&namespace=a%20b", copy=False
    )
    assert config == Config("512MB", 10, "lru", 300, 60, 0.1, seed=3, namespace="a b")
    assert Config.from_url() == Config.from_url("memory://") == Config()
    assert Config.from_url('memory://?groups={"a*": 5}').groups == (("a*", 5.0, None),)
    for plus in ("+", "%2B"):
        assert Cache.from_url(f"memory://?policy=clock2q{plus}").config.policy == "clock2q+"


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (
            ["memroy://"],
            r"url: got 'memroy://'; allowed: a scheme of memory, zmemory, .* \(did you mean memory\?\): a URL such as",
        ),
        (["512MB"], r"url: got '512MB'"),
        ([5], r"url: got 5; allowed: a URL such as"),
        (["memory://[?"], r"url: got"),
        (["memory://512MB"], r"url: got .*; allowed: options in the query"),
        (["memory://", "memory://"], r"url: got .*; allowed: one memory:// only"),
        (["memory://?capcity=5"], r"url option capcity: got '5'; allowed: capacity, .*did you mean capacity\?"),
        (["memory://?ttl=1&ttl=2"], r"url option ttl: got '2'; allowed: ttl in one place only"),
        (["memory://?capacity="], r"capacity: got ''"),
        (["memory://?max_entries=ten"], r"max_entries: got 'ten'"),
        (["memory://?copy=maybe"], r"copy: got 'maybe'"),
        (["memory://?groups={"], r"groups: got '\{'"),
    ],
)
def test_a_wrong_url_is_told(urls, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_url(*urls)


def test_a_keyword_beside_sources_is_told_as_an_option_is():
    with pytest.raises(ConfigError, match=r"capcity: got 3; allowed: .*did you mean capacity\?"):
        Config.from_url("memory://", capcity=3)
    with pytest.raises(ConfigError, match=r"namspace: got 'x'; .*did you mean namespace\?"):
        Config.load(environ={}, namspace="x")


@pytest.mark.parametrize("table", ["", "forecache", "tool.forecache"])
def test_toml_is_read_from_its_table_or_the_top(tmp_path, table):
    inner = f"{table}." if table else ""
    file = tmp_path / "cache.toml"
    file.write_text(
        (f"[{table}]\n" if table else "")
        + 'namespace = "app"\nttl = "1h"\njitter = 0.1\n'
        + f'[{inner}memory]\nenabled = true\ncapacity = "2MB"\npolicy = "lru"\n'
        + f'[{inner}groups]\n"token:*" = "5m"\n"page:*" = {{ ttl = "1h", tti = "10m" }}\n'
    )
    expected = Config(
        "2MB", policy="lru", ttl=3600, jitter=0.1, namespace="app", groups={"token:*": 300, "page:*": Group(3600, 600)}
    )
    assert Config.from_toml(file) == expected
    assert Config.from_toml(str(file), capacity=5).capacity == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ttl = ", r"cache.toml: Invalid value"),
        ("\xff", r"cache.toml: "),
        ("capcity = 5", r"capcity: got 5; allowed: capacity, .*disk, .* \(did you mean capacity\?\)"),
        ("[memory]\nsize = 5", r"memory.size: got 5"),
        ("capacity = 5\n[memory]\ncapacity = 6", r"memory.capacity: got 6; allowed: capacity in one place only"),
        ("memory = 5", r"memory: got 5; allowed: a table of options: \[memory\]"),
        (
            "[memory]\nenabled = false",
            r"memory.enabled: got False; allowed: on: every cache has memory, and other tiers lie below it",
        ),
        ("[memory]\nenabled = 1", r"memory.enabled: got 1; allowed: on or off"),
        ("forecache = 5", r"forecache: got 5; allowed: a table"),
        ("groups = 5", r"groups: got 5"),
    ],
)
def test_a_wrong_toml_file_is_told(tmp_path, text, message):
    file = tmp_path / "cache.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=message):
        Config.from_toml(file)


def test_a_project_file_without_our_table_says_nothing(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n[tool.ruff]\nline-length = 100\n')
    assert Config.from_toml(file) == Config()
    with pytest.raises(FileNotFoundError):
        Config.from_toml(tmp_path / "absent.toml")


def test_the_environment_names_options_with_or_without_their_tier(monkeypatch):
    environ = {
        "FORECACHE_MEMORY": "on",
        "FORECACHE_MEMORY_CAPACITY": "2MB",
        "FORECACHE_POLICY": "lru",
        "FORECACHE_TTL": "1h",
        "FORECACHE_COPY": "on",
        "FORECACHE_MAX_ENTRIES": "7",
        "FORECACHE_GROUPS": '{"a*": {"ttl": "5m"}}',
        "PATH": "/bin",
    }
    expected = Config("2MB", 7, "lru", 3600, copy=True, groups={"a*": 300})
    assert Config.from_env(environ) == expected
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert Config.from_env() == expected
    assert Cache.from_env(policy="lfu").config.policy == "lfu"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FORECACHE_CAPCITY": "5"}, r"FORECACHE_CAPCITY: got '5'; allowed: .*did you mean FORECACHE_CAPACITY\?"),
        ({"FORECACHE_MEMORY_TL": "5"}, r"FORECACHE_MEMORY_TL: got '5'; .*did you mean FORECACHE_MEMORY_TTL\?"),
        (
            {"FORECACHE_MEMORY": "off"},
            r"FORECACHE_MEMORY: got False; allowed: on: every cache has memory, and other tiers lie below it",
        ),
        ({"FORECACHE_MEMORY": "perhaps"}, r"FORECACHE_MEMORY: got 'perhaps'; allowed: on or off"),
        ({"FORECACHE_TTL": "5", "FORECACHE_MEMORY_TTL": "6"}, r"FORECACHE_MEMORY_TTL: got '6'; allowed: ttl in one place only"),
        ({"FORECACHE_SEED": "x"}, r"seed: got 'x'"),
        ({"FORECACHE_WEIGHER": "len"}, r"FORECACHE_WEIGHER"),
    ],
)
def test_a_wrong_environment_is_told(environ, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_env(environ)


def test_every_option_is_in_the_table_that_all_sources_read():
    from forecache.options import CACHE, TIERS

    fields = set(inspect.signature(Config).parameters)
    assert {*CACHE, *TIERS["memory"]} == fields | {"preset"}


def test_more_patterns_than_there_are_groups_are_refused():
    with pytest.raises(ConfigError, match="groups: got '5000 patterns'; allowed: at most 4095"):
        Cache(groups={f"p{number}:*": 5 for number in range(5000)})
