"""How far `forecache advise` is from full simulations, and what it costs: `advise.py FOLDER [--requests N] [--policy …]`.

For each trace in FOLDER and each policy: the largest difference of a miss ratio between its curve and a full simulation of each
size, and the CPU time of the whole curve in units of one full simulation (the mean over the sizes); then the seconds that all
policies take together. Both are measured in one process, one after the other.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from forecache import POLICIES, _core, advise
from forecache.curves import BELADY, REQUESTS, Curve, measure
from forecache.optimum import Optimum


def full(trace: _core.Trace, policy: str, size: int) -> tuple[float, float]:
    """The miss ratio by the simulator itself, and its CPU seconds."""
    begin = time.thread_time()
    tally = _core.belady(trace, size) if policy == BELADY else _core.simulate(trace, policy, max_entries=size)
    return tally.misses / tally.accesses, time.thread_time() - begin


def compare(trace: _core.Trace, policy: str, sizes: list[int], requests: int) -> tuple[float, float, float]:
    """The largest error, CPU seconds of the curve, and mean CPU seconds of a full simulation."""
    optimum = Optimum(trace, trace) if policy == BELADY else None
    begin = time.process_time()
    curves, _ = measure(trace, [] if optimum else [policy], sizes, by_bytes=False, requests=requests, optimum=optimum)
    took = time.process_time() - begin
    curve: Curve = curves[policy]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        known = list(pool.map(lambda size: full(trace, policy, size), sizes))
    worst = max(abs(ratio - exact) for ratio, (exact, _) in zip(curve.miss_ratios, known, strict=True))
    return worst, took, sum(seconds for _, seconds in known) / len(known)


def main() -> None:
    """Prints a line a trace and policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--policy", default=",".join((*POLICIES, BELADY)))
    options = parser.parse_args()
    print("trace,requests,policy,largest_error_points,cpu_of_full_runs")
    for path in sorted(path for path in options.folder.iterdir() if path.suffix in {".zst", ".fctrace"}):
        trace = _core.Trace.open(path)
        told = advise(path, requests=options.requests)
        for policy in options.policy.split(","):
            sizes = list(told.curves[next(iter(told.curves))].sizes)
            worst, took, one = compare(trace, policy, sizes, options.requests)
            print(f"{told.trace},{len(trace)},{policy},{100 * worst:.3f},{took / one:.2f}", flush=True)
        print(f"{told.trace},{len(trace)},all in {told.seconds:.1f} s,,", flush=True)


if __name__ == "__main__":
    main()
