#!/usr/bin/env python3
"""Record the block I/O of a real Debian virtual machine.

Builds a small Debian guest with debootstrap (from the mirror apt is configured
with), boots it under QEMU's software emulation (TCG, no KVM needed), runs one of
the workloads below inside it, reboots it half-way, and logs every request that
the guest makes to its disk.  Writes two files into --out:

  WORKLOAD.csv.gz  time_us,op,offset,length   (op: read, write or trim; bytes;
                   sorted by time, microseconds since the machine was switched on)
  WORKLOAD.json    what was recorded, when each step began, and how often a plain
                   LRU of 1, 5 and 10 % of the pages ever touched would have hit

Workloads:
  packages   apt-get install of compilers and tools, builds of C programs, Python
             byte-compilation, searches, git; after the reboot it is read again
  database   PostgreSQL: bulk load, index builds, skewed look-ups and updates, log
             churn, vacuum, dump; after the reboot it is queried again

Needs root and: debootstrap qemu-system-x86 nbdkit e2fsprogs.  The path of a request
is guest -> virtio-blk -> QEMU -> NBD -> `nbdkit --filter=log` -> image, so the log
has the requests as they leave the machine: below the guest's page cache, adjacent
queued ones merged.  Emulation slows the guest's processor down about tenfold, which
stretches the times but hardly changes the order.  One core is used; the image,
tree and log (up to 8 GB) go to --work and are removed unless --keep is given.

Example:  sudo nice python3 record_vm.py packages --out traces
"""

import argparse
import collections
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
from pathlib import Path

from vm_workloads import REBOOT, WORKLOADS

PAGE = 4096
EVENT = re.compile(
    r"(\S+ \S+) connection=\d+ (Read|Write|Trim|Zero) id=\d+ "
    r"offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+) "
)
OPS = {"Read": "read", "Write": "write", "Zero": "write", "Trim": "trim"}
RUNNER = """\
    #!/bin/sh
    # Runs the steps not yet run; tells the console the name of each as it begins.
    cd /recording; exec >>log 2>&1
    export DEBIAN_FRONTEND=noninteractive HOME=/root
    if [ ! -e /swapfile ]; then
        fallocate -l 256M /swapfile; chmod 600 /swapfile; mkswap /swapfile; swapon -a
    fi
    for step in step-*; do
        grep -qx $step done && continue
        echo $step >>done; echo "@step ${step#step-??-}" >/dev/ttyS0
        (cd /root; sh -e /recording/$step) || { tail -20 log >/dev/ttyS0; echo "@failed $step" >/dev/ttyS0; poweroff; exit; }
        case $step in *-reboot) exit;; esac
    done
    echo "@finished" >/dev/ttyS0; poweroff
    """
UNIT = """\
    [Unit]
    After=multi-user.target
    [Service]
    ExecStart=/recording/run
    [Install]
    WantedBy=graphical.target multi-user.target
    """


def run(*command, **options):
    """Runs a command, or fails with it; what it prints goes to stderr."""
    print("+", *command, file=sys.stderr)
    return subprocess.run([str(c) for c in command], check=True, text=True, **{"stdout": sys.stderr, **options})


def mirror():
    """The first Debian archive in apt's own configuration: (URI, code name)."""
    out = run(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME)",
        "Created-By: Packages",
        "Origin: Debian",
        "Component: main",
        stdout=subprocess.PIPE,
    ).stdout.split("\n")
    if not out[0]:
        sys.exit("apt has no Debian archive configured, or `apt-get update` was never run")
    return out[0].split()


