"""`forecache config`: what is in force, from where, what looks unwise, and nothing secret."""

import json
import os
import subprocess
import sys

import pytest

from forecache import Config, Redis, machine
from forecache.doubts import doubts
from forecache.testing import DictTier


def config(tmp_path, *arguments, columns="80", **environ):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FORECACHE_")}
    return subprocess.run(
        [sys.executable, "-m", "forecache.cli", "config", *arguments],
        cwd=tmp_path,
        env=inherited | {"COLUMNS": columns} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_each_setting_is_shown_with_where_it_came_from(tmp_path):
    (tmp_path / "forecache.toml").write_text('ttl = "2h5m"\n[groups]\n"token:*" = "5m"\n[zmemory]\ncapacity = "1MiB"\n')
    done = config(tmp_path, "disk:///cache?capacity=10MB", FORECACHE_JITTER="0.1", FORECACHE_DISK_STRICT="on")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    for row in (
        ["ttl", "2h5m", "forecache.toml"],
        ["jitter", "0.1", "FORECACHE_JITTER"],
        ["groups", "token:*:", "ttl", "5m", "forecache.toml"],
        ["capacity", "100MB"],
        ["capacity", "1MiB", "forecache.toml"],
        ["capacity", "10MB", "URL"],
        ["strict", "on", "FORECACHE_DISK_STRICT"],
        ["level", "usual"],
    ):
        assert row in lines, row
    assert [line[0] for line in lines if len(line) == 2 and line[1] == "from"] == ["memory", "zmemory", "disk"]
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Nothing looks unwise." in done.stdout


def test_a_narrow_terminal_loses_nothing(tmp_path):
    file = tmp_path / ("long" * 20 + ".toml")
    file.write_text("ttl = 1")
    done = config(tmp_path, "--file", str(file), columns="60")
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert str(file) in "".join(done.stdout.split())


def test_json_has_all_of_it(tmp_path):
    done = config(tmp_path, "--json", FORECACHE_PRESET="edge", FORECACHE_CODEC="pickle", FORECACHE_SECRET="hunter2" * 3)
    told = json.loads(done.stdout)
    assert told["tiers"]["zmemory"]["compression"] == {"value": "lz4", "from": "preset edge"}
    assert told["tiers"]["memory"]["secret"] == {"value": "***", "from": "FORECACHE_SECRET"}
    assert told["not_in_force"] == {"prefetch": 0.9}
    assert told["unwise"] == []
    assert "hunter2" not in done.stdout + done.stderr


def test_what_is_not_in_force_is_told(tmp_path):
    told = " ".join(config(tmp_path, FORECACHE_PRESET="global").stdout.split())
    assert "prefetch = 0.5, of the preset: kept, and not in force" in told
    assert "dedup = True, of the preset: kept, and not in force" in told


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["disk://a"], {}, "allowed: an absolute path after three slashes"),
        ([], {"FORECACHE_TLL": "5"}, "did you mean FORECACHE_TTL?"),
        (["--file", "absent.toml"], {}, "absent.toml"),
        (["reddis://a:hunter2@b"], {}, "got 'reddis://a:***@b'"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, arguments, environ, message):
    done = config(tmp_path, *arguments, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


def test_help_teaches(tmp_path):
    told = config(tmp_path, "--help").stdout
    for words in ("FORECACHE_REDIS_URL", "--file", "--json", "a preset", "forecache config"):
        assert words in told


def told(made):
    return {doubt.setting: doubt.words for doubt in doubts(made)}


def test_more_memory_or_disk_than_there_is_looks_unwise(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 10**9)
    assert told(Config("900MB")) == {}
    assert told(Config.from_url("memory://?capacity=600MB", "zmemory://?capacity=600MB")) == {
        "memory.capacity": "1.2GB of memory, and this host (or its control group) has 1GB"
    }
    assert told(Config("900GB", weigher=len)) == {}
    words = told(Config.from_url(f"disk://{tmp_path}?capacity=900PB"))["disk.capacity"]
    assert words.startswith(f"900PB, and the file system of {tmp_path} has room for ")


def test_a_model_that_isnt_there_looks_unwise(tmp_path):
    path, there = tmp_path / "app.fcm", tmp_path / "there.fcm"
    there.touch()
    for setting in ("model", "shadow"):
        asked = {"policy": "learned", setting: str(path)}
        assert str(path) in told(Config(**asked))[setting]
        assert told(Config(**asked | {setting: str(there)})) == {}
    assert told(Config(policy="learned", model=path, save_interval=60)) == {}, "it will be made"
    assert told(Config(policy="learned", model="vm")) == {}, "a name: no registry is asked"


def test_pickle_in_a_tier_that_others_write_looks_unwise():
    options = {"codec": "pickle", "secret": "x" * 16}
    assert "codec" not in told(Config(**options))
    assert "codec" not in told(Config.from_url("zmemory://", **options))
    assert "in disk, which others may write" in told(Config.from_url("disk:///a", **options))["codec"]
    assert "in dict, which others may write" in told(Config(tiers=[DictTier(name="dict", shared=True)], **options))["codec"]


def test_remote_tiers_without_bounds_look_unwise():
    assert told(Config.from_url("redis://cache?capacity=1GB&timeout=1", namespace="app")) == {}
    assert told(Config.from_url("redis://cache", namespace="app", ttl="1h")) == {}
    assert set(told(Config.from_url("redis://cache"))) == {"namespace", "redis.capacity"}
    assert set(told(Config.from_url("s3://bucket?name=far", namespace="app"))) == {"far.capacity"}
    config = Config(tiers=[Redis("redis://cache", "1GB", timeout=None)], namespace="app")
    assert told(config) == {"redis.timeout": "none: a server that hangs keeps its callers waiting"}


def test_a_journal_that_cannot_be_kept_looks_unwise(tmp_path):
    (tmp_path / "file").write_text("no directory")
    options = {"namespace": "app", "ttl": "1h"}
    assert told(Config.from_url("redis://cache?write=behind", journal=tmp_path / "new", **options)) == {}
    words = told(Config.from_url("redis://cache?write=behind", journal=tmp_path / "file" / "journal", **options))["journal"]
    assert words == f"{tmp_path}/file/journal can't be written: what redis misses while it is down is lost with this process"


@pytest.mark.parametrize(
    ("url", "unwise"),
    [
        ("redis://app:hunter2@cache", True),
        ("redis+sentinel://:hunter2@127.0.0.1,cache/main", True),
        ("redis://cache?password=hunter2", True),
        ("redis://:hunter2@localhost:6379", False),
        ("unix://:hunter2@/run/redis.sock", False),
        ("rediss://:hunter2@cache", False),
        ("redis://cache", False),
    ],
)
def test_a_password_that_travels_unencrypted_looks_unwise(url, unwise):
    assert ("redis.url" in told(Config.from_url(url))) == unwise


def test_a_password_in_a_url_of_a_file_that_others_read_looks_unwise(tmp_path):
    file = tmp_path / "forecache.toml"
    file.write_text('namespace = "app"\n[redis]\nurl = "rediss://:hunter2@cache?capacity=1GB"\n')
    file.chmod(0o640)
    assert set(told(Config.load(path=file, environ={}))) == {"redis.url"}
    file.chmod(0o600)
    assert told(Config.load(path=file, environ={})) == {}


def test_a_secret_in_a_file_that_others_read_looks_unwise(tmp_path):
    file = tmp_path / "forecache.toml"
    file.write_text(f'codec = "pickle"\nsecret = "{"hunter2" * 3}"\n')
    file.chmod(0o644)
    assert told(Config.load(path=file, environ={})) == {
        "secret": f"a secret in {file}, which others than its owner may read: chmod 600"
    }
    file.chmod(0o600)
    assert told(Config.load(path=file, environ={})) == {}


def test_a_login_in_a_url_is_shown_starred(tmp_path):
    done = config(tmp_path, "redis://app:hunter2@cache?timeout=1")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["username", "app"] in lines
    assert ["password", "***"] in lines
    assert "hunter2" not in done.stdout
