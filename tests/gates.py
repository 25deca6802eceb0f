"""Loaders that wait to be let, and ways to wait for who waits for them."""

import asyncio
import threading

import pytest
from conftest import PATIENCE


class Gate:
    """A loader that tells when it was entered and returns when it is let, and counts its calls."""

    def __init__(self, value="loaded"):
        self.entered = threading.Event()
        self.open = threading.Event()
        self.value = value
        self.calls = 0

    def __call__(self):
        self.calls += 1
        self.entered.set()
        assert self.open.wait(PATIENCE)
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def joined(cache, key, count):
    """Waits until so many callers are on the flight of a key."""
    for _ in range(PATIENCE * 1000):
        flight = cache._flights._running.get(key)
        if flight is not None and flight.waiters == count:
            return
        threading.Event().wait(0.001)
    pytest.fail("nobody joined")


async def soon(condition):
    """Lets the loop run until the condition holds."""
    for _ in range(PATIENCE * 1000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never happened")


def waiters(cache, key):
    flight = cache._flights._running.get(key)
    return flight.waiters if flight else 0
