"""The Redis tier: what every tier promises, on each kind of server in both colours, and what is Redis's own."""

import itertools
import os
from dataclasses import replace

import pytest

from forecache import Redis
from forecache.testing import tier_cases
from forecache.tiers.redis import RedisTier

names = (f"space {os.getpid()}:{number} {{}}%" for number in itertools.count())
"""Namespaces that nobody used before."""


@pytest.fixture
def single(redis_server):
    return redis_server.url, {}


@pytest.fixture
def socket(redis_server):
    return redis_server.unix_url, {}


@pytest.fixture
def tls(redis_tls):
    return redis_tls.url, redis_tls.files


@pytest.fixture
def sentinel(redis_sentinel):
    return redis_sentinel.url, {}


@pytest.fixture
def cluster(redis_cluster):
    return redis_cluster.url, {}


def again(tier, now):
    return RedisTier(tier.options, tier._records.namespace, now)


CASES = tier_cases(lambda now: None, again=again, shared=True)
BOUNDED = tier_cases(lambda now: None, again=again, shared=True, evicts=True)[len(CASES) :]


def check(case, place, capacity=None):
    url, options = place
    replace(case, make=lambda now: RedisTier(Redis(url, capacity, timeout=5, **options), next(names), now))()


@pytest.mark.parametrize("case", CASES + BOUNDED, ids=str)
def test_a_server_alone_keeps_what_tiers_promise(case, single):
    check(case, single, "2MB")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_without_a_budget_keeps_what_tiers_promise(case, single):
    check(case, single)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_behind_a_socket_keeps_what_tiers_promise(case, socket):
    check(case, socket)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_with_certificates_and_users_keeps_what_tiers_promise(case, tls):
    check(case, tls)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_master_that_sentinels_watch_keeps_what_tiers_promise(case, sentinel):
    check(case, sentinel)


@pytest.mark.parametrize("case", CASES + BOUNDED, ids=str)
def test_a_cluster_keeps_what_tiers_promise(case, cluster):
    check(case, cluster, "128MB")
