"""`import forecache` is light: clients of servers are imported when a tier is made that needs them."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CLIENTS = ("redis", "hiredis", "obstore", "meta_memcache_socket", "typer", "rich", "matplotlib")
CONFIGURED = "from forecache import Config; Config.load('redis://a', 'memcached://b', 's3://c', environ={})"


@pytest.mark.parametrize("program", ["import forecache", CONFIGURED], ids=["imported", "configured"])
def test_no_client_is_imported_before_it_is_needed(program):
    assert all(map(find_spec, CLIENTS)), "what isn't installed isn't imported anyway"
    program = f"import sys; {program}; print(*(name for name in {CLIENTS} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
