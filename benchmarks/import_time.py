"""How long `import forecache` takes in new processes, and its slowest modules: `import_time.py [--starts N] [--check]`."""

import argparse
import re
import statistics
import subprocess
import sys

LINE = re.compile(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)")


def start() -> dict[str, tuple[int, int]]:
    """Microseconds of forecache and of each module that it imports: alone, and with what they import themselves."""
    command = [sys.executable, "-X", "importtime", "-c", "import forecache"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found: dict[str, tuple[int, int]] = {}
    for own, both, indent, name in LINE.findall(told):
        if not indent and name != "forecache":  # one that Python imports at its own start, after what that one imports
            found = {}
        else:
            found[name] = (int(own), int(both))
    return found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--check", action="store_true", help="exit code 1 if the best is more than 100 ms")
    options = parser.parse_args()
    start()  # has files read and compiled
    starts = [start() for _ in range(options.starts)]
    totals = [each["forecache"][1] / 1000 for each in starts]
    print(f"import forecache: best {min(totals):.1f} ms, median {statistics.median(totals):.1f} ms of {len(totals)} starts")
    best = {name: min(each[name][0] for each in starts if name in each) for name in starts[0]}
    for name, own in sorted(best.items(), key=lambda item: -item[1])[:15]:
        print(f"{own / 1000:7.2f} ms {name}")
    sys.exit(options.check and min(totals) > 100)


if __name__ == "__main__":
    main()
