#!/usr/bin/env python3
"""Record the block I/O of a real Debian virtual machine.

Builds a small Debian guest with debootstrap (from the mirror apt is configured
with), boots it under QEMU's software emulation (TCG, no KVM needed), runs one of
the workloads below inside it, reboots it on the way, and logs every request that
the guest makes to its disk.  Writes two files into --out:

  WORKLOAD.csv.gz  time_us,op,offset,length  (op: read, write or trim; bytes; by
                   time, in microseconds since the machine was switched on)
  WORKLOAD.json    what was recorded, when each step began, and how often a plain
                   LRU of 1, 5 and 10 % of the pages ever touched would have hit

Workloads:
  packages   apt-get install of compilers and tools, builds of C programs, Python
             byte-compilation, searches, git; after the reboot, more of that
  database   PostgreSQL: bulk load, index builds, skewed look-ups and updates, log
             churn, vacuum, dump; after the reboot, queries

Needs root and: debootstrap qemu-system-x86 nbdkit e2fsprogs.  A request's way is
guest -> virtio-blk -> QEMU -> NBD -> `nbdkit --filter=log` -> image: what is logged
has passed the guest's page cache, and adjacent queued requests are merged.  Flushes
are not logged; writes of zeroes count as writes.  Emulation slows the guest down
about tenfold, so the times between requests are longer than on real hardware.  It
takes 5 to 20 minutes of one core and about 3 GB in --work.

Example:  sudo nice python3 record_vm.py packages --out traces
"""

import argparse
import datetime
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter, OrderedDict
from pathlib import Path

from vm_workloads import WORKLOADS

PAGE = 4096
EVENT = re.compile(
    r"(\S+ \S+) connection=\d+ (Read|Write|Trim|Zero) id=\d+ "
    r"offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+) "
)
OPS = {"Read": "read", "Write": "write", "Zero": "write", "Trim": "trim"}
FILES = {  # the guest's own, beside the distribution's
    "etc/hostname": "guest\n",
    "etc/fstab": "/dev/vda / ext4 discard,errors=remount-ro 0 1\n/swapfile none swap nofail 0 0\n",
    "etc/apt/apt.conf.d/small": 'APT::Install-Recommends "false";\n',
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    "etc/initramfs-tools/conf.d/small": "MODULES=list\n",
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101  # while the image is built, no service starts\n",
    "etc/systemd/system/recording.service": """
        [Unit]
        After=multi-user.target
        [Service]
        ExecStart=/recording/run
        [Install]
        WantedBy=multi-user.target
        """,
    "recording/done": "",
    "recording/run": """\
        #!/bin/sh
        # Runs the steps not yet run; tells the console the name of each as it begins.
        cd /recording; exec >>log 2>&1
        export DEBIAN_FRONTEND=noninteractive HOME=/root
        say() { echo "@$*" >/dev/ttyS0; }
        [ -e /swapfile ] || { fallocate -l 256M /swapfile; chmod 600 /swapfile; mkswap /swapfile; swapon -a; }
        for step in step-*; do
            grep -qx $step done && continue
            echo $step >>done; say step ${step#step-??-}
            (cd /root; sh -e /recording/$step) || { tail -20 log >/dev/ttyS0; say failed; poweroff; exit; }
            case $step in *-reboot) exit;; esac
        done
        say finished; poweroff
        """,
}


def run(*command, **options):
    """Runs a command, or fails with it; what it prints goes to stderr."""
    print("+", *command, file=sys.stderr, flush=True)
    return subprocess.run([str(c) for c in command], check=True, text=True, **{"stdout": sys.stderr, **options})


def mirror():
    """The first Debian archive in apt's own configuration: [URI, code name]."""
    found = run(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME)",
        "Created-By: Packages",
        "Origin: Debian",
        "Component: main",
        stdout=subprocess.PIPE,
    ).stdout.split()
    return found[:2] or sys.exit("apt knows no Debian archive: configure one, run `apt-get update`")


