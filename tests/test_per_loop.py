import asyncio
import gc
import threading
import weakref

import pytest

from forecache.tiers.per_loop import PerLoop


class Client:
    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.closed_in = None

    async def close(self):
        self.closed_in = asyncio.get_running_loop()


def test_each_loop_has_a_client_of_its_own_that_ends_with_it():
    clients = PerLoop(Client, Client.close)

    async def twice():
        first = await clients.get()
        assert await clients.get() is first
        return first

    one, other = asyncio.run(twice()), asyncio.run(twice())
    assert one is not other
    assert one.closed_in is one.loop
    assert other.closed_in is other.loop


def test_closing_reaches_the_clients_of_loops_in_other_threads():
    clients = PerLoop(Client, Client.close)
    made, ends = threading.Event(), threading.Event()
    seen = []

    async def live():
        seen.append(await clients.get())
        made.set()
        await asyncio.get_running_loop().run_in_executor(None, ends.wait, 30)

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert made.wait(30)
    clients.close()
    assert seen[0].closed_in is seen[0].loop
    ends.set()
    thread.join()


def test_closing_awaits_the_clients_of_this_loop():
    clients = PerLoop(Client, Client.close)

    async def live():
        client = await clients.get()
        await clients.aclose()
        assert client.closed_in is client.loop
        assert await clients.get() is not client

    asyncio.run(live())


def test_closing_in_a_task_waits_for_nothing_and_closes_when_the_loop_goes_on():
    clients = PerLoop(Client, Client.close)

    async def live():
        client = await clients.get()
        clients.close()
        assert client.closed_in is None
        await asyncio.wait_for(until_closed(client), 30)
        return client

    async def until_closed(client):
        while client.closed_in is None:
            await asyncio.sleep(0)

    assert asyncio.run(live()).closed_in is not None


def test_closing_as_the_last_act_of_a_loop_closes():
    clients = PerLoop(Client, Client.close)

    async def live():
        client = await clients.get()
        clients.close()
        return client

    client = asyncio.run(live())
    assert client.closed_in is client.loop


@pytest.mark.parametrize("waits", ["thread", "task"])
def test_closing_lets_go_of_a_loop_that_waits_for_who_closes(waits, monkeypatch):
    monkeypatch.setattr("forecache.tiers.per_loop.PATIENCE", 0.01)
    clients = PerLoop(Client, Client.close)

    def close():
        clients.close() if waits == "thread" else asyncio.run(clients.aclose())

    async def live():
        client = await clients.get()
        thread = threading.Thread(target=close)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        return client

    client = asyncio.run(live())
    assert client.closed_in is client.loop


def test_loops_that_ended_without_a_word_are_not_held():
    clients = PerLoop(Client, Client.close)
    loops = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loops.append(weakref.ref(loop))
        loop.run_until_complete(clients.get())
        loop.close()
    del loop
    asyncio.run(clients.get())
    gc.collect()
    assert [each() for each in loops] == [None] * 3
