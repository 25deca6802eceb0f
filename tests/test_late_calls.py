"""What a tier does after it was given up: another process may have settled meanwhile, so it is owed once more."""

from contextlib import nullcontext as nothing

import pytest
from servers.process import wait_until

from forecache._core import Entry
from forecache.errors import TierUnavailable
from forecache.flow import run
from forecache.testing import DictTier, FaultyTier, Hang
from forecache.tiers.breaker import Breaker
from forecache.tiers.journal import Journal


@pytest.mark.parametrize("verb", ["set", "absent", "swap"])
def test_what_is_stored_late_is_deleted_though_another_process_has_settled_before(verb, tmp_path):
    entries = {}
    faulty = FaultyTier(DictTier(entries))
    ours, theirs = Breaker(faulty, timeout=0.05), Breaker(DictTier(entries))
    for tier in ours, theirs:
        tier.keep(Journal(tmp_path / "j", "tier"))
    over = []
    late, ours._watch.ended = ours._watch.ended, lambda: (late(), over.append(True))
    faulty.plan("swap" if verb == "swap" else "set_many", Hang())
    with pytest.raises(TierUnavailable) if verb == "swap" else nothing():
        run(
            ours.swap("a", None, Entry(b"late"))
            if verb == "swap"
            else ours.set_many({"a": Entry(b"late")}, absent=verb == "absent")
        )
    assert run(theirs.get_many(["a"])) == {}
    run(theirs.delete_many(["a"]))
    faulty.release()
    wait_until(lambda: over, "it isn't done")
    assert "a" in entries
    assert run(theirs.get_many(["a"])) == {}
    assert run(ours.get_many(["a"])) == {}
