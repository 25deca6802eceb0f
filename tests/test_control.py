"""A running process answers to its own user, and records for the command line."""

import contextlib
import errno
import gc
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from conftest import PATIENCE
from test_lifecycle import run_program
from test_recording import replayed, until

from forecache import Cache, Config, ConfigError, _core, control
from forecache.cli import record

LOAD = """
import random, sys, threading
from forecache import Cache
cache = Cache("1GB", max_entries=500, policy=sys.argv[1])
choose, stop = random.Random(1), threading.Event()
def work():
    for _ in range(20_000):
        key = f"user:{int(choose.paretovariate(0.7)) % 20_000}"
        if cache.get(key) is None: cache.set(key, 1)
work()
def ends(): sys.stdin.readline(); stop.set()
threading.Thread(target=ends, daemon=True).start()
print("ready", flush=True)
while not stop.is_set(): work()
"""


@pytest.fixture
def folder():
    """A directory with a short path: a socket's may have 93 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def where(folder):
    return folder / "s"


class Talk:
    """A connection to a socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.answers = self.socket.makefile("rb")

    def say(self, line):
        self.socket.sendall(line + b"\n")
        return json.loads(self.answers.readline())

    def ask(self, **request):
        return self.say(json.dumps(request).encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answers.close()
        self.socket.close()


def started(where, policy="lru", **options):
    command = [sys.executable, "-c", LOAD, policy]
    environment = {**os.environ, "FORECACHE_CONTROL": str(where), **options}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@contextlib.contextmanager
def under_load(where, policy="lru"):
    with started(where, policy) as process:
        yield process
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def trace_record(*arguments):
    command = [sys.executable, "-m", "forecache.cli", "trace", "record", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(program):
    out, error = program.communicate(timeout=PATIENCE)
    return out, error, program.returncode


@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_a_process_under_load_replays_to_the_hit_ratio_that_it_had(folder, where, policy):
    target = folder / "out.fctrace"
    with under_load(where, policy), Talk(where) as talk:
        out, error, code = ended(trace_record(where, target, "--seconds", "1"))
        assert (error, code) == ("", 0)
        [seen] = talk.ask(do="status")["caches"]
    recorded = seen["recording"]
    assert f"{recorded['accesses']:,} accesses" in out
    assert recorded["accesses"] > 1000
    hits, misses = replayed(target, policy, 500)
    assert hits + misses == recorded["accesses"]
    assert abs(hits - recorded["hits"]) / recorded["accesses"] <= 0.005


def test_ctrl_c_ends_the_recording_and_keeps_the_file(folder, where):
    target = folder / "out.fctrace"
    with under_load(where), Talk(where) as talk:
        program = trace_record(where, target, "--sample", "0.5", "--plain-keys", "--max-size", "1GB")
        until(lambda: (talk.ask(do="status")["caches"][0]["recording"] or {}).get("accesses"))
        program.send_signal(signal.SIGINT)
        out, error, code = ended(program)
    assert (error, code) == ("", 0)
    assert "% hits" in out
    trace = _core.Trace.open(target)
    assert (trace.hashed, trace.sampled) == (False, 500_000)


def test_a_command_that_is_killed_leaves_a_process_that_is_not_recorded_and_a_whole_trace(folder, where):
    target = folder / "out.fctrace"
    with under_load(where), Talk(where) as talk:
        program = trace_record(where, target)
        until(lambda: talk.ask(do="status")["caches"][0]["recording"])
        program.kill()
        ended(program)
        until(target.exists)
        assert not talk.ask(do="status")["caches"][0]["recording"]["active"]
    _core.Trace.open(target)


def test_a_process_that_ends_meanwhile_completes_its_recording(folder, where):
    target = folder / "out.fctrace"
    with under_load(where) as process, Talk(where) as talk:
        program = trace_record(where, target)
        until(lambda: talk.ask(do="status")["caches"][0]["recording"])
        process.stdin.close()
        out, error, code = ended(program)
    assert (error, code) == ("", 0)
    assert "the process has ended" in out
    _core.Trace.open(target)


def test_a_socket_that_is_not_there_is_told_with_how_to_make_it(folder, where):
    out, error, code = ended(trace_record(where, folder / "out.fctrace"))
    assert (out, code) == ("", 2)
    assert error == (
        f"forecache: socket: nobody answers at '{where}' (No such file or directory); "
        "start the program with FORECACHE_CONTROL=PATH, or its cache with Cache(control=PATH)\n"
    )


def test_what_the_process_refuses_is_told(folder, where):
    with Cache(control=where):
        out, error, code = ended(trace_record(where, folder / "out.fctrace", "--sample", "7"))
    assert (out, code) == ("", 2)
    assert error.startswith("forecache: sample: got 7.0; allowed: a share")


STRANGERS = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\xff\n",
    b"[" * 30_000 + b"\n",
    b"[]\n",
    b"{}\n",
    b'{"ok": true}\n',
    b'{"ok": false}\n',
    b'{"ok": true, "cache": 7}\n',
    b'{"ok": true, "cache": "x"}\n{"ok": true, "caches": 7}\n',
    b'{"ok": true, "cache": "x"}\n{"ok": true, "caches": [7]}\n',
    b'{"ok": true, "cache": "x"}\n{"ok": true, "caches": [{"name": "x", "recording": 7}]}\n',
    b'{"ok": true, "cache": "x"}\n{"ok": true, "caches": []}\n{"ok": true}\n',
    b"x" * 2_000_000,
]


@contextlib.contextmanager
def answering(where, answer):
    """Something else that listens there, and answers at once whatever is asked."""

    def run():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(ConnectionError):
            connection.sendall(answer)
            while connection.recv(9999):
                pass

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(where))
        listening.listen()
        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize("answer", STRANGERS, ids=range(len(STRANGERS)))
