#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cvmm run where one call to the system fails, each in its turn: it says so in one line, and leaves nothing behind."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from cases import ISA, Bench, check, need_kvm, run_cases

PATIENCE = 60
RESTARTS = 3

need_kvm()
bench = Bench(sys.argv[1])
guests = Path(sys.argv[2]).resolve()


class Run:
    """One run in which call number @fault fails; 0: none."""

    def __init__(self, fault, guest, *args):
        kernel = guests / (guest + (".elf" if ISA == "x86_64" else ".bin"))
        ours, report = os.pipe()
        self.process = subprocess.Popen(
            [bench.cvmm, "run", "--memory", "32", "--cpus", "2", "--kernel", kernel, *args], cwd=bench.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[report],
            env=os.environ | {"CVMM_FAULT": str(fault), "CVMM_FAULT_REPORT": str(report)})
        os.close(report)
        if guest == "reset":
            self.stop_after_restarts()
        self.stdout, self.stderr = self.process.communicate(timeout=PATIENCE)
        self.returncode = self.process.returncode
        with open(ours, encoding="ascii") as file:
            words = file.read().split() or ["0", "nothing", "0", "0"]
        self.calls, self.failed, self.fds, self.threads = int(words[0]), words[1], int(words[2]), int(words[3])

    def stop_after_restarts(self):
        for _ in range(RESTARTS):
            self.process.stdout.readline()
        self.process.send_signal(signal.SIGTERM)


def is_well_told(run):
    """What each exit status comes with on stderr, beside the console's name."""
    lines = [line for line in run.stderr.decode().splitlines() if not line.startswith("cvmm: console on ")]
    if run.returncode == 1:
        return len(lines) == 1 and re.fullmatch("cvmm: .+", lines[0])
    if run.returncode == 4:  # the guest cannot run on
        return run.failed == "ioctl" and re.fullmatch(r"cvmm: guest crashed: vCPU \d: KVM_RUN: .+", lines[0])
    if lines and run.failed == "ioctl":  # the guest missed an interrupt
        return re.fullmatch(r"cvmm: error: irq \d+: KVM_IRQ_LINE: .+", "".join(lines))
    return run.returncode in (0, 5) and not lines


def examine(guest, args, faults):
    number = faults.start
    while number < faults.stop:
        run = Run(number, guest, *args)
        what = f"call {number}, {run.failed}: "
        check(run.calls, what + "expected an orderly end", run)
        if run.failed == "nothing":
            break
        check(is_well_told(run), what + "expected one line, or success", run)
        check(run.fds == 0 and run.threads <= whole.threads, what + f"{run.fds} descriptors, {run.threads} threads at the end", run)
        check(not (bench.folder / "socket").exists(), what + "expected the socket to be gone", run)
        number += 1
    check(number >= faults.start + 20, "expected calls to fail", run)


def faults(guest, *args, among=range(1, 10000)):
    return lambda: examine(guest, args, among)


def without_a_fault():
    check(whole.returncode == 0 and re.fullmatch(rb"hello\r?\n", whole.stdout), "expected success", whole)
    check(whole.fds == 0 and whole.threads <= 2, f"{whole.fds} descriptors, {whole.threads} threads at the end", whole)


whole = Run(0, "hello")  # a sanitizer may have a thread of its own
OPENING = range(8, 34)  # what depends on the console comes early
CASES = [
    ("without a fault", without_a_fault),
    ("restarts", faults("reset", "--on-reset", "restart", "--shutdown-timeout", "0")),
    ("console in a file", faults("hello", "--console", "file=log", among=OPENING)),
    ("console on a socket", faults("hello", "--console", "unix=socket", among=OPENING)),
    ("console on a pty", faults("hello", "--console", "pty", among=OPENING)),
]

sys.exit(run_cases(CASES))
