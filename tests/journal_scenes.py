"""Journals and what is owed by them, as the tests of them begin."""

from forecache.flow import run
from forecache.testing import DictTier, FakeClock, FaultyTier
from forecache.tiers.breaker import Breaker
from forecache.tiers.journal import Journal
from forecache.tiers.owed import Owed
from forecache.tiers.tier import wall_time

BOOT, LATER = b"the first boot  ", b"the second boot "
PATIENCE = 20


def journal(path, boot=BOOT, about="tier"):
    return Journal(path, about, boot)


def opened(path, **options):
    return Owed(journal(path, **options))


def keys_of(owed):
    bool(owed)  # looks
    return sorted(owed.keys())


def settle(owed, *keys):
    due = owed.due(keys)
    owed.settle(due)
    owed.leave(due)


class Scene:
    """Two processes' breakers around the same data, each with a tier that fails as planned, and one journal."""

    def __init__(self, path, **options):
        self.clock = FakeClock()
        now = wall_time(self.clock)
        self.entries = {}
        self.tiers = [FaultyTier(DictTier(self.entries, shared=True, now=now), self.clock) for _ in range(2)]
        self.breakers = [Breaker(tier, failures=1, pause=10, now=now, **options) for tier in self.tiers]
        for breaker in self.breakers:
            breaker.keep(journal(path))

    def get(self, which, *keys):
        return {key: entry.payload for key, entry in run(self.breakers[which].get_many(keys)).items()}