def test_what_is_no_control_socket_is_told_in_one_line(folder, where, answer):
    with answering(where, answer):
        out, error, code = ended(trace_record(where, folder / "out.fctrace"))
    assert (out, code) == ("", 2)
    assert error.startswith(f"forecache: socket: what answers at '{where}' is no control socket of forecache; start the program")
    assert error.count("\n") == 1


def test_what_never_answers_is_not_waited_for_for_ever(folder, where, monkeypatch):
    monkeypatch.setattr(record, "PATIENCE", 0.1)
    with answering(where, b""), pytest.raises(ConfigError, match="doesn't answer"):
        record.record(where, folder / "out.fctrace")


def test_ctrl_c_ends_the_command_though_the_process_is_stopped_which_completes_the_trace_when_it_goes_on(folder, where):
    target = folder / "out.fctrace"
    with under_load(where) as process, Talk(where) as talk:
        program = trace_record(where, target)
        until(lambda: (talk.ask(do="status")["caches"][0]["recording"] or {}).get("accesses"))
        process.send_signal(signal.SIGSTOP)
        program.send_signal(signal.SIGINT)
        out, error, code = ended(program)
        process.send_signal(signal.SIGCONT)
        assert (out, code) == ("", 2)
        assert "doesn't answer" in error
        assert error.count("\n") == 1
        until(target.exists)
    _core.Trace.open(target)


def test_nothing_listens_unless_asked(monkeypatch):
    monkeypatch.delenv("FORECACHE_CONTROL", raising=False)
    threads = threading.active_count()
    with Cache():
        assert threading.active_count() == threads


def test_the_socket_is_for_its_owner_and_goes_with_the_cache(where):
    cache = Cache(control=where)
    assert stat.S_ISSOCK(where.stat().st_mode)
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
    assert list(where.parent.iterdir()) == [where]
    with Talk(where) as talk:
        cache.close()
        assert not where.exists()
        assert talk.answers.readline() == b""


def test_the_socket_goes_with_a_cache_that_nobody_has_any_more(where):
    cache = Cache(control=where)
    assert where.exists()
    del cache
    gc.collect()
    until(lambda: not where.exists())


def test_the_socket_goes_with_the_process(where):
    done = run_program(
        f"from forecache import Cache\ncache = Cache(control={str(where)!r})\nimport os; print(os.path.exists({str(where)!r}))"
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)
    assert not where.exists()


def test_options_of_all_sources_name_it(where):
    assert Config(control=where).control == str(where)
    assert Config.from_url(f"memory://?control={where}").control == str(where)
    assert Config.from_env({"FORECACHE_CONTROL": str(where)}).control == str(where)
    for wrong in ("", 7, b"x", "a\0b"):
        with pytest.raises(ConfigError, match=r"^control: got"):
            Config(control=wrong)


