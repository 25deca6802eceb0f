"""The servers and the proxy that other tests stand on do what they say."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers.process import wait_until
from servers.proxy import Proxy, Unconditional
from servers.redis import Refused, ask

TESTS = Path(__file__).parent


def test_redis_keeps_its_data_when_it_is_killed_and_when_it_is_restarted(redis_server):
    redis_server.ask("SET", "kept", "1")
    redis_server.kill()
    with pytest.raises(ConnectionRefusedError):
        redis_server.ask("PING")
    redis_server.start()
    assert redis_server.ask("GET", "kept") == "1"
    redis_server.restart()
    assert redis_server.ask("GET", "kept") == "1"
    assert ask(str(redis_server.socket), "DEL", "kept") == 1


def test_a_paused_redis_accepts_connections_and_answers_when_it_is_resumed(redis_server):
    redis_server.pause()
    with socket.create_connection(redis_server.address, 0.05) as line:
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            line.recv(1)
        redis_server.resume()
        line.settimeout(5)
        assert line.recv(7) == b"+PONG\r\n"


def test_a_redis_whose_disk_is_full_reads_and_refuses_writes(redis_server):
    redis_server.ask("SET", "full", "before")
    redis_server.fill_disk()
    with pytest.raises(Refused, match="MISCONF"):
        redis_server.ask("SET", "full", "after")
    assert redis_server.ask("GET", "full") == "before"
    redis_server.free_disk()
    assert redis_server.ask("DEL", "full") == 1


def test_redis_behind_tls_asks_for_a_certificate_and_a_user(redis_tls):
    assert redis_tls.ask("ACL", "WHOAMI") == "forecache"
    with pytest.raises(Refused, match="NOAUTH"):
        ask(redis_tls.address, "PING", secure=redis_tls.certificates.context())
    with pytest.raises(OSError, match=r"reset|ended"):
        ask(redis_tls.address, "PING")


def test_sentinels_give_a_lost_master_s_place_to_a_replica(redis_sentinel):
    redis_sentinel.master.ask("SET", "kept", "1")
    redis_sentinel.pass_on()
    lost = redis_sentinel.kill_master()
    redis_sentinel.wait_failover(timeout=15)
    assert redis_sentinel.master is not lost
    assert redis_sentinel.master.ask("GET", "kept") == "1"


def test_a_cluster_gives_a_lost_master_s_slots_to_its_replica(redis_cluster):
    owner = redis_cluster.master_of("kept")
    owner.ask("SET", "kept", "1")
    redis_cluster.pass_on()
    lost = redis_cluster.kill_master()
    redis_cluster.wait_failover(timeout=15)
    assert lost not in redis_cluster.masters
    assert len(redis_cluster.masters) == 3
    redis_cluster.mend()
    assert redis_cluster.master_of("kept").ask("GET", "kept") == "1"


def test_three_memcached_answer_on_ports_of_their_own(memcached_servers):
    assert len({server.port for server in memcached_servers if server.ask("version").startswith("VERSION 1")}) == 3


def test_the_object_store_puts_once_where_it_is_asked_to(s3_server):
    once = {"If-None-Match": "*"}
    assert [s3_server.put(f"once-{time.time_ns()}", b"1", once), s3_server.put("ready", b"1", once)] == [200, 412]


def test_an_object_store_without_conditions_refuses_them_and_nothing_else(s3_server, proxy_to):
    port = proxy_to(s3_server.address, Unconditional).port
    assert s3_server.put("plain", bytes(100_000), port=port) == 200
    assert s3_server.put("plain", bytes(100_000), {"If-None-Match": "*"}, port) == 501
    assert s3_server.put("plain", b"", {"If-Match": '"1"'}, port) == 501


def echo(proxy: Proxy, data: bytes = b"hello", timeout: float = 5) -> bytes:
    """What comes back for `ECHO data` on a connection of its own."""
    with socket.create_connection(proxy.address, timeout) as line, line.makefile("rwb") as file:
        file.write(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n" % (len(data), data))
        file.flush()
        length = len(b"$%d\r\n%s\r\n" % (len(data), data))
        return file.read(length)


@pytest.fixture
def proxy(redis_server, proxy_to):
    return proxy_to(redis_server.address)


def test_a_proxy_hands_on_what_it_gets(proxy):
    assert echo(proxy) == b"$5\r\nhello\r\n"
    big = bytes(1_000_000)
    assert echo(proxy, big) == b"$1000000\r\n" + big + b"\r\n"


def test_a_delayed_proxy_answers_late(proxy):
    proxy.delay(0.2)
    start = time.monotonic()
    assert echo(proxy) == b"$5\r\nhello\r\n"
    assert time.monotonic() - start >= 0.2
    with pytest.raises(TimeoutError):
        echo(proxy, timeout=0.05)


def test_a_cut_proxy_resets_and_refuses_until_it_is_healed(proxy):
    with socket.create_connection(proxy.address, 5) as line:
        wait_until(lambda: proxy.accepted, "no connection")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    with pytest.raises(ConnectionRefusedError):
        echo(proxy)
    proxy.heal()
    assert echo(proxy) == b"$5\r\nhello\r\n"


def test_a_half_open_proxy_swallows_until_it_is_healed_and_then_resets(proxy):
    with socket.create_connection(proxy.address, 5) as line:
        line.sendall(b"PING\r\n")
        assert line.recv(7) == b"+PONG\r\n"
        proxy.half_open()
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            echo(proxy, timeout=0.05)
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            line.recv(1)
    assert echo(proxy) == b"$5\r\nhello\r\n"


def test_a_proxy_garbles_replies(proxy):
    proxy.garbage()
    assert echo(proxy, bytes(100)) != b"$100\r\n" + bytes(100) + b"\r\n"


def test_a_trickling_proxy_sends_a_byte_at_a_time(proxy):
    proxy.trickle(0.005)
    with socket.create_connection(proxy.address, 5) as line:
        line.sendall(b"PING\r\n")
        assert [len(line.recv(100)) for _ in range(7)] == [1] * 7


def test_servers_end_with_the_process_that_started_them():
    script = "from servers.redis import Redis; r = Redis(); r.start(); print(r.port, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], cwd=TESTS, stdin=-1, stdout=-1, text=True) as holder:
        port = int(holder.stdout.readline())
        assert ask(("127.0.0.1", port), "PING") == "PONG"
        holder.kill()

        def gone() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) != 0

        wait_until(gone, "the server outlives its tests")
