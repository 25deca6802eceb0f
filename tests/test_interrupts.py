"""Interrupts between any two bytecodes on the way down: nothing stays in flight, and nobody waits for ever."""

import gc
import os
import sys
import threading

import pytest
from conftest import PATIENCE
from tiers_made import Counting, Noted, made

from forecache import MISSING, decisions, drain, reads, stack, tiered, writes
from forecache._core import Counters

PARTS = tuple(module.__file__ for module in (drain, writes, decisions, stack, tiered, reads))

STRIDE = int(os.environ.get("FORECACHE_STRIDE", "5"))
"""Each so many-th bytecode is tried; all of them take two minutes."""


class Pressed:
    """Raises KeyboardInterrupt at the bytecode of that number of the way down."""

    def __init__(self, number):
        self.left = number

    def __call__(self, frame, event, _argument):
        if frame.f_code.co_filename not in PARTS:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


def interrupted(work, number):
    """Whether `work` was, at that bytecode."""
    pressed = Pressed(number)
    gc.disable()  # the end of another cache isn't on the way down
    sys.settrace(pressed)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        gc.enable()
    return pressed.left <= 0


def quiet(cache):
    """Whether nothing is on its way down before patience ends: the thread that writes behind says nothing when it is through."""
    pause = threading.Event()
    for _ in range(PATIENCE * 1000):
        if not any(cache._keys(depth) for depth in cache._stack.depths):
            return True
        pause.wait(0.001)
    return False


def in_time(work, *arguments):
    """What `work` gives, unless it waits for ever."""
    given = []
    thread = threading.Thread(target=lambda: given.append(work(*arguments)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert given, "it waits for ever"
    return given[0]


WORKS = {
    "set": lambda face: face.set("a", 2),
    "set_many": lambda face: face.set_many({"a": 2, "b": 2}),
    "delete": lambda face: face.delete("a"),
    "incr": lambda face: face.incr("a"),
    "clear": lambda face: face.clear(),
}


def tiers(kind):
    if kind == "shared":
        return [(Counting({}, Counters()), "through")]
    return [(Noted(name="upper"), kind), (Noted(name="lower"), kind)]


def survives(work, kind, number):
    """Interrupts `work` at a bytecode, looks at what came of it, and says whether there was such a bytecode."""
    face = made(*tiers(kind))
    cache = face.cache
    face.set("a", 1)
    face.flush()
    reached = interrupted(lambda: WORKS[work](face), number)
    assert quiet(cache), number
    # Whatever came of it, memory and tiers agree on it, and the key can be changed.
    value = face.get("a", MISSING)
    cache.resize("1B")
    cache.flush()
    assert in_time(face.get, "a", MISSING) == value, number
    assert in_time(face.set, "a", 10)
    assert in_time(face.incr, "a") == 11
    face.close()
    return reached


@pytest.mark.parametrize("kind", ["through", "behind", "shared"])
@pytest.mark.parametrize("work", WORKS)
def test_an_interrupt_anywhere_leaves_nothing_on_its_way(work, kind):
    number = 1
    while survives(work, kind, number):
        number += STRIDE
    assert number > 100