def test_the_socket_of_a_process_that_is_no_more_is_replaced(where):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(where))
    left.close()
    with Cache(control=where), Talk(where) as talk:
        assert talk.ask(do="status")["pid"] == os.getpid()


def test_a_socket_where_somebody_listens_is_left_alone(where):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(where))
        other.listen()
        with pytest.raises(ConfigError, match="where no other process listens"):
            Cache(control=where)
    assert where.exists()


def test_what_is_no_socket_is_left_alone(where):
    where.write_text("dear")
    with pytest.raises(ConfigError, match="this is something else"):
        Cache(control=where)
    assert where.read_text() == "dear"


def test_directories_where_others_could_replace_it_are_refused(folder):
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="where others can't replace"):
        Cache(control=folder / "s")
    folder.chmod(0o1777)
    with Cache(control=folder / "s"):
        pass


def test_the_longest_path_that_is_allowed_can_be_made_and_one_byte_more_is_told(folder):
    for name in ("s", "a-longer-name"):
        length = control.LONGEST_PATH - len(str(folder)) - len(name) - 2
        deep = folder / ("d" * length)
        deep.mkdir()
        with Cache(control=deep / name), Talk(deep / name) as talk:
            assert talk.ask(do="status")["ok"]
        with pytest.raises(ConfigError, match="a path of at most 93 bytes"):
            Cache(control=deep / f"{name}x")


def test_sockets_of_processes_that_were_killed_go_when_another_listens_beside_them(folder):
    for name in ("forecache-1.sock", "forecache-2.sock", "other.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(folder / name))
    (folder / "forecache-3.sock").write_text("dear")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(folder / "forecache-4.sock"))
        alive.listen()
        with Cache(control=folder):
            names = {path.name for path in folder.iterdir()}
    assert names == {"other.sock", "forecache-3.sock", "forecache-4.sock", f"forecache-{os.getpid()}.sock"}


