"""What a flow may ask for, in both colours."""

import asyncio
import threading

import pytest
from conftest import PATIENCE

from forecache.flow import All, Call, Either, First, Flow, Sleep, Spawn, arun, run


def drive_sync(flow):
    return run(flow)


def drive_async(flow):
    return asyncio.run(arun(flow))


@pytest.fixture(params=[drive_sync, drive_async], ids=["sync", "async"])
def drive(request):
    return request.param


def asking(request):
    return (yield request)


def answering(value):
    yield from ()
    return value


def test_all_answers_in_the_order_of_its_flows(drive):
    assert drive(asking(All([answering(1), asking(Call(lambda: 2)), answering(3)]))) == [1, 2, 3]


def test_flows_of_all_go_on_side_by_side(drive):
    meeting = threading.Barrier(3)
    flows = [asking(Call(meeting.wait, (PATIENCE,))) for _ in range(3)]
    assert sorted(drive(asking(All(flows)))) == [0, 1, 2]


def test_flows_that_yield_nothing_stay_on_their_thread(drive):
    def where():
        yield from ()
        return threading.get_ident()

    assert drive(asking(All([where(), where()]))) == [threading.get_ident()] * 2


def test_all_raises_the_first_error_when_all_have_ended(drive):
    done = []

    def failing():
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        drive(asking(All([asking(Call(failing)), asking(Call(done.append, (1,)))])))
    assert done == [1]


def test_a_call_ends_in_time_or_is_late(drive):
    gate = threading.Event()
    assert drive(asking(Call(lambda: "here", timeout=PATIENCE))) == "here"
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        drive(asking(Call(gate.wait, timeout=0.01)))
    gate.set()


def test_a_call_may_raise_a_timeout_of_its_own(drive):
    def late():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        drive(asking(Call(late, timeout=PATIENCE)))


def test_an_async_call_ends_in_time_or_is_late():
    async def slow():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        drive_async(asking(Call(slow, timeout=0.01)))


def test_a_flow_sleeps(drive):
    assert drive(asking(Sleep(0.0))) is None


def test_what_is_spawned_goes_on_by_itself(crew):
    gone_on = threading.Event()

    async def program():
        assert await arun(asking(Spawn(asking(Call(gone_on.set))))) is None
        while not gone_on.is_set():
            await asyncio.sleep(0)

    assert run(asking(Spawn(asking(Call(gone_on.set))))) is None
    assert gone_on.wait(PATIENCE)
    gone_on.clear()
    asyncio.run(asyncio.wait_for(program(), PATIENCE))


def test_what_a_spawned_flow_raises_is_logged(caplog):
    def failing():
        yield from ()
        raise ValueError("in the background")

    async def program():
        await arun(asking(Spawn(failing())))
        while not caplog.records:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(program(), PATIENCE))
    assert "background" in caplog.text


def test_a_verb_of_two_clients_is_called_in_the_drivers_colour():
    async def awaited(a: int, b: int) -> str:
        return f"awaited {a} {b}"

    def verb() -> Flow[str]:
        return (yield Either(lambda a, b: f"plain {a} {b}", awaited, (1, 2)))

    assert run(verb()) == "plain 1 2"
    assert asyncio.run(arun(verb())) == "awaited 1 2"


@pytest.fixture
def no_threads(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("forecache.threads._idle", [])
    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_where_no_thread_can_be_started_all_is_done_one_after_the_other():
    def one(number):
        return (yield Call(lambda: number))

    def spawns():
        yield Spawn(one(4))

    assert run(whole(All([one(1), one(2), one(3)]))) == [1, 2, 3]
    assert run(whole(First(one(1), one(2), 0))) == 1
    assert run(spawns()) is None


def whole(request):
    return (yield request)
