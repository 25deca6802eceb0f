"""The examples run, as users start them, and tell what happened."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers.redis import Redis

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, *arguments: str) -> tuple[str, dict[str, dict[str, float]]]:
    """What an example prints, and its table: row -> place -> share of the reads in percent."""
    done = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    head, *lines = next(block for block in done.stdout.split("\n\n") if re.search(r"^ +reads", block, re.MULTILINE)).splitlines()
    columns = [(word.group(), word.end()) for word in re.finditer(r"\S+", head)]
    rows = {}
    for line in lines:
        ends = {match.end(): match.group() for match in re.finditer(r"[\d.,]+%?", line)}
        cells = {place: float(ends[end].rstrip("%").replace(",", "")) for place, end in columns if end in ends}
        rows[line[: columns[0][1]].rsplit(maxsplit=1)[0].strip()] = cells
    return done.stdout, rows


def test_one_process_starts_warm_after_a_restart() -> None:
    _, rows = run("one_process.py")
    assert rows["cold"]["reads"] == rows["after a restart"]["reads"] == 20_000
    assert rows["after a restart"]["loaded"] < rows["cold"]["loaded"] / 2


@pytest.mark.parametrize("own", [True, False], ids=["its own Redis", "a Redis that is there"])
def test_web_workers_share_disk_and_redis(redis_server: Redis, own: bool) -> None:
    told, rows = run("web_workers.py", *(() if own else ("--redis", redis_server.url)))
    for host in ("host A", "host B"):
        assert min(rows[host].values()) > 0
        assert rows[host]["loaded"] < 50
    assert "after that: stopped." in told
    assert "Host B, whose workers' memory nobody told, said so after" in told


def test_regions_ask_each_other_in_their_order() -> None:
    told, rows = run("regions.py")
    for region in ("region 1", "region 2"):
        edge, regional, world = (rows[f"{region}: {name}"] for name in ("edge", "regional", "global"))
        assert edge["reads"] > regional["reads"] > world["reads"]
        assert min(edge["zmemory"], regional["redis"]) > 0
    assert rows["region 2: global"]["object"] > 50
    assert "was '/page/0, version 1' before and '/page/0, version 2' right after" in told
