#!/usr/bin/env python3
"""A synthetic workload: what the control plane and the image store of a fleet of VMs ask a cache for, as a trace.

`python benchmarks/fleet.py fleet.fctrace --seed 7`; docs/fleet.md says what is modelled and after which sources. It stands beside
real traces in benchmarks and is never counted among them. Algorithm and default parameters were fixed before any policy that
learns existed; a test holds a checksum of what they give.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleet_parts import (
    DAY,
    DISK_BLOCKS,
    HOUR,
    LIFETIMES,
    MEMORIES,
    MINUTE,
    PLATFORM,
    ROLES,
    RUN,
    SECOND,
    SYSTEMS,
    Access,
    Chance,
    Image,
    Machine,
    Parameters,
    Ranking,
    Recorder,
)

RECORDS = ("metadata", "network", "volumes", "status")
MARK = "SYNTHETIC"
"""What the description of a trace begins with that was made up."""


class Fleet:
    """A simulation by events: each is a time and what happens then, and may make others."""

    def __init__(self, seed: int, parameters: Parameters) -> None:
        self.parameters, self.chance = parameters, Chance(seed)
        self.recorder = Recorder(parameters.days * DAY)
        self.images = [
            Image.made(f"{system}-{role}", megabytes * (2 if role != "base" else 1), self.chance)
            for system, megabytes in SYSTEMS.items()
            for role in ROLES
        ]
        self.popular_images = Ranking(len(self.images), self.chance)
        self.popular_tenants = Ranking(parameters.tenants, self.chance)
        self.usual = [[self.popular_images.pick(self.chance) for _ in range(3)] for _ in range(parameters.tenants)]
        self.machines: dict[int, Machine] = {}
        self.by_host: list[dict[int, Machine]] = [{} for _ in range(parameters.hosts)]
        self.by_tenant: list[dict[int, Machine]] = [{} for _ in range(parameters.tenants)]
        self.numbers = 1000
        self.agenda: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self.planned = 0

    def at(self, time: int, what: Callable[..., object], *about: Any) -> None:
        """Puts an event on the agenda: then `what(time, *about)` is called."""
        if time < self.recorder.end:
            self.planned += 1
            heapq.heappush(self.agenda, (time, self.planned, what, about))

    def run(self) -> list[Access]:
        """All requests, by time."""
        for _ in range(self.parameters.long_lived):
            tenant = self.popular_tenants.pick(self.chance)
            self.place(tenant, True, self.image_for(tenant))
        image = self.images[self.usual[0][0]]
        self.desktops = [self.place(0, True, image) for _ in range(self.parameters.desktops)]
        for host in range(self.parameters.hosts):
            self.at(self.chance.below(self.parameters.poll), self.sweep, host)
        for day in range(self.parameters.days):
            self.plan(day)
        while self.agenda:
            time, _, what, about = heapq.heappop(self.agenda)
            what(time, *about)
        return self.recorder.accesses()

    def plan(self, day: int) -> None:
        """Puts a day's beginnings on the agenda. The recording begins at midnight."""
        parameters, chance, midnight = self.parameters, self.chance, day * DAY
        for count, what in (
            (parameters.deployments_a_day, self.deploy),
            (parameters.rollouts_a_day, self.roll_out),
            (parameters.sessions_a_day, self.look),
            (int(parameters.moved_by_load * parameters.long_lived), self.balance),
            (int(parameters.changes_a_day * parameters.long_lived), self.change),
        ):
            for _ in range(count):
                self.at(midnight + chance.clock(), what)
        self.at(midnight + HOUR, self.audit)
        self.at(midnight + 2 * HOUR, self.back_up)
        self.at(midnight + 4 * HOUR, self.rebuild)
        self.at(midnight + 8 * HOUR, self.morning)
        for number in range(parameters.hosts_maintained_a_night):
            host = (day * parameters.hosts_maintained_a_night + number) % parameters.hosts
            self.at(midnight + 22 * HOUR + number * 15 * MINUTE, self.maintain, host)

    # Records.

    def record(self, time: int, machine: Machine, kind: str, operation: str = "get") -> None:
        """One of the records of a VM."""
        self.recorder.record(time, f"vm:{machine.number}:{kind}", kind, f"tenant-{machine.tenant}", operation)

    def of_tenant(self, time: int, tenant: int, kind: str, operation: str = "get") -> None:
        """One of the records of a tenant."""
        key = f"network:{tenant}:ports" if kind == "ports" else f"tenant:{tenant}:{kind}"
        self.recorder.record(time, key, kind, f"tenant-{tenant}", operation)

    def of_platform(self, time: int, key: str, kind: str, operation: str = "get") -> None:
        """A record that belongs to no tenant."""
        self.recorder.record(time, key, kind, PLATFORM, operation)

    # VMs come and go.

    def image_for(self, tenant: int) -> Image:
        """One of the three images that a tenant uses."""
        return self.images[self.usual[tenant][self.chance.by_weight((6, 3, 2))]]

    def place(self, tenant: int, long_lived: bool, image: Image) -> Machine:
        """A new VM on the emptier of two hosts."""
        chance = self.chance
        first, second = chance.below(len(self.by_host)), chance.below(len(self.by_host))
        host = first if len(self.by_host[first]) <= len(self.by_host[second]) else second
        self.numbers += 1
        machine = Machine(self.numbers, tenant, image, host, long_lived, chance.by_weight(tuple(MEMORIES.values())))
        machine.backed_up = long_lived and chance.happens(self.parameters.backed_up)
        for owned in (self.machines, self.by_host[host], self.by_tenant[tenant]):
            owned[machine.number] = machine
        return machine

    def create(self, time: int, tenant: int, long_lived: bool, image: Image) -> None:
        """A request for a VM: the scheduler's questions, the new VM's records, its boot, and its end if that is near."""
        machine, chance = self.place(tenant, long_lived, image), self.chance
        for kind in ("policy", "quota"):
            self.of_tenant(time, tenant, kind)
        self.of_platform(time + 2, f"flavor:{machine.flavor}", "flavor")
        for step in range(5):
            self.of_platform(time + 4 + step, f"host:{chance.below(len(self.by_host))}:load", "load")
        self.of_platform(time + 10, f"host:{machine.host}:load", "load", "set")
        for step, kind in enumerate(RECORDS):
            self.record(time + 20 + 5 * step, machine, kind, "set")
        self.of_tenant(time + 50, tenant, "quota", "set")
        self.of_tenant(time + 60, tenant, "ports", "set")
        self.boot(time + 800 + chance.below(SECOND), machine)
        if not long_lived:
            step = chance.below(len(LIFETIMES) - 1)
            life = chance.between(LIFETIMES[step], LIFETIMES[step + 1]) * MINUTE
            self.at(time + int(life), self.destroy, machine)

    def boot(self, time: int, machine: Machine) -> None:
        """The blocks of its image, then what a starting guest asks for."""
        self.of_platform(time, f"image:{machine.release}:manifest", "manifest")
        for block in machine.image.boot(self.chance, self.parameters.varied):
            time += self.chance.wait(60)
            self.recorder.block(time, f"image:{machine.release}:block:{block:05}", "image", PLATFORM)
        for kind in ("metadata", "network", "volumes"):
            time += self.chance.wait(200)
            self.record(time, machine, kind)
        self.record(time + 500, machine, "status", "set")

    def destroy(self, time: int, machine: Machine) -> None:
        """Its records go."""
        if self.machines.pop(machine.number, None) is None:
            return
        del self.by_host[machine.host][machine.number], self.by_tenant[machine.tenant][machine.number]
        self.record(time, machine, "metadata")
        for step, kind in enumerate(RECORDS):
            self.record(time + 10 + step, machine, kind, "delete")
        self.of_tenant(time + 20, machine.tenant, "quota", "set")
        self.of_tenant(time + 30, machine.tenant, "ports", "set")
        self.of_platform(time + 40, f"host:{machine.host}:load", "load", "set")

    def deploy(self, time: int) -> None:
        """A tenant asks for some VMs of one image: four times in ten for one, in four of five for at most five."""
        tenant, chance = self.popular_tenants.pick(self.chance), self.chance
        kind = chance.by_weight((4, 4, 2))
        count = (1, 2 + chance.below(4), 6 + min(chance.wait(5), 34))[kind]
        image = self.image_for(tenant)
        for _ in range(count):
            self.at(time, self.create, tenant, not chance.happens(self.parameters.short_lived), image)
            time += chance.wait(900)

    def roll_out(self, time: int) -> None:
        """A tenant replaces up to 20 of its VMs of an image by the image's newest version."""
        owned = list(self.by_tenant[self.popular_tenants.pick(self.chance)].values())
        if not owned:
            return
        image = owned[self.chance.below(len(owned))].image
        for old in [machine for machine in owned if machine.image is image][:20]:
            self.at(time, self.create, old.tenant, old.long_lived, image)
            self.at(time + MINUTE, self.destroy, old)
            time += 20 * SECOND + self.chance.wait(5 * SECOND)

    def morning(self, time: int) -> None:
        """The desktops start within half an hour."""
        for desktop in self.desktops:
            if desktop.number in self.machines:
                self.at(time + self.chance.below(30 * MINUTE), self.boot, desktop)

    def rebuild(self, time: int) -> None:
        """Some images get a new version, and interests move on."""
        for image in self.images:
            if self.chance.happens(self.parameters.rebuild):
                image.rebuild(self.chance, self.parameters.rewritten)
                self.of_platform(time, f"image:{image.name}-v{image.version}:manifest", "manifest", "set")
                time += self.chance.wait(MINUTE)
        for desktop in self.desktops:
            desktop.release = f"{desktop.image.name}-v{desktop.image.version}"
        self.popular_images.drift(self.chance)
        for _ in range(3):
            self.popular_tenants.drift(self.chance)
        tenant = self.chance.below(len(self.usual))
        self.usual[tenant][self.chance.below(3)] = self.popular_images.pick(self.chance)

    # What runs beside.

    def sweep(self, time: int, host: int) -> None:
        """A monitor reads the status of all VMs of a host, and the host's load; an alert rule reads some again."""
        now = time
        for machine in self.by_host[host].values():
            now += 1 + self.chance.below(20)
            self.record(now, machine, "status")
            if self.chance.happens(0.1):
                self.record(now + 2 * SECOND, machine, "metadata")
        self.of_platform(now + 5, f"host:{host}:load", "load", "set")
        late = self.chance.below(4 * SECOND)
        self.at(time + self.parameters.poll - 2 * SECOND + late, self.sweep, host)

    def look(self, time: int) -> None:
        """Somebody lists a tenant's VMs, a page of 20, and opens one or two."""
        tenant, chance = self.popular_tenants.pick(self.chance), self.chance
        for kind in ("policy", "quota", "ports"):
            time += chance.wait(50)
            self.of_tenant(time, tenant, kind)
        shown = list(self.by_tenant[tenant].values())[-20:]
        for machine in shown:
            time += 1 + chance.below(10)
            self.record(time, machine, "metadata")
            self.record(time + 1, machine, "status")
        for _ in range(min(len(shown), 1 + chance.below(2))):
            time += chance.wait(15 * SECOND)
            opened = shown[chance.below(len(shown))]
            for kind in ("status", "network", "volumes"):
                self.record(time, opened, kind)
            self.of_platform(time, f"flavor:{opened.flavor}", "flavor")
            self.of_platform(time + 1, f"image:{opened.release}:manifest", "manifest")

    def change(self, time: int) -> None:
        """The status of a VM changes, which is written through."""
        if self.machines:
            machines = list(self.machines.values())
            self.record(time, machines[self.chance.below(len(machines))], "status", "set")

    def migrate(self, time: int, machine: Machine) -> int:
        """Moves a VM: its memory in order, then what was written meanwhile, in two rounds; gives the time when it is done."""
        chance, owner = self.chance, f"tenant-{machine.tenant}"
        for kind in RECORDS:
            self.record(time, machine, kind)
        chunks = list(range(tuple(MEMORIES)[machine.flavor] // 16))
        for _ in range(3):
            for chunk in chunks:
                time += 8 + chance.below(10)
                self.recorder.block(time, f"vm:{machine.number}:memory:{chunk:05}", "memory", owner)
            chunks = [chunk for chunk in chunks if chance.happens(0.15)]
        del self.by_host[machine.host][machine.number]
        self.of_platform(time + 10, f"host:{machine.host}:load", "load", "set")
        machine.host = (machine.host + 1 + chance.below(len(self.by_host) - 1)) % len(self.by_host)
        self.by_host[machine.host][machine.number] = machine
        self.of_platform(time + 20, f"host:{machine.host}:load", "load", "set")
        for kind in ("metadata", "network", "status"):
            self.record(time + 30, machine, kind, "set")
        return time + 100

    def maintain(self, time: int, host: int) -> None:
        """All VMs leave a host, one after the other."""
        for machine in list(self.by_host[host].values()):
            time = self.migrate(time, machine)

    def balance(self, time: int) -> None:
        """The scheduler looks at all hosts and takes a VM from the fullest."""
        for host in range(len(self.by_host)):
            self.of_platform(time + host, f"host:{host}:load", "load")
        fullest = max(self.by_host, key=len)
        if fullest:
            machines = list(fullest.values())
            self.migrate(time + 100, machines[self.chance.below(len(machines))])

    def audit(self, time: int) -> None:
        """Accounting reads the records of every tenant and VM, once a night."""
        for tenant, owned in enumerate(self.by_tenant):
            self.of_tenant(time, tenant, "quota")
            for machine in owned.values():
                time += 20
                for kind in ("metadata", "volumes"):
                    self.record(time, machine, kind)

    def back_up(self, time: int) -> None:
        """The changed blocks of every long-lived disk, two VMs at a time; half of them change every day."""
        chance, blocks = self.chance, self.parameters.backup_blocks
        lanes = [time, time]
        for machine in self.machines.values():
            if not machine.backed_up:
                continue
            machine.disk = machine.disk or chance.runs(chance.some(blocks // 2), RUN, DISK_BLOCKS)
            today = machine.disk + chance.runs(chance.some(blocks // 2), RUN, DISK_BLOCKS)
            changed = {block for start, length in today for block in range(start, start + length)}
            lane = lanes.index(min(lanes))
            self.record(lanes[lane], machine, "volumes")
            for block in sorted(changed):
                lanes[lane] += 20 + chance.below(40)
                key = f"vm:{machine.number}:disk:{block:05}"
                self.recorder.block(lanes[lane], key, "disk", f"tenant-{machine.tenant}")


def accesses(seed: int, parameters: Parameters | None = None) -> list[Access]:
    """The requests of one fleet, by time."""
    return Fleet(seed, parameters or Parameters()).run()


def write(path: Path, seed: int, parameters: Parameters | None = None) -> int:
    """Writes the trace, and says how many rows it has."""
    from forecache import _core

    parameters = parameters or Parameters()
    rows = accesses(seed, parameters)
    description = f"{MARK}: VM fleet workload 1, seed {seed}, {parameters.days} days; made by benchmarks/fleet.py"
    _core.write_trace(path, rows, texts=True, description=description)
    return len(rows)


def main() -> None:
    """Writes one trace."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, metavar="OUT.fctrace", help="the trace to write")
    parser.add_argument("--seed", type=int, required=True, help="any whole number; the same gives the same trace")
    parser.add_argument("--days", type=int, default=Parameters.days, help="days to simulate (default %(default)s)")
    options = parser.parse_args()
    rows = write(options.out, options.seed, Parameters(days=options.days))
    print(f"{options.out}: {rows:,} requests of a synthetic fleet, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