def write(path, text, mode=0o644):
    """Writes a file of the guest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    path.chmod(mode)


def build(tree, image, size, kernel, load):
    """Makes the guest's file tree and, from it, its disk image."""
    uri, suite = mirror()
    run("debootstrap", "--variant=minbase", "--include=systemd-sysv,udev,initramfs-tools,logrotate", suite, tree, uri)
    write(tree / "etc/apt/sources.list", f"deb {uri} {suite} main\ndeb-src {uri} {suite} main\n")
    write(tree / "etc/apt/apt.conf.d/keep", 'APT::Install-Recommends "false";\n')
    write(tree / "etc/fstab", "/dev/vda / ext4 discard,errors=remount-ro 0 1\n/swapfile none swap nofail 0 0\n")
    write(tree / "etc/hostname", "guest\n")
    write(tree / "etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\next4\n")
    write(tree / "etc/initramfs-tools/conf.d/modules", "MODULES=list\n")
    write(tree / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)  # start nothing in the chroot
    (tree / "var/log/journal").mkdir(exist_ok=True)
    write(tree / "recording/run", RUNNER, 0o755)
    write(tree / "recording/done", "")
    write(tree / "etc/systemd/system/recording.service", UNIT)
    for number, (name, script) in enumerate(load["steps"]):
        write(tree / f"recording/step-{number:02}-{name}", script or f"systemctl {REBOOT}\n")

    def inside(*command, cwd="/root"):
        run(
            "chroot",
            tree,
            "sh",
            "-ec",
            f'cd {cwd}; exec "$@"',
            "sh",
            *command,
            env={
                "PATH": "/usr/sbin:/usr/bin",
                "DEBIAN_FRONTEND": "noninteractive",
                "LC_ALL": "C",
                **{k: v for k, v in os.environ.items() if k.endswith("_proxy")},
            },
        )

    run("mount", "-t", "proc", "proc", tree / "proc")
    try:
        inside("apt-get", "update")
        inside("apt-get", "install", "-y", kernel, *load["installed"])
        inside("apt-get", "clean")
        if load["downloaded"]:
            inside("apt-get", "install", "-y", "--download-only", *load["downloaded"])
        if load["sources"]:
            inside("apt-get", "source", "--download-only", *load["sources"])
        inside(
            "systemctl",
            "mask",
            "apt-daily.timer",
            "apt-daily-upgrade.timer",
            "serial-getty@ttyS0.service",
            "systemd-networkd-wait-online.service",
        )
        inside("systemctl", "enable", "recording.service")
    finally:
        run("umount", tree / "proc")
    (tree / "usr/sbin/policy-rc.d").unlink()
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
        f"{size}M",
    )


def boot(work, tree, image, memory, limit):
    """Runs the guest to its end; returns the start time and the steps as (name, time)."""
    socket, log = work / "nbd.sock", work / "nbd.log"
    server = subprocess.Popen(
        ["nbdkit", "-f", "-U", socket, "--filter=log", "file", image, f"logfile={log}"], env={**os.environ, "TZ": "UTC"}
    )
    while not socket.exists():
        if server.poll() is not None:
            sys.exit("nbdkit did not start")
        time.sleep(0.05)
    kernel, initrd = (max((tree / "boot").glob(p)) for p in ("vmlinuz-*", "initrd.img-*"))
    command = [
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
    ]
    start, steps, outcome = time.time(), [], None
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
    timer = threading.Timer(limit, machine.kill)
    timer.start()
    try:
        for line in machine.stdout:
            print(f"[{time.time() - start:7.1f}] {line.rstrip()}", file=sys.stderr, flush=True)
            word, _, name = line.strip().rpartition("@")[2].partition(" ")
            if word == "step":
                steps.append((name, time.time()))
            elif word in ("finished", "failed"):
                outcome = word
    finally:
        timer.cancel()
        machine.kill()
        machine.wait()
        server.terminate()
        server.wait()
    if outcome != "finished":
        sys.exit(f"the workload did not finish ({outcome or 'time limit or crash'})")
    return start, steps


def read_log(path, start):
    """The requests in nbdkit's log, sorted by time: (microseconds, op, offset, length)."""
    epoch, requests = datetime.datetime(1970, 1, 1), []
    with path.open() as lines:
        for match in filter(None, map(EVENT.match, lines)):
            when = datetime.datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S.%f") - epoch
            micros = when // datetime.timedelta(microseconds=1) - int(start * 1e6)
            requests.append((max(0, micros), OPS[match[2]], int(match[3], 16), int(match[4], 16)))
    return sorted(requests, key=lambda r: r[0])


