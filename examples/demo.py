"""A virtual machine's disk behind a cache: its recorded requests, over memory and disk, cold and again after a restart; then a
replay of the same recording under every policy.

Run by `make demo`; needs no server and nothing from the network.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from origin import LATENCY, PAGE, Origin
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from forecache import Cache
from forecache._core import Trace
from forecache.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "recordings" / "packages.fctrace"
PLOT = ROOT / "demo.png"
MEMORY, DISK = "64MB", "384MB"
ROWS = 10_000
"""Accesses between two looks at the table."""


class Guest:
    """The machine: sends its requests to the cache, and what the cache hasn't got comes from the origin."""

    def __init__(self, cache: Cache, origin: Origin) -> None:
        self.cache = cache
        self.origin = origin
        self.reads = self.writes = self.wrong = 0
        self.seconds = 0.0

    def send(self, rows: list[tuple[int, str, int, str, int | None, str, bool]]) -> None:
        """Reads, writes and trims as they were recorded; every page read is compared with what the origin holds."""
        cache, origin, more = self.cache, self.origin, False
        for _, key, _, operation, _, _, next_too in rows:
            if not more:
                origin.request()
            more = next_too
            if operation == "get":
                began = time.perf_counter()
                page = cache.get_or_load(key, origin.read)
                self.seconds += time.perf_counter() - began
                self.reads += 1
                self.wrong += page != origin.look(int(key))
            elif operation == "set":
                cache.set(key, origin.write(int(key)))
                self.writes += 1
            else:
                cache.delete(key)
                origin.write(int(key))

    def table(self, done: int, total: int) -> Table:
        """Who answered how many reads, and how fast."""
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in ("", "answered", "of all reads", "median", "95 %", "holds"):
            table.add_column(column, justify="left" if not column else "right")
        stats = self.cache.stats()
        below = sum(tier.hits for tier in stats.tiers)
        rows = [("memory", self.reads - below - self.origin.pages, stats.get_latency, stats.weight)]
        rows += [(tier.name, tier.hits, tier.latency or stats.get_latency, tier.bytes or 0) for tier in stats.tiers]
        for name, hits, latency, size in rows:
            times = (microseconds(latency.p50), microseconds(latency.p95))
            table.add_row(name, f"{hits:,}", share(hits, self.reads), *times, f"{size / 1e6:.0f} MB")
        origin = self.origin
        mean = origin.seconds / origin.pages if origin.pages else None
        table.add_row("origin", f"{origin.pages:,}", share(origin.pages, self.reads), f"{microseconds(mean)} (mean)", "", "")
        both = Table.grid()
        both.add_row(ProgressBar(total=total, completed=done, width=72))
        both.add_row(table)
        return both


def share(part: int, whole: int) -> str:
    """Of reads."""
    return f"{part / whole:.1%}" if whole else "-"


def microseconds(seconds: float | None) -> str:
    """As people read it."""
    return "-" if seconds is None else f"{seconds * 1e6:.1f} µs"


def run(console: Console, folder: Path) -> None:
    """Sends the whole recording to a cache over `folder`, as a process of its own does."""
    trace = Trace.open(RECORDING)
    origin = Origin(folder / "origin", trace.device_size)
    opened = time.perf_counter()
    cache = Cache.from_url(f"memory://?capacity={MEMORY}", f"disk://{folder / 'cache'}?capacity={DISK}")
    opened = time.perf_counter() - opened
    began = time.perf_counter()
    with cache:
        guest = Guest(cache, origin)
        with Live(guest.table(0, len(trace)), console=console, auto_refresh=False) as live:
            for start in range(0, len(trace), ROWS):
                guest.send(trace.rows(start, start + ROWS))
                live.update(guest.table(start + ROWS, len(trace)), refresh=True)
        seconds = time.perf_counter() - began
    console.print()
    told = "none wrong" if not guest.wrong else f"[bold red]{guest.wrong:,} wrong[/]"
    console.print(
        f"{guest.reads:,} reads ({told}) and {guest.writes:,} writes in {seconds:.0f} s; a read took "
        f"{microseconds(guest.seconds / guest.reads)} on average. The cache was open after {opened * 1e3:.0f} ms.\n"
    )
    sys.exit(guest.wrong > 0)


def main() -> None:
    """Everything in order."""
    console = Console()
    trace = Trace.open(RECORDING)
    console.print(f"{trace.description}\n")
    console.print(
        f"[bold]1. Its disk, {trace.footprint / 1e6:.0f} MB of which it uses, behind {MEMORY} of memory over {DISK} of disk[/]\n"
        "What neither holds comes from a remote disk. That one is simulated: a sparse file, its pages of "
        f"{PAGE // 1024} KiB filled from their number, and {LATENCY * 1e3:g} ms of waiting for each request that reaches it. "
        "All else is real, and measured as it runs.\n"
    )
    with tempfile.TemporaryDirectory(prefix="forecache-demo-") as folder:
        for title in ("Cold: both are empty", "Again, after a restart: memory is empty, the disk is as the first run left it"):
            console.print(f"[bold]{title}[/]")
            subprocess.run([sys.executable, __file__, folder], check=True)
    console.print("[bold]2. The same recording replayed under every policy, at several sizes[/bold]\n")
    console.print(f"The curves are being drawn into {PLOT.name}.\n")
    app(["replay", str(RECORDING), "--policy", "all", "--sizes", "0.01,0.02,0.05,0.1,0.2", "--belady", "--plot", str(PLOT)])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(Console(), Path(sys.argv[1]))
    else:
        main()
