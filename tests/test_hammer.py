"""Short forms of `make campaign`."""

import time

import pytest

from campaign import hammer
from forecache import Cache


def test_two_threads_and_two_tasks_lose_nothing_and_keep_the_budget():
    done = hammer(seconds=1.5)
    assert done["walks"] > 1000
    assert done["evictions"] > 100
    assert done["loads"] > 100


def test_the_hammer_notices_a_lost_update(monkeypatch):
    def incr(self, key, amount=1, **_):
        value = self.get(key) + amount
        time.sleep(0)  # another thread may come between
        self.set(key, value, pin=True)
        return value

    monkeypatch.setattr(Cache, "incr", incr)
    with pytest.raises(AssertionError, match="was added"):
        hammer(seconds=0.5)