def pages(offset, length):
    """The numbers of the pages that a request touches."""
    return range(offset // PAGE, (offset + length + PAGE - 1) // PAGE)


def lru(requests, capacity):
    """Hit ratios (of all accesses, of reads) of an LRU; reads and writes fill it, trims empty it."""
    cache, hits, total = collections.OrderedDict(), collections.Counter(), collections.Counter()
    for _, op, offset, length in requests:
        for page in pages(offset, length):
            if op == "trim":
                cache.pop(page, None)
                continue
            total[op] += 1
            if page in cache:
                hits[op] += 1
                cache.move_to_end(page)
            else:
                cache[page] = None
                if len(cache) > capacity:
                    cache.popitem(last=False)
    return round(hits.total() / total.total(), 4), round(hits["read"] / max(1, total["read"]), 4)


def describe(requests, start, steps):
    """The facts of a recording, for its JSON file."""
    counts, accesses, touched = collections.Counter(), collections.Counter(), set()
    for _, op, offset, length in requests:
        counts[op] += 1
        accesses[op] += len(pages(offset, length))
        if op != "trim":
            touched.update(pages(offset, length))
    ratios = {f"{p}%": lru(requests, len(touched) * p // 100) for p in (1, 5, 10)}
    return {
        "date": datetime.datetime.fromtimestamp(start, datetime.timezone.utc).isoformat(timespec="seconds"),
        "duration_us": requests[-1][0],
        "requests": len(requests),
        "requests_by_op": counts,
        "page_size": PAGE,
        "unique_pages": len(touched),
        "pages_by_op": accesses,
        "page_accesses": accesses["read"] + accesses["write"],
        "lru_hit_ratio": {p: both[0] for p, both in ratios.items()},
        "lru_hit_ratio_of_reads": {p: both[1] for p, both in ratios.items()},
        "steps": [{"name": "boot", "start_us": 0}]
        + [{"name": name, "start_us": int((when - start) * 1e6)} for name, when in steps],
    }


def main():
    """Records one workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the results (default: here)")
    parser.add_argument("--work", type=Path, help="folder for image and log (default: a new temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the image, tree and raw log in --work")
    parser.add_argument(
        "--memory",
        type=int,
        default=160,
        metavar="MB",
        help="the guest's memory: the less, the more it reads again (default: 160)",
    )
    parser.add_argument("--disk", type=int, default=4096, metavar="MB", help="the disk's size (default: 4096)")
    parser.add_argument(
        "--kernel", default="linux-image-cloud-amd64", metavar="PACKAGE", help="kernel package (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, default=2400, metavar="S", help="give up after this (default: 2400)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that the guest ends too
    if missing := [t for t in ("debootstrap", "qemu-system-x86_64", "nbdkit", "mke2fs") if not shutil.which(t)]:
        sys.exit("not installed: " + ", ".join(missing))
    if os.geteuid():
        sys.exit("building the guest needs root (debootstrap, chroot)")
    load = WORKLOADS[options.workload]
    options.out.mkdir(parents=True, exist_ok=True)
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="record_vm-", dir=options.work)).resolve()
    tree, image = work / "tree", work / "disk.img"
    try:
        build(tree, image, options.disk, options.kernel, load)
        start, steps = boot(work, tree, image, options.memory, options.limit)
        requests = read_log(work / "nbd.log", start)
        version = run("qemu-system-x86_64", "--version", stdout=subprocess.PIPE).stdout.split("\n")[0]
        facts = {
            "workload": options.workload,
            "device_bytes": image.stat().st_size,
            "guest_memory_mib": options.memory,
            "guest_cpus": 1,
            "guest_kernel": max((tree / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-"),
            "emulator": f"{version}, TCG, virtio-blk",
            **describe(requests, start, steps),
        }
    finally:
        if options.keep:
            print("kept", work, file=sys.stderr)
        else:
            shutil.rmtree(work)
    with (
        (options.out / f"{options.workload}.csv.gz").open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped,
    ):
        zipped.write(b"time_us,op,offset,length\n")
        zipped.writelines(b"%d,%s,%d,%d\n" % (t, op.encode(), at, n) for t, op, at, n in requests)
    (options.out / f"{options.workload}.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
