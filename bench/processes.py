"""Whole processes, measured from the outside: seconds, and the memory of a process with all that it starts."""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path


def timed(command, cache=None):
    """(seconds, standard output) of a whole process."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(cache))
    seconds = time.perf_counter() - start
    if done.returncode:
        _failed(command, done.returncode, done.stderr)
    return seconds, done.stdout


def spread(values, form):
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


@dataclass
class Memory:
    """Peaks in MB. A page that two processes share is counted twice: the sums are bounds from above.

    `peak` is the greatest sum over the tree that a sample saw, `anonymous` the greatest sum without pages of files;
    `largest` is the greatest of any one process as the kernel counts it, which no sample can miss.
    """

    peak: float = 0.0
    anonymous: float = 0.0
    largest: float = 0.0
    samples: int = 0

    def add(self, statuses):
        self.peak = max(self.peak, sum(status.get("VmRSS", 0) for status in statuses) / 1024)
        self.anonymous = max(self.anonymous, sum(status.get("RssAnon", 0) for status in statuses) / 1024)
        self.largest = max([self.largest, *(status.get("VmHWM", 0) / 1024 for status in statuses)])
        self.samples += 1


def watched(command, cache=None, every=0.05):
    """(seconds, standard output, Memory) of a process with all its children, looked at every 50 ms; Linux alone."""
    if not Path("/proc/self/status").exists():
        sys.exit("The memory of a tree of processes is read from /proc, which this system does not have.")
    memory, done = Memory(), threading.Event()
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment(cache))
        sampler = threading.Thread(target=_sample, args=(process.pid, memory, done, every))
        sampler.start()
        try:
            out, _ = process.communicate()
        finally:
            done.set()
            sampler.join()
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            _failed(command, process.returncode, errors.read())
    return seconds, out, memory


def _sample(root, memory, done, every):
    family = {root}
    while not done.wait(every):
        parents = _parents()
        grown = True
        while grown:  # a child whose parent has gone stays in the family
            new = {pid for pid, parent in parents.items() if parent in family} - family
            family |= new
            grown = bool(new)
        family &= {root, *parents}
        memory.add([_status(pid) for pid in family])


def _parents():
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it has just ended
                continue
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def _status(pid):
    """The lines in kB of a process's status; none where it has just ended."""
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


def _environment(cache):
    return dict(os.environ) if cache is None else {**os.environ, "HEADSTART_CACHE": str(cache)}


def _failed(command, status, errors):
    sys.exit(f"{' '.join(map(str, command))} ended with {status}:\n{errors[-2000:]}")
