"""What the fleet workload is made of: its parameters, its chance, its images, and the recorder that keeps the requests."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

Access = tuple[int, str, int, str, "int | None", str, bool, int]

SECOND = 1000
"""Times are whole milliseconds, so that they are the same on every platform."""
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
PLATFORM = "platform"
"""The owner of what belongs to no tenant."""


@dataclass(frozen=True)
class Parameters:
    """How large the fleet is and what it does. `docs/fleet.md` says where each number comes from.

    They are fixed: what is learned later is judged by this workload, so it must not be fitted to what was learned.
    """

    days: int = 4
    hosts: int = 24
    tenants: int = 60
    long_lived: int = 200
    """VMs that run when the recording begins."""
    deployments_a_day: int = 35
    short_lived: float = 0.92
    """The share of new VMs that live less than a day."""
    desktops: int = 25
    """VMs of one tenant and image that are switched on each morning."""
    rollouts_a_day: int = 2
    """How often a tenant replaces a group of its VMs at once."""
    sessions_a_day: int = 1000
    """How often somebody looks at a tenant's VMs."""
    poll: int = 300 * SECOND
    """How often a monitor reads the status of each VM, host by host."""
    changes_a_day: float = 2.0
    """How often the status of a VM changes by itself."""
    rebuild: float = 0.25
    """The chance that an image gets a new version in a night."""
    rewritten: float = 0.1
    """The share of a boot's runs of blocks that a new version reads elsewhere."""
    varied: float = 0.03
    """The chance that a boot leaves a block out, takes it later, or reads one more."""
    hosts_maintained_a_night: int = 6
    moved_by_load: float = 0.03
    """The share of VMs that move in a day because their host is busy."""
    backed_up: float = 0.8
    """The share of long-lived VMs with a nightly backup."""
    backup_blocks: int = 60
    """How many changed blocks a backup reads, on average."""


TTL = {
    "status": 900 * SECOND,
    "load": 600 * SECOND,
    "quota": 300 * SECOND,
    "network": HOUR,
    "metadata": HOUR,
    "volumes": HOUR,
    "ports": HOUR,
    "manifest": 6 * HOUR,
    "policy": 6 * HOUR,
    "flavor": 24 * HOUR,
    "memory": HOUR,
}
"""How long a record of each class may be served; what isn't named never changes under its key."""
RECORD = {"status": 400, "load": 600, "quota": 300, "network": 1500, "metadata": 2500, "volumes": 1200, "ports": 3000}
RECORD |= {"manifest": 1800, "policy": 2200, "flavor": 500}
"""Typical bytes of a record."""
BLOCK = {"image": 512 * 1024, "disk": 4 * 2**20, "memory": 16 * 2**20}
"""Bytes of a block of an image, of a disk in a backup, and of memory that moves."""

SYSTEMS = {"ubuntu-24.04": 85, "ubuntu-22.04": 85, "debian-12": 50, "rocky-9": 85, "windows-2022": 196, "alpine-3": 25}
"""Images, and the megabytes that their boots read."""
ROLES = ("base", "web", "database", "worker", "build", "queue", "cache", "desktop")
IMAGE_BLOCKS = 4096
"""Blocks of a whole image: 2 GiB."""
DISK_BLOCKS = 8192
"""Blocks of a disk: 32 GiB."""
RUN = 6
"""How many neighbouring blocks are read or changed together, on average."""
MEMORIES = {768: 30, 1792: 40, 3584: 22, 7168: 8}
"""Megabytes of memory, and how many VMs of a hundred have them."""
LIFETIMES = (2, 10, 25, 60, 180, 480, 1440)
"""Minutes: a sixth of the VMs that live less than a day end between each two."""
RHYTHM = (3, 2, 2, 2, 2, 3, 5, 9, 14, 16, 16, 15, 13, 14, 16, 15, 13, 10, 8, 7, 6, 5, 4, 3)
"""How busy people are in each hour of the day."""


