"""`import forecache` is light: clients of servers are imported when a tier is made that needs them."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CLIENTS = ("redis", "hiredis", "obstore", "meta_memcache_socket", "typer", "rich", "matplotlib")
OURS = ("forecache.tiers.redis", "forecache.tiers.memcached", "forecache.tiers.object_store")
CONFIGURED = "from forecache import Config; Config.load('redis://a', 'memcached://b', 's3://c', environ={})"


@pytest.mark.parametrize(("program", "names"), [("import forecache", CLIENTS + OURS), (CONFIGURED, CLIENTS)])
def test_nothing_is_imported_before_it_is_needed(program, names):
    assert all(map(find_spec, names)), "what isn't there isn't imported anyway"
    program = f"import sys; {program}; print(*(name for name in {names} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_what_is_imported_late_is_there():
    import forecache

    for name in forecache.__all__:
        assert getattr(forecache, name) is not None
    assert forecache.Redis("redis://a").name == "redis"
    assert forecache.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="module 'forecache' has no attribute 'Rediss'"):
        forecache.Rediss  # noqa: B018
