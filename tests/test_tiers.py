"""Every tier and every layer keeps what `Tier` promises."""

import tempfile

import pytest

from forecache import POLICIES, Disk
from forecache.testing import DictTier, FaultyTier, tier_cases
from forecache.testing.contract import BOUNDED as BOUNDED_CHECKS
from forecache.tiers.breaker import Breaker
from forecache.tiers.disk import ADMISSIONS
from forecache.tiers.disk import POLICIES as DISK_POLICIES
from forecache.tiers.zmemory import ZMemory

BOUNDED = {check.__name__ for check in BOUNDED_CHECKS}


def dict_again(tier, now):
    return DictTier(tier.entries, now=now, shared=tier.shared)


CASES = {
    "dict": tier_cases(lambda now: DictTier(now=now), again=dict_again),
    "shared dict": tier_cases(lambda now: DictTier(now=now, shared=True), again=dict_again, shared=True),
    "breaker": tier_cases(
        lambda now: Breaker(DictTier(now=now), now=now, timeout=60),
        again=lambda tier, now: Breaker(dict_again(tier.tier, now), now=now),
    ),
    "zmemory": tier_cases(lambda now: ZMemory("100MB").make("space", now)),
    "small zmemory": [
        case
        for policy in POLICIES
        for case in tier_cases(lambda now, policy=policy: ZMemory("300KB", policy=policy, seed=1).make("", now), evicts=True)
        if case.check.__name__ in BOUNDED
    ],
    "zmemory by zstd": tier_cases(lambda now: ZMemory(compression="zstd", min_size=0, min_ratio=1).make("", now)),
    "faulty without faults": tier_cases(lambda now: FaultyTier(DictTier(now=now))),
}


def disk(capacity="64MB", **options):
    """What makes a disk tier in a directory of its own."""

    def make(now):
        where = tempfile.mkdtemp(dir=DIRECTORIES.name)
        return Disk(where, capacity, seed=1, strict=True, **options).make("space", now)

    return make


def disk_again(tier, now):
    return tier.tier.options.make("space", now)


DIRECTORIES = tempfile.TemporaryDirectory()
CASES |= {
    "disk": tier_cases(disk(), again=disk_again, shared=True),
    "small disk": [
        case
        for policy in DISK_POLICIES
        for admission in ADMISSIONS
        for case in tier_cases(disk("9MB", policy=policy, admission=admission), evicts=True)
        if case.check.__name__ in BOUNDED
    ],
    "disk of all": tier_cases(disk(admission="all", compression="zstd"), again=disk_again, shared=True),
}


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{name}: {case}") for name, cases in CASES.items() for case in cases])
def test_a_tier_keeps_its_promises(case):
    case()
