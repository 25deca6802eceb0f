"""What helps to test programs that use a cache."""

from forecache._core import FakeClock

__all__ = ["FakeClock"]