class Chance:
    """Draws from nothing but `random.random`, whose sequence for a seed is the same in every version of Python."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed).random

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        return int(self.draw() * limit)

    def between(self, low: float, high: float) -> float:
        """A number from `low` to below `high`."""
        return low + (high - low) * self.draw()

    def happens(self, chance: float) -> bool:
        """True so often."""
        return self.draw() < chance

    def wait(self, mean: float) -> int:
        """Milliseconds to the next of events that come independently."""
        return 1 + int(-mean * math.log(1 - self.draw()))

    def by_weight(self, weights: Sequence[float]) -> int:
        """A place in `weights`, which needn't add up to anything."""
        sums = list(accumulate(weights))
        return min(bisect_right(sums, self.draw() * sums[-1]), len(sums) - 1)

    def some(self, mean: int) -> int:
        """A count of at least 1 with a long tail: most are small, a few some times the mean."""
        return max(1, self.wait(mean))

    def runs(self, blocks: int, mean: int, limit: int) -> list[tuple[int, int]]:
        """Runs of neighbouring blocks below `limit`, each a start and a length, that are so many blocks together."""
        runs = []
        while blocks > 0:
            length = min(blocks, self.some(mean))
            runs.append((self.below(limit - length), length))
            blocks -= length
        return runs

    def clock(self) -> int:
        """A time of day at which people are about."""
        return self.by_weight(RHYTHM) * HOUR + self.below(HOUR)


class Ranking:
    """A popularity by Zipf's law, in which places change hands over the days."""

    def __init__(self, members: int, chance: Chance) -> None:
        self.order = list(range(members))
        for last in range(members - 1, 0, -1):
            other = chance.below(last + 1)
            self.order[last], self.order[other] = self.order[other], self.order[last]
        self.weights = [1 / rank for rank in range(1, members + 1)]

    def pick(self, chance: Chance) -> int:
        """A member, the first far more often than the last."""
        return self.order[chance.by_weight(self.weights)]

    def drift(self, chance: Chance) -> None:
        """Moves one of the less popular to a place of its own choice."""
        self.order.insert(chance.below(len(self.order)), self.order.pop(chance.below(len(self.order))))


@dataclass
class Image:
    """A template: what its boots read, in runs of neighbouring blocks, in the order of the boot."""

    name: str
    runs: list[tuple[int, int]]
    version: int = 1

    @classmethod
    def made(cls, name: str, megabytes: int, chance: Chance) -> Image:
        """An image whose boots read so much of it."""
        return cls(name, chance.runs(megabytes * 1_000_000 // BLOCK["image"], RUN, IMAGE_BLOCKS))

    def rebuild(self, chance: Chance, rewritten: float) -> None:
        """The next version: other keys for all blocks, and some of its runs elsewhere."""
        self.version += 1
        for place, (_, length) in enumerate(self.runs):
            if chance.happens(rewritten):
                self.runs[place] = (chance.below(IMAGE_BLOCKS - length), length)

    def boot(self, chance: Chance, varied: float) -> list[int]:
        """The blocks that one boot reads: nearly those of every other boot, nearly in their order."""
        blocks: list[int] = []
        late: list[int] = []
        for start, length in self.runs:
            for block in range(start, start + length):
                if chance.happens(varied):
                    change = chance.below(3)
                    if change == 0:
                        continue
                    if change == 1:
                        late.append(block)
                        continue
                    blocks.append(chance.below(IMAGE_BLOCKS))
                blocks.append(block)
                if late and chance.happens(0.2):
                    blocks.append(late.pop())
        return blocks + late


@dataclass
class Machine:
    """A VM."""

    number: int
    tenant: int
    image: Image
    host: int
    long_lived: bool
    flavor: int
    release: str = field(init=False)
    backed_up: bool = False
    disk: list[tuple[int, int]] = field(default_factory=list)
    """The runs of blocks on its disk that change every day."""

    def __post_init__(self) -> None:
        self.release = f"{self.image.name}-v{self.image.version}"


class Recorder:
    """Keeps requests as they are made, in whatever order, and gives them by time."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.rows: list[tuple[int, int, str, int, str, int | None, str]] = []

    def record(self, time: int, key: str, kind: str, owner: str, operation: str = "get") -> None:
        """A request for a record. Its size is its own, and the same at every request."""
        size = RECORD[kind] * (70 + sum(key.encode()) * 7919 % 60) // 100
        self.add(time, key, size, operation, kind, owner)

    def block(self, time: int, key: str, kind: str, owner: str) -> None:
        """A read of a block."""
        self.add(time, key, BLOCK[kind], "get", kind, owner)

    def add(self, time: int, key: str, size: int, operation: str, kind: str, owner: str) -> None:
        """Any request; those after the end are forgotten."""
        if time < self.end:
            ttl = None if operation == "delete" else TTL.get(kind)
            self.rows.append((time, len(self.rows), key, size, operation, ttl, owner))

    def accesses(self) -> list[Access]:
        """All requests by time, as `forecache._core.write_trace` takes them."""
        self.rows.sort()
        return [
            (time * 1_000_000, key, 0 if operation == "delete" else size, operation, ttl and ttl * 1_000_000, owner, False, 1)
            for time, _, key, size, operation, ttl, owner in self.rows
        ]