def build(tree, image, megabytes, kernel, load):
    """Makes the guest's file tree and, from it, its disk image."""
    uri, suite = mirror()
    run("debootstrap", "--variant=minbase", "--include=systemd-sysv,udev,initramfs-tools,logrotate", suite, tree, uri)
    files = {
        **FILES,
        "etc/apt/sources.list": f"deb {uri} {suite} main\ndeb-src {uri} {suite} main\n",
        **{f"recording/step-{n:02}-{name}": script for n, (name, script) in enumerate(load["steps"])},
    }
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(textwrap.dedent(text) + "\n")
        (tree / name).chmod(0o755 if text.startswith("#!") or name == "recording/run" else 0o644)
    environment = {
        "PATH": "/usr/sbin:/usr/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
    }

    def inside(command):
        run("chroot", tree, "sh", "-ec", f"cd /root; {command}", env=environment)

    run("mount", "-t", "proc", "proc", tree / "proc")
    try:
        inside("apt-get update")
        inside(f"apt-get install -y {kernel} {' '.join(load['installed'])}; apt-get clean")
        inside(f"apt-get install -y --download-only {' '.join(load['downloaded'])}")
        if load["sources"]:
            inside(f"apt-get source --download-only {' '.join(load['sources'])}")
        inside("systemctl mask apt-daily.timer apt-daily-upgrade.timer serial-getty@ttyS0")
        inside("systemctl enable recording; mkdir -p /var/log/journal; rm /usr/sbin/policy-rc.d")
    finally:
        run("umount", tree / "proc")
    run(
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0",
        "-J",
        "size=16",
        "-d",
        tree,
        image,
        f"{megabytes}M",
    )


