"""A name that the system can't look up costs a caller the time of a call, and no more."""

import socket
import threading

import pytest
from conftest import PATIENCE

from forecache import Memcached, Redis
from forecache.flow import run


@pytest.mark.parametrize("boundary", [Redis("redis://cache.example", timeout=0.1), Memcached("cache.example:1", timeout=0.1)])
def test_a_look_up_that_hangs_is_given_up(boundary, monkeypatch):
    answered = threading.Event()

    def hang(*_arguments, **_options):
        answered.wait(PATIENCE)
        raise socket.gaierror("no name server answered")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    tier = boundary.make("space", lambda: 0)
    try:
        assert run(tier.get_many(["a"])) == {}
        assert "no answer in time" in tier.stats().reason
    finally:
        answered.set()
    run(tier.close())
