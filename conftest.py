"""What every doctest may use without importing it."""

import pytest

import forecache


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, object]) -> None:
    doctest_namespace.update({name: getattr(forecache, name) for name in forecache.__all__})
