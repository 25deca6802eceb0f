"""Sets of Redis that replace a master that was lost: three watched by Sentinels, and a Cluster of six."""

from __future__ import annotations

import subprocess
from typing import Any

from servers.process import PATIENCE, Server, free_port, give, program, wait_until
from servers.redis import Redis, ask


def start_all(servers: list[Any]) -> None:
    """Starts servers side by side."""
    for server in servers:
        server.spawn()
    for server in servers:
        server.ready()


class RedisSet:
    """What both have in common: nodes, a master that was killed, and a failover to wait for."""

    nodes: list[Redis]
    lost: Redis | None = None

    @property
    def master(self) -> Redis:
        """The master (of a Cluster: the first one)."""
        raise NotImplementedError

    def replaced(self) -> bool:
        """Whether all that live agree on who has taken the place of the master that was killed."""
        raise NotImplementedError

    def whole(self) -> bool:
        """Whether every node lives, is known, and every replica follows its master."""
        raise NotImplementedError

    def at(self, port: int) -> Redis:
        """The node with that port."""
        return next(node for node in self.nodes if node.port == port)

    def kill_master(self) -> Redis:
        """Kills the master with SIGKILL and returns it."""
        return self.kill(self.master)

    def kill(self, master: Redis) -> Redis:
        """Kills that one."""
        self.lost = master
        self.hurry(failover=True)
        master.kill()
        return master

    def hurry(self, *, failover: bool) -> None:
        """Has the set look for a lost master soon, or only after a time that a busy machine won't take to answer."""

    def wait_failover(self, timeout: float = PATIENCE) -> None:
        """Waits until the killed (or paused) master's place is taken."""
        wait_until(self.replaced, f"no failover of port {self.lost and self.lost.port}", timeout)

    def pass_on(self) -> None:
        """Waits until every replica has all that its master has. (WAIT says so of the caller's own writes only.)"""
        wait_until(self._passed_on, "the replicas lag behind")

    def _passed_on(self) -> bool:
        told = {node.port: node.info("replication") for node in self.nodes}
        return all(
            facts["role"] == "master" or facts["slave_repl_offset"] == told[int(facts["master_port"])]["master_repl_offset"]
            for facts in told.values()
        )

    def mend(self) -> None:
        """Brings back who is gone, and waits until the set is whole. Nothing to do costs nothing."""
        if self.lost is None and not any(node.paused or not node.alive for node in self.nodes):
            return
        for node in self.nodes:
            self.before_return(node)
            node.resume()
        start_all(self.nodes)
        wait_until(self.whole, f"{type(self).__name__} doesn't become whole", 2 * PATIENCE)
        self.hurry(failover=False)
        self.lost = None

    def before_return(self, node: Redis) -> None:
        """What a node must be told before it is started again."""


class Sentinel(Server):
    """A Sentinel with a file of its own, which it writes to."""

    def __init__(self, number: int, master: Redis) -> None:
        super().__init__(f"sentinel-{number}")
        file = self.folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor {SentinelSet.service} 127.0.0.1 {master.port} 2\n"
            f"sentinel down-after-milliseconds {SentinelSet.service} 1500\nsentinel failover-timeout {SentinelSet.service} 5000\n"
        )
        give(file)

    def command(self) -> list[str]:
        """Redis in its other role."""
        return [program("redis-server"), "sentinel.conf", "--sentinel"]

    def ask(self, *words: object) -> Any:
        """The reply to one command."""
        return ask(self.address, *words)

    def answers(self) -> bool:
        """Whether it listens."""
        return bool(self.ask("PING") == "PONG")


class SentinelSet(RedisSet):
    """A master, two replicas and three Sentinels. A failover takes about 2.8 s from the kill."""

    service = "forecache"

    def __init__(self) -> None:
        self.nodes = [Redis(f"redis-{number}") for number in range(3)]
        for replica in self.nodes[1:]:
            replica.options = ("--replicaof", f"127.0.0.1 {self.nodes[0].port}")
        self.sentinels = [Sentinel(number, self.nodes[0]) for number in range(3)]

    @property
    def url(self) -> str:
        """The Sentinels, and the service that they watch."""
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels) + f"/{self.service}/0"

    def start(self) -> None:
        """Starts all and waits until the Sentinels know one another and the replicas."""
        start_all(self.nodes)
        # A Sentinel asks a master for its replicas every 10 s only, so they had better be there at its first question.
        wait_until(lambda: len(self.nodes[0].ask("ROLE")[2]) == 2, "the replicas don't follow")
        start_all(self.sentinels)
        wait_until(self.whole, "the Sentinels don't find one another")

    def _port(self, sentinel: Sentinel) -> int:
        return int(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)[1])

    @property
    def master(self) -> Redis:
        """Whom the first Sentinel that answers names."""
        return self.at(self._port(next(one for one in self.sentinels if one.alive and not one.paused)))

    def replaced(self) -> bool:
        """Whether all Sentinels name another, and it knows."""
        ports = {self._port(one) for one in self.sentinels}
        return len(ports) == 1 and ports != {self.lost and self.lost.port} and self.master.ask("ROLE")[0] == "master"

    def whole(self) -> bool:
        """Whether three Sentinels see one sound master whose two replicas follow it."""
        for one in self.sentinels:
            words = one.ask("SENTINEL", "MASTER", self.service)
            facts = dict(zip(words[::2], words[1::2], strict=True))
            if (facts["flags"], facts["num-slaves"], facts["num-other-sentinels"]) != ("master", "2", "2"):
                return False
        replicas = [node.info("replication") for node in self.nodes if node is not self.master]
        return all(
            (facts.get("master_port"), facts.get("master_link_status")) == (str(self.master.port), "up") for facts in replicas
        )

    def before_return(self, node: Redis) -> None:
        """Who comes back follows the present master at once."""
        if not node.alive:
            node.options = () if node is self.master else ("--replicaof", f"127.0.0.1 {self.master.port}")


