"""What every doctest may use without importing it."""

import os
import tempfile

import pytest

import forecache

_state = tempfile.TemporaryDirectory()
os.environ["XDG_STATE_HOME"] = _state.name  # journals of tests are nobody else's


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace.update({name: getattr(forecache, name) for name in forecache.__all__})
