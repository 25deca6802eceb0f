"""A breaker around a tier that fails as planned: what the tests of breakers stand on."""

import asyncio

from forecache._core import Entry
from forecache.flow import arun, run
from forecache.testing import DictTier, FakeClock, FaultyTier, Raise
from forecache.tiers.breaker import Breaker
from forecache.tiers.tier import wall_time


class Scene:
    """A breaker around a tier that fails as planned, its verbs plain calls in either colour."""

    def __init__(self, colour="sync", **options):
        self.colour = colour
        self.clock = FakeClock()
        now = wall_time(self.clock)
        self.held = DictTier(now=now)
        self.tier = FaultyTier(self.held, self.clock)
        self.events = []
        options = {"failures": 3, "pause": 10, "now": now, "tell": self.events.append} | options
        self.breaker = Breaker(self.tier, **options)

    def do(self, flow):
        return run(flow) if self.colour == "sync" else asyncio.run(arun(flow))

    def get(self, *keys):
        return {key: entry.payload for key, entry in self.do(self.breaker.get_many(keys)).items()}

    def set(self, key, payload, *, absent=False, **fields):
        return self.do(self.breaker.set_many({key: Entry(payload, **fields)}, absent=absent))

    def delete(self, *keys):
        return self.do(self.breaker.delete_many(keys))

    def stats(self):
        return self.breaker.stats()

    def fall(self):
        """Has the tier fail until it is down."""
        self.tier.always(Raise(OSError("no such device")))
        while self.stats().state == "up":
            self.get("any")

    def rise(self):
        """Has it answer again, to whoever asks next."""
        self.tier.heal()
        self.clock.advance(10)