class Cluster(RedisSet):
    """Three masters with a replica each. The loss of a master takes about 2.5 s to mend."""

    SOON, LATE = 1000, 5000
    """Milliseconds after which a node that doesn't answer is lost."""

    def __init__(self) -> None:
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", self.LATE, "--cluster-port")
        self.nodes = [Redis(f"cluster-{number}", options=(*cluster, free_port())) for number in range(6)]

    @property
    def url(self) -> str:
        """All nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        """Starts all nodes and makes a Cluster of them."""
        start_all(self.nodes)
        places = [f"127.0.0.1:{node.port}" for node in self.nodes]
        made = subprocess.run(
            [program("redis-cli"), "--cluster", "create", *places, "--cluster-replicas", "1", "--cluster-yes"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            message = f"redis-cli made no Cluster: {made.stdout[-2000:]}{made.stderr}"
            raise RuntimeError(message)
        wait_until(self.whole, "the Cluster doesn't become whole")

    def hurry(self, *, failover: bool) -> None:
        """See `RedisSet`."""
        for node in self._running():
            node.ask("CONFIG", "SET", "cluster-node-timeout", self.SOON if failover else self.LATE)

    def _view(self, node: Redis) -> list[tuple[int, set[str], bool, int]]:
        """What a node thinks of each: its port, its flags, whether the link is up, how many slots it has."""
        view = []
        for line in node.ask("CLUSTER", "NODES").splitlines():
            _, place, flags, _, _, _, _, link, *slots = line.split()
            ends = [slot.partition("-") for slot in slots if not slot.startswith("[")]
            count = sum(int(last or first) - int(first) + 1 for first, _, last in ends)
            view.append(
                (int(place.partition("@")[0].rpartition(":")[2]), set(flags.split(",")) - {"myself"}, link == "connected", count)
            )
        return view

    def _running(self) -> list[Redis]:
        return [node for node in self.nodes if node.alive and not node.paused]

    @property
    def masters(self) -> list[Redis]:
        """Those that have slots."""
        return [self.at(port) for port, _, _, slots in self._view(self._running()[0]) if slots]

    @property
    def master(self) -> Redis:
        """One of them."""
        return self.masters[0]

    def master_of(self, key: str) -> Redis:
        """The one that has the key's slot."""
        node = self._running()[0]
        slot = node.ask("CLUSTER", "KEYSLOT", key)
        return next(self.at(place[1]) for first, last, place, *_ in node.ask("CLUSTER", "SLOTS") if first <= slot <= last)

    def replaced(self) -> bool:
        """Whether all that run have all slots with others."""
        return all(self._sound(node, all_nodes=False) for node in self._running())

    def whole(self) -> bool:
        """Whether all know all, and every replica follows."""
        return all(self._sound(node, all_nodes=True) for node in self.nodes) and all(
            node.info("replication").get("master_link_status", "up") == "up" for node in self.nodes
        )

    def _sound(self, node: Redis, *, all_nodes: bool) -> bool:
        masters = [one for one in self._view(node) if one[3] and "master" in one[1] and not one[1] & {"fail", "fail?"} and one[2]]
        covered = sum(slots for *_, slots in masters) == 16384 and not any(
            port == (self.lost and self.lost.port) for port, *_ in masters
        )
        if all_nodes:
            view = self._view(node)
            roles = sorted(role for _, flags, link, _ in view if link for role in flags)
            return (
                len(view) == 6 and roles == ["master"] * 3 + ["slave"] * 3 and "cluster_state:ok" in node.ask("CLUSTER", "INFO")
            )
        return covered and "cluster_state:ok" in node.ask("CLUSTER", "INFO")
