"""A registry keeps models under names and versions, in a directory or a tier, for several processes at once."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from test_by_url import url_of
from test_cli_replay import forecache
from test_replay import write, zipf

from forecache import Cache, ConfigError, registry, replays
from forecache._core import Prior
from forecache.registry import Registry, resolve, version_of
from forecache.replays import replay

NONE, SHIPPED = Prior.none().write(), Prior.shipped().write()


@pytest.fixture(params=["directory", "disk", "redis", "redis+cluster", "s3", "file"])
def where(request, tmp_path):
    if request.param == "directory":
        return tmp_path / "models"
    if request.param == "disk":
        return f"disk://{tmp_path}/disk"
    return url_of(request.param, request, tmp_path)


@pytest.fixture
def name(request):
    """Servers are shared by all tests."""
    return f"n{abs(hash(request.node.name)) % 10**12}"


@pytest.fixture
def models(where):
    with Registry(where) as opened:
        yield opened


@pytest.fixture
def local(tmp_path):
    return Registry(tmp_path / "models")


def test_what_is_pushed_comes_back_under_its_version(models, name):
    spec = models.push(NONE, name)
    assert spec == f"{name}@{version_of(NONE)}"
    assert models.get(spec) == models.get(name) == NONE


def test_the_first_version_is_in_use_until_another_is(models, name):
    first, second = models.push(NONE, name), models.push(SHIPPED, name)
    assert models.get(name) == NONE
    assert models.use(second) == second
    assert models.get(name) == SHIPPED
    assert [use["version"] for use in models.history(name)] == [spec.partition("@")[2] for spec in (first, second)]
    assert models.rollback(name) == first
    assert models.get(name) == NONE
    with pytest.raises(ConfigError, match="meant another version before"):
        models.rollback(name)


def test_pushing_the_same_again_changes_nothing(models, name):
    spec = models.push(NONE, name, {"traces": 3})
    before = models.list(name)
    assert models.push(NONE, name, {"traces": 4}) == spec
    assert models.list(name) == before
    assert [(model.spec, model.in_use, model.trained) for model in before] == [(spec, True, {"traces": 3})]


def test_all_names_are_listed(models, name):
    other = f"{name}-other"
    models.push(NONE, name)
    models.push(SHIPPED, other)
    listed = models.list()
    assert {name, other} <= {model.name for model in listed}
    assert [model.version for model in models.list(other)] == [version_of(SHIPPED)]


def test_those_who_say_at_once_what_is_in_use_all_are_in_the_history(where, name):
    with Registry(where) as models:
        specs = [models.push(NONE, name), models.push(SHIPPED, name)]

    def say(number):
        with Registry(where) as mine:
            mine.push((NONE, SHIPPED)[number % 2], name)
            return mine.use(specs[number % 2])

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(say, range(8)))
    with Registry(where) as models:
        uses = [use["version"] for use in models.history(name)]
        assert f"{name}@{uses[-1]}" in said
        assert all(one != other for one, other in pairwise(uses))
        assert len(models.list(name)) == 2


@pytest.mark.parametrize("wrong", ["", "Vm", "-vm", "a/b", "../up", "a b", "x" * 101, "vm@1", None, 7])
def test_names_are_checked(local, wrong):
    with pytest.raises(ConfigError, match="model: got"):
        local.push(NONE, wrong)


@pytest.mark.parametrize("wrong", ["vm@", "vm@12", "vm@latest", f"vm@{'0' * 16}", "absent", f"absent@{'0' * 16}"])
def test_versions_that_are_none_or_not_there_are_refused(local, wrong):
    local.push(NONE, "vm")
    with pytest.raises(ConfigError, match="model: got"):
        local.get(wrong)


def test_an_unknown_version_is_told_which_there_are(local):
    spec = local.push(NONE, "vm")
    with pytest.raises(ConfigError, match=spec):
        local.use(f"vm@{'0' * 16}")
    with pytest.raises(ConfigError, match="name@version"):
        local.use("vm")


def test_what_is_no_model_is_not_taken(local, tmp_path):
    large = tmp_path / "large.fcm"
    large.write_bytes(b"x" * (registry.LARGEST + 1))
    for model, message in [(b"no model", "is no model"), (NONE[:-1], "bytes; expected"), (large, "at most 1048576 bytes")]:
        with pytest.raises(ConfigError, match=message):
            local.push(model, "vm")
    with pytest.raises(ConfigError, match="a file that can be read"):
        local.push(tmp_path / "absent.fcm", "vm")
    assert local.list() == []


def test_a_damaged_model_is_refused_by_its_hash(local, tmp_path):
    spec = local.push(NONE, "vm")
    (file,) = (tmp_path / "models").glob("vm/*.fcm")
    file.write_bytes(SHIPPED)  # a good model, but not this one
    with pytest.raises(ConfigError, match="is damaged"):
        local.get(spec)
    with pytest.raises(ConfigError, match="is damaged"):
        local.use(spec)
    assert local.push(NONE, "vm") == spec
    assert local.get(spec) == NONE


def test_a_damaged_model_that_is_huge_is_never_said_to_be_pushed(local, tmp_path):
    local.push(NONE, "vm")
    (file,) = (tmp_path / "models").glob("vm/*.fcm")
    file.write_bytes(b"x" * (registry.LARGEST + 1))
    with pytest.raises(ConfigError, match="damaged and can't be replaced; delete it and push again"):
        local.push(NONE, "vm")


def test_a_place_that_takes_nothing_is_given_up(local, monkeypatch):
    specs = [local.push(model, "vm") for model in (NONE, SHIPPED)]
    monkeypatch.setattr(local._shelf, "exchange", lambda *_: False)
    with pytest.raises(ConfigError, match=r"didn't take vm/used\.json; expected a place with room"):
        local.use(specs[1])


@pytest.mark.parametrize("name", ["model.fcm", "model.fcm.json"])
def test_a_pipe_is_not_waited_for(local, tmp_path, name):
    file = tmp_path / "model.fcm"
    file.write_bytes(NONE)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    if name == "model.fcm":
        with pytest.raises(ConfigError, match="it is no regular file"):
            local.push(file, "vm")
    else:
        assert [local.push(file, "vm")] == [model.spec for model in local.list()]


def test_files_are_as_open_as_the_user_lets_them_be(local, tmp_path):
    before = os.umask(0o077)
    try:
        local.push(NONE, "vm")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "models" / "vm").iterdir()} == {0o600}


@pytest.mark.parametrize("content", [b"{", b"7", b'["a"]', b'[{"version": "../x"}]', b"[" * 100_000])
def test_a_damaged_history_says_so(local, tmp_path, content):
    local.push(NONE, "vm")
    (tmp_path / "models" / "vm" / "used.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"used\.json of the registry is damaged"):
        local.get("vm")


def test_a_model_without_its_notes_is_one_all_the_same(local, tmp_path):
    spec = local.push(NONE, "vm", {"traces": 1})
    (tmp_path / "models" / "vm" / f"{version_of(NONE)}.json").write_bytes(b"\xff{")
    (tmp_path / "models" / "vm" / "README").write_text("of the user's own")
    assert [(model.spec, model.pushed, model.trained) for model in local.list()] == [(spec, "", {})]


def test_what_lies_beside_a_file_comes_along_if_it_is_about_it(local, tmp_path):
    file = tmp_path / "model.fcm"
    file.write_bytes(NONE)
    registry.beside(file).write_text(json.dumps(registry.note(NONE, trained={"traces": 5})))
    local.push(file, "one")
    file.write_bytes(SHIPPED)
    local.push(file, "two")
    assert [model.trained.get("traces") for model in local.list()] == [5, None]


def test_a_spec_is_a_path_or_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("FORECACHE_REGISTRY", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    for path in ("plain", "model.fcm", "sub/model"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(SHIPPED)
    assert all(resolve(spec) == SHIPPED for spec in ("plain", "model.fcm", "sub/model", tmp_path / "plain"))
    spec = Registry().push(NONE, "vm")
    assert resolve("vm") == resolve(spec) == resolve("vm", Registry()) == resolve("vm", tmp_path / "models") == NONE
    for absent in ("absent.fcm", "sub/absent", "absent"):
        with pytest.raises(ConfigError, match=f"model: got '{absent}'"):
            resolve(absent)


def test_a_name_that_isnt_there_is_told_the_nearest(local):
    with pytest.raises(ConfigError, match="none yet: push one first"):
        local.get("vn-images")
    local.push(NONE, "vm-images")
    for wrong in ("vn-images", f"vn-images@{'0' * 16}"):
        with pytest.raises(ConfigError, match=r"did you mean vm-images\?"):
            local.get(wrong)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_what_is_no_file_is_not_waited_for(local, tmp_path, make):
    path = tmp_path / "model.fcm"
    make(path)
    for take in (resolve, lambda path: Cache(shadow=path), replays.read_prior):
        with pytest.raises(ConfigError, match=r"got '.*model.fcm'; .* no regular file|Is a directory"):
            take(path)


def test_a_shadow_that_is_no_model_is_told_by_its_name(tmp_path):
    path = tmp_path / "model.fcm"
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"shadow: the file '.*model.fcm' is no model"):
        Cache(shadow=path)


def test_a_replay_takes_a_model_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("FORECACHE_REGISTRY", str(tmp_path / "models"))
    spec = Registry().push(NONE, "vm")
    for name in ("vm", spec):
        assert replays.read_prior(name).write() == NONE
    with pytest.raises(ConfigError, match="prior: got 'vn'"):
        replays.read_prior("vn")


def test_a_registry_is_where_the_environment_says_or_among_the_users_data(tmp_path, monkeypatch):
    monkeypatch.delenv("FORECACHE_REGISTRY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert registry.default() == str(tmp_path / "forecache" / "models")
    monkeypatch.setenv("FORECACHE_REGISTRY", "redis://cache")
    assert registry.default() == "redis://cache"
    with Cache.from_env() as cache:  # the variable is no option, and no mistake
        assert cache.config.origins == {}


@pytest.mark.parametrize("wrong", ["memory://", "zmemory://", "nonsense://x", ""])
def test_tiers_that_no_other_process_sees_are_refused(wrong):
    with pytest.raises(ConfigError):
        Registry(wrong)


def test_a_registry_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="registry: "):
        Registry(tmp_path / "file").push(NONE, "vm")


def test_secrets_of_the_url_are_not_shown():
    with pytest.raises(ConfigError) as caught:
        Registry("nonsense://app:hunter2@cache")
    assert "hunter2" not in str(caught.value)


def test_the_commands_push_list_use_and_roll_back(tmp_path):
    one, two = tmp_path / "one.fcm", tmp_path / "two.fcm"
    one.write_bytes(NONE)
    two.write_bytes(SHIPPED)
    home = {"FORECACHE_REGISTRY": str(tmp_path / "models")}

    def told(*arguments):
        done = forecache("model", *arguments, **home)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    assert "no models; push one" in told("list").replace("\n", "")
    first, second = told("push", one, "vm"), told("push", two, "vm", "--registry", tmp_path / "models")
    assert told("use", second) == f"{second} is in use"
    assert {line.split()[0] for line in told("list", "vm").splitlines()[1:]} == {first, second}
    listed = json.loads(told("list", "--json"))
    assert {f"{model['name']}@{model['version']}": model["in_use"] for model in listed} == {first: False, second: True}
    assert told("rollback", "vm") == f"{first} is in use"
    wrong = forecache("model", "rollback", "vm", **home)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "meant another version before" in wrong.stderr


def test_models_are_compared_by_what_they_save(tmp_path):
    trace = write(tmp_path / "popular.fctrace", zipf(8000))
    Registry(tmp_path / "models").push(NONE, "vm")
    arguments = ("model", "compare", "vm", "shipped", trace, "--sizes", "0.01,0.05", "--registry", tmp_path / "models")
    done = forecache(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    told = json.loads(forecache(*arguments, "--json").stdout)
    assert (told["a"], told["b"], len(told["cells"])) == ("vm", "shipped", 2)
    lru, *others = (
        replay(trace, policies=policy, prior=prior, sizes=[0.05])[0].misses
        for policy, prior in (("lru", None), ("learned", Prior.none()), ("learned", None))
    )
    assert [told["cells"][1][cut] for cut in ("cut_a", "cut_b")] == [(lru - misses) / lru for misses in others]