def boot(work, tree, image, memory, limit):
    """Runs the guest to its end; returns the start time and the steps as (name, time)."""
    socket = work / "nbd.sock"
    server = subprocess.Popen(
        ["nbdkit", "-f", "-U", socket, "--filter=log", "file", image, f"logfile={work / 'nbd.log'}"],
        env={**os.environ, "TZ": "UTC"},
    )
    while not socket.exists():
        if server.poll() is not None:
            sys.exit("nbdkit did not start")
        time.sleep(0.05)
    kernel, initrd = (max((tree / "boot").glob(p)) for p in ("vmlinuz-*", "initrd.img-*"))
    start, steps, end = time.time(), [], "time limit or crash"
    machine = subprocess.Popen(
        [
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-accel",
            "tcg",
            "-m",
            str(memory),
            "-smp",
            "1",
            "-serial",
            "stdio",
            "-device",
            "virtio-rng-pci",
            "-kernel",
            kernel,
            "-initrd",
            initrd,
            "-append",
            "root=/dev/vda rw console=ttyS0 quiet",
            "-drive",
            f"file=nbd+unix:///?socket={socket},format=raw,if=virtio,cache=unsafe,discard=unmap",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    timer = threading.Timer(limit, machine.kill)
    timer.start()
    try:
        for line in machine.stdout:
            print(f"[{time.time() - start:7.1f}] {line.rstrip()}", file=sys.stderr, flush=True)
            word, _, name = line.strip().rpartition("@")[2].partition(" ")
            if word == "step":
                steps.append((name, time.time()))
            elif word in ("finished", "failed"):
                end = word
    finally:
        timer.cancel()
        machine.kill()
        machine.wait()
        server.terminate()
        server.wait()
    return (start, steps) if end == "finished" else sys.exit(f"the workload did not finish: {end}")


def read_log(path, start):
    """The requests in nbdkit's log, sorted by time: (microseconds, op, offset, length)."""
    epoch, requests = datetime.datetime(1970, 1, 1), []
    with path.open() as lines:
        for when, op, offset, length in (m.groups() for m in map(EVENT.match, lines) if m):
            since = datetime.datetime.fromisoformat(when) - epoch
            micros = since // datetime.timedelta(microseconds=1) - int(start * 1e6)
            requests.append((max(0, micros), OPS[op], int(offset, 16), int(length, 16)))
    return sorted(requests, key=lambda request: request[0])


def pages(offset, length):
    """The numbers of the pages that a request touches."""
    return range(offset // PAGE, -(-(offset + length) // PAGE))


def lru(requests, capacity):
    """Hit ratios of an LRU, of all accesses and of reads; reads and writes fill it, trims empty it."""
    cache, hits, total = OrderedDict(), Counter(), Counter()
    for _, op, offset, length in requests:
        for page in pages(offset, length):
            hit = cache.pop(page, False)
            if op != "trim":
                total[op] += 1
                hits[op] += hit
                cache[page] = True
                if len(cache) > capacity:
                    cache.popitem(last=False)
    return {"all": round(hits.total() / total.total(), 4), "reads": round(hits["read"] / total["read"], 4)}


def describe(requests, start, steps):
    """The facts of a recording, for its JSON file."""
    counts, accesses, touched = Counter(), Counter(), set()
    for _, op, offset, length in requests:
        counts[op] += 1
        accesses[op] += len(pages(offset, length))
        if op != "trim":
            touched.update(pages(offset, length))
    return {
        "date": datetime.datetime.fromtimestamp(start, datetime.timezone.utc).isoformat(timespec="seconds"),
        "duration_us": requests[-1][0],
        "requests": len(requests),
        "requests_by_op": counts,
        "page_bytes": PAGE,
        "unique_pages": len(touched),
        "pages_by_op": accesses,
        "page_accesses": accesses["read"] + accesses["write"],
        "lru_hit_ratio": {f"{p}%": lru(requests, len(touched) * p // 100) for p in (1, 5, 10)},
        "steps": [{"name": name, "start_us": int((when - start) * 1e6)} for name, when in [("boot", start), *steps]],
    }


def main():
    """Records one workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("workload", choices=WORKLOADS)
    add("--out", type=Path, default=".", help="folder for the results (default: here)")
    add("--work", type=Path, help="folder for the guest's tree, image and log (default: the temporary one)")
    add("--keep", action="store_true", help="do not remove them at the end")
    add(
        "--memory",
        type=int,
        default=160,
        metavar="MB",
        help="the guest's memory: the less, the more it reads again (default: %(default)s)",
    )
    add("--disk", type=int, default=4096, metavar="MB", help="its disk's size (default: %(default)s)")
    add("--kernel", default="linux-image-cloud-amd64", metavar="PACKAGE", help="its kernel (default: %(default)s)")
    add("--limit", type=int, default=2400, metavar="SECONDS", help="give up then (default: %(default)s)")
    options = parser.parse_args()
    if missing := [t for t in ("debootstrap", "qemu-system-x86_64", "nbdkit", "mke2fs") if not shutil.which(t)]:
        sys.exit("not installed: " + ", ".join(missing))
    if os.geteuid():
        sys.exit("building the guest needs root, for debootstrap and chroot")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the guest ends, too
    for folder in filter(None, (options.out, options.work)):
        folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="record_vm-", dir=options.work)).resolve()
    tree, image = work / "tree", work / "disk.img"
    try:
        build(tree, image, options.disk, options.kernel, WORKLOADS[options.workload])
        start, steps = boot(work, tree, image, options.memory, options.limit)
        requests = read_log(work / "nbd.log", start)
        qemu = run("qemu-system-x86_64", "--version", stdout=subprocess.PIPE).stdout.splitlines()[0]
        facts = {
            "workload": options.workload,
            "device_bytes": image.stat().st_size,
            "guest_memory_mib": options.memory,
            "guest_cpus": 1,
            "emulator": f"{qemu}, TCG, virtio-blk",
            "guest_kernel": max((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-"),
            **describe(requests, start, steps),
        }
    finally:
        print("kept " if options.keep else "removing ", work, file=sys.stderr)
        options.keep or shutil.rmtree(work)
    base = options.out / options.workload
    with Path(f"{base}.csv.gz").open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
        zipped.write(b"time_us,op,offset,length\n")
        zipped.writelines(b"%d,%s,%d,%d\n" % (t, op.encode(), at, n) for t, op, at, n in requests)
    Path(f"{base}.json").write_text(text := json.dumps(facts, indent=1) + "\n")
    print(text, end="")


if __name__ == "__main__":
    main()
