import asyncio
import threading

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
