"""Real servers on loopback, for tests and trials: each on ports and in a folder of its own, and ended by its pid."""