def test_children_of_multiprocessing_complete_their_recordings_and_take_their_sockets_with_them(folder):
    sockets = folder / "s"
    sockets.mkdir()
    program = folder / "program.py"
    program.write_text(f"""
import multiprocessing
from forecache import Cache
cache = Cache(control={str(sockets)!r})
def work(name):
    cache.record(f"{folder}/{{name}}.fctrace")
    cache.get("a")
if __name__ == "__main__":
    for method in ("fork", "forkserver", "spawn"):
        child = multiprocessing.get_context(method).Process(target=work, args=(method,))
        child.start()
        child.join()
        assert child.exitcode == 0
    # The server of forks has a cache, too, and ends with this process.
    print("fine")
""")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, str(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
    for method in ("fork", "forkserver", "spawn"):
        assert len(_core.Trace.open(folder / f"{method}.fctrace")) == 1
    until(lambda: list(sockets.iterdir()) == [])


@pytest.mark.parametrize("name", ["x" * 200, "nowhere/s"])
def test_where_no_socket_can_be_is_told(folder, name):
    with pytest.raises(ConfigError, match=r"^control: "):
        Cache(control=folder / name)


def test_the_environment_reaches_all_caches_and_fails_with_a_warning_only(where, monkeypatch):
    monkeypatch.setenv("FORECACHE_CONTROL", str(where))
    with Cache(), Cache(namespace="users"), Cache(), Talk(where) as talk:
        assert [cache["name"] for cache in talk.ask(do="status")["caches"]] == ["cache", "users", "cache-2"]
    where.write_text("something else")
    with pytest.warns(RuntimeWarning, match="FORECACHE_CONTROL: this process can't be reached: control: got"):
        Cache().close()


def test_in_a_directory_each_process_has_its_own_and_so_has_the_child_of_a_fork(folder):
    text = f"""
import os
from forecache import Cache
cache = Cache(control={str(folder)!r})
mine = {str(folder)!r} + f"/forecache-{{os.getpid()}}.sock"
assert os.path.exists(mine)
ready, done = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert os.path.exists({str(folder)!r} + f"/forecache-{{os.getpid()}}.sock")
else:
    assert os.waitpid(pid, 0)[1] == 0
    assert os.listdir({str(folder)!r}) == [os.path.basename(mine)]
    print("fine")
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr
    assert list(folder.iterdir()) == []


def test_a_child_of_a_fork_leaves_the_parents_socket_alone(where):
    text = f"""
import os, socket
from forecache import Cache
cache = Cache(control={str(where)!r})
pid = os.fork()
if pid == 0:
    cache.close()
else:
    assert os.waitpid(pid, 0)[1] == 0
    talk = socket.socket(socket.AF_UNIX)
    talk.connect({str(where)!r})
    talk.sendall(b'{{"do": "status"}}\\n')
    assert b'"ok": true' in talk.recv(9999)
    print("fine")
"""
    done = run_program(text)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_only_our_own_user_and_root_may_ask(where, monkeypatch):
    with Cache(control=where):
        monkeypatch.setattr(control.struct, "unpack", lambda *_: (1, os.geteuid() + 1, 1))
        with contextlib.suppress(ConnectionError), Talk(where) as talk:
            talk.socket.sendall(b'{"do": "status"}\n')
            assert talk.answers.readline() == b""


def test_requests_that_make_no_sense_are_told_and_the_next_is_answered(folder, where):
    with Cache(control=where), Cache(control=where, namespace="b"), Talk(where) as talk:
        for request, error in (
            (b"hello", "Expecting value"),
            (b"[]", "do: got None; allowed: record, stop, status"),
            (b'{"do": "dance"}', "do: got 'dance'; allowed: record, stop, status"),
            (b'{"do": "record", "path": "/x"}', "cache: got None; allowed: one of cache, b"),
            (b'{"do": "record", "path": "x", "cache": "b"}', "path: got 'x'; allowed: an absolute path"),
            (b'{"do": "stop"}', "stop: got None; allowed: a cache that is being recorded by way of this socket"),
        ):
            answer = talk.say(request)
            assert (answer["ok"], answer["error"].startswith(error)) == (False, True), answer
        assert talk.ask(do="record", cache="b", path=str(folder / "out.fctrace"))["cache"] == "b"
        assert talk.ask(do="stop", cache="b")["reason"] == "stopped"


def test_whatever_a_line_does_the_thread_serves_on(folder, where):
    with Cache(control=where), Talk(where) as talk:
        for line in (b"[" * 30_000, b"x" * (2**16 + 1), b"\xff", b'{"do": []}', b'{"do": "stop", "cache": []}'):
            assert not talk.say(line)["ok"]
        assert talk.ask(do="status")["ok"]
        assert talk.say(b"x" * (2**16 + 1))["error"] == "line: got '65537 bytes'; allowed: at most 65536"


def test_so_many_clients_are_served_and_others_when_one_has_gone(where, monkeypatch):
    monkeypatch.setattr(control, "MOST_CLIENTS", 2)
    with Cache(control=where), Talk(where) as first, Talk(where) as second:
        assert first.ask(do="status")["ok"]
        assert second.ask(do="status")["ok"]
        server = control._servers[str(where)]
        with Talk(where) as third:
            for _ in range(10):
                assert second.ask(do="status")["ok"]
            assert len(server.clients) == 2
            first.socket.shutdown(socket.SHUT_RDWR)
            assert third.ask(do="status")["ok"]


def test_without_file_descriptors_the_thread_waits_for_some(where, monkeypatch):
    class Full:
        """A socket in a process that has no file descriptors left, until there are some."""

        full = True
        refused = 0

        def __init__(self, socket):
            self.socket = socket

        def accept(self):
            if self.full:
                self.refused += 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.socket.accept()

        def __getattr__(self, name):
            return getattr(self.socket, name)

    monkeypatch.setattr(control, "PATIENCE", 3600.0)
    with Cache(control=where), Talk(where) as first:
        assert first.ask(do="status")["ok"]
        server = control._servers[str(where)]
        server.socket = full = Full(server.socket)
        with Talk(where) as second:
            until(lambda: full.refused)
            for _ in range(10):
                assert first.ask(do="status")["ok"]
            assert full.refused == 1
            full.full, server.accepts_from = False, 0.0
            assert first.ask(do="status")["ok"]
            assert second.ask(do="status")["ok"]


def test_a_line_without_an_end_ends_the_connection(where):
    with Cache(control=where), Talk(where) as talk:
        with contextlib.suppress(ConnectionError):
            talk.socket.sendall(b"x" * 300_000)
        with contextlib.suppress(ConnectionError):
            assert talk.answers.readline() == b""
        with Talk(where) as other:
            assert other.ask(do="status")["ok"]
