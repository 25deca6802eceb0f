"""`import forecache` is light: clients of servers are imported when a tier is made that needs them."""

import subprocess
import sys

import pytest

CLIENTS = ("redis", "hiredis", "obstore", "pymemcache", "aiomcache", "emcache", "pylibmc", "boto3", "typer", "rich", "matplotlib")


@pytest.mark.parametrize("said", ["import forecache", "from forecache import Config; Config.load('disk:///a', environ={})"])
def test_no_client_is_imported_before_it_is_needed(said):
    program = f"import sys; {said}; print(*(name for name in {CLIENTS} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
