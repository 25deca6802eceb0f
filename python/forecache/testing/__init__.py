"""What helps to test programs that use a cache, and tiers of one's own."""

from forecache._core import FakeClock
from forecache.testing.faults import Delay, FaultyTier, Garble, Hang, Lose, Raise
from forecache.testing.suite import Case, check_tier, tier_cases
from forecache.tiers.dict_tier import DictTier

__all__ = [
    "Case",
    "Delay",
    "DictTier",
    "FakeClock",
    "FaultyTier",
    "Garble",
    "Hang",
    "Lose",
    "Raise",
    "check_tier",
    "tier_cases",
]
