"""A real virtual machine's disk trace, first through the cache itself, then under every policy at several sizes.

Run by `make demo`; needs no server and nothing from the network.
"""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from forecache import MISSING, Cache
from forecache._core import Trace
from forecache.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "recordings" / "packages.fctrace"
PLOT = ROOT / "demo.png"
SHARE = 0.1
"""The cache holds a tenth of the pages that the machine ever touched."""


def through_the_cache(console: Console) -> None:
    """Asks a `Cache` for every page that the machine asked its disk for."""
    trace = Trace.open(RECORDING)
    pages = int(trace.unique * SHARE)
    console.print(f"[bold]1. A virtual machine's disk, through a cache of {pages:,} pages, {SHARE:.0%} of those it uses[/bold]")
    console.print(f"{trace.description}\n")
    cache = Cache("1GB", max_entries=pages, seed=0)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("hit rate {task.fields[rate]:.1%}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("replay", total=len(trace), rate=0.0)
        for start in range(0, len(trace), 20_000):
            rows = trace.rows(start, start + 20_000)
            for _, page, size, operation, *_ in rows:
                if operation == "delete":
                    cache.delete(page)
                elif cache.get(page, MISSING) is MISSING:
                    cache.set(page, size)  # a real cache would keep the page; its number will do to see it hit
            progress.update(task, advance=len(rows), rate=cache.stats().hit_rate)
    console.print(f"\n{cache.stats().hits:,} of {cache.stats().hits + cache.stats().misses:,} accesses never reached the disk.\n")


if __name__ == "__main__":
    console = Console()
    through_the_cache(console)
    console.print("[bold]2. The same trace under every policy, at several sizes[/bold]\n")
    console.print(f"The curves are being drawn into {PLOT.name}.\n")
    app(["replay", str(RECORDING), "--policy", "all", "--sizes", "0.01,0.02,0.05,0.1,0.2", "--belady", "--plot", str(PLOT)])
