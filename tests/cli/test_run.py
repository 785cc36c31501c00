#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cvmm run with tiny guests on this machine's KVM: exit codes, consoles, signals, and the terminal in all of it."""
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

from cases import ISA, Bench, Skipped, check, need_kvm, run_cases

PATIENCE = 60

need_kvm()
bench = Bench(sys.argv[1])
guests = Path(sys.argv[2]).resolve()


def guest(name):
    path = guests / (name + (".elf" if ISA == "x86_64" else ".bin"))
    if not path.exists():
        raise Skipped(f"no guest {name} on {ISA}")
    return ("run", "--memory", "32", "--kernel", path)


def expect(run, status, stdout, stderr=""):
    check(run.returncode == status, f"expected exit status {status}", run)
    check(re.fullmatch(stdout, run.stdout.decode(), re.DOTALL), f"expected on stdout: {stdout}", run)
    check(re.fullmatch(stderr, run.stderr.decode(), re.DOTALL), f"expected on stderr: {stderr}", run)


# ---- endings ---------------------------------------------------------------------------------------------------------

def power_off():
    expect(bench.run(*guest("hello")), 0, r"hello\r?\n")


def reset():
    expect(bench.run(*guest("reset")), 3, r"boot 1\r?\n")


def restart():
    process = Machine(*guest("reset"), "--on-reset", "restart")
    process.await_output(b"boot 1")
    process.await_output(b"boot")
    check(process.stop_twice() == 5, "expected exit status 5")


def crash():
    expect(bench.run(*guest("triple")), 4, r"faulting\r?\n", r"cvmm: [^\n]*triple fault\n.*\brip .*last exits.*")


def verbose():
    run = bench.run(*guest("hello"), "-v")
    check(run.returncode == 0, "expected success", run)
    last = run.stderr.decode().splitlines()[-1]
    check(re.fullmatch(r"cvmm: the guest powered off after \d+\.\d+ s, \d+ exits, 0 restarts", last), "summary", run)


def little_memory():
    expect(bench.run(*guest("hello"), "--memory", "1"), 1, "", r"cvmm: [^\n]+\n")


def large_initrd():
    with open(bench.folder / "initrd", "wb") as file:
        file.truncate(64 << 20)
    expect(bench.run(*guest("hello"), "--initrd", "initrd"), 1, "", r"cvmm: initrd[^\n]+\n")


# ---- a machine that is talked to -------------------------------------------------------------------------------------

class Machine:
    """cvmm in the background: what it says, and signals to it."""

    def __init__(self, *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options):
        command = [bench.cvmm, *map(str, args)]
        self.process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=bench.folder,
                                        **options)
        self.output = self.process.stdout.fileno() if self.process.stdout else None
        self.seen = b""

    def await_output(self, words, source=None):
        """Read until @words have come; returns all up to and with them, and forgets it."""
        source = self.output if source is None else source
        end = time.monotonic() + PATIENCE
        while words not in self.seen:
            ready = select.select([source], [], [], max(0, end - time.monotonic()))[0]
            data = b""
            if ready:
                try:
                    data = os.read(source, 4096)
                except OSError:  # the other end of a terminal is gone
                    data = b""
            check(data, f"expected {words!r}, found {self.seen!r}")
            self.seen += data
        head, _, self.seen = self.seen.partition(words)
        return head + words

    def await_error(self, words):
        kept, self.seen = self.seen, b""
        found = self.await_output(words, self.process.stderr.fileno())
        self.seen = kept
        return found

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        return self.process.wait(PATIENCE)

    def is_pending(self, number):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE)[1], 16) >> (number - 1) & 1

    def stop_twice(self):
        self.signal(signal.SIGTERM)
        while self.is_pending(signal.SIGTERM):  # two pending signals of one kind are one
            time.sleep(0.001)
        self.signal(signal.SIGTERM)
        return self.end()


def power_button():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        machine = Machine(*guest("button"))
        machine.await_output(b"waiting")
        machine.signal(number)
        machine.await_output(b"pressed")
        check(machine.end() == 0, "expected exit status 0")
        check(machine.process.stderr.read() == b"", "expected silence")


def deaf_guest():
    for timeout in ("0", "1"):
        machine = Machine(*guest("halt"), "--shutdown-timeout", timeout)
        machine.await_output(b"halting")
        machine.signal(signal.SIGTERM)
        check(machine.end() == 5, "expected exit status 5")
        said = machine.process.stderr.read()
        check(said == (b"cvmm: the guest did not power off within 1 s and is stopped\n" if timeout == "1" else b""),
              f"expected it to be told, found {said!r}")


def second_signal():
    machine = Machine(*guest("halt"))
    machine.await_output(b"halting")
    check(machine.stop_twice() == 5, "expected exit status 5")


# ---- consoles --------------------------------------------------------------------------------------------------------

def pipes():
    """No escape where input is no terminal, and its end is not the guest's."""
    run = bench.run(*guest("echo"), stdin=None, input=b"ab\x01x\x01\x01.")
    expect(run, 0, "ready\r?\nAB\x01X\x01\x01")
    machine = Machine(*guest("halt"), stdin=subprocess.DEVNULL)
    machine.await_output(b"halting")
    check(machine.process.poll() is None, "expected the guest to outlive its input")
    check(machine.stop_twice() == 5, "expected exit status 5")


def to_file():
    expect(bench.run(*guest("hello"), "--console", "file=log"), 0, "")
    check(re.fullmatch(rb"hello\r?\n", (bench.folder / "log").read_bytes()), "expected the output in the file")
    expect(bench.run(*guest("hello"), "--console=none"), 0, "")
    expect(bench.run(*guest("hello"), "--console=file=nowhere/log"), 1, "", r"cvmm: console [^\n]+: No such file[^\n]+\n")


def full_disk():
    expect(bench.run(*guest("hello"), "--console", "file=/dev/full"), 1, "", r"cvmm: [^\n]*No space left[^\n]*\n")
    with open("/dev/full", "wb") as full:
        run = bench.run(*guest("hello"), stdout=full)
    check(run.returncode == 1, "expected exit status 1", run)
    check(re.fullmatch(rb"cvmm: [^\n]*No space left[^\n]*\n", run.stderr), "expected one line", run)


def to_pty():
    machine = Machine(*guest("echo"), "--console", "pty")
    found = re.fullmatch(rb"cvmm: console on (/dev/pts/\d+)\n", machine.await_error(b"\n"))
    check(found, "expected the terminal's name")
    terminal = os.open(found[1], os.O_RDWR | os.O_NOCTTY)
    machine.await_output(b"ready", terminal)
    os.write(terminal, b"hi")
    machine.await_output(b"HI", terminal)
    os.write(terminal, b".")
    check(machine.end() == 0, "expected exit status 0")
    os.close(terminal)


def to_socket():
    machine = Machine(*guest("echo"), "--console", "unix=socket")
    machine.await_error(b"cvmm: console on socket\n")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(bench.folder / "socket"))
        machine.await_output(b"ready", client.fileno())
        client.sendall(b"hi.")
        machine.await_output(b"HI", client.fileno())
    check(machine.end() == 0, "expected exit status 0")
    check(not (bench.folder / "socket").exists(), "expected the socket to be gone")
    for number in (signal.SIGTERM, signal.SIGQUIT):
        machine = Machine(*guest("halt"), "--console", "unix=socket", "--shutdown-timeout", "0")
        machine.await_error(b"socket\n")
        machine.signal(number)
        check(machine.end() == 5, "expected exit status 5")
        check(not (bench.folder / "socket").exists(), "expected the socket to be gone after signals")


# ---- the terminal ----------------------------------------------------------------------------------------------------

class Terminal(Machine):
    """cvmm as the foreground job of a terminal of its own; or as a job beside us, which may be stopped."""

    def __init__(self, *args, beside_us=False):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        how = {"process_group": 0} if beside_us else {
            "start_new_session": True, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
        super().__init__(*args, stdin=self.slave, stdout=self.slave, **how)
        self.output = self.master

    def type(self, keys):
        os.write(self.master, keys)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def await_raw(self, raw):
        end = time.monotonic() + PATIENCE
        while self.is_raw() != raw and time.monotonic() < end:
            time.sleep(0.01)
        check(self.is_raw() == raw, f"expected the terminal to be {'raw' if raw else 'as before'}")

    def check_restored(self):
        check(termios.tcgetattr(self.slave) == self.before, "expected the terminal as it was")
        os.close(self.master)
        os.close(self.slave)


def keys():
    terminal = Terminal(*guest("echo"))
    terminal.await_output(b"ready")
    check(terminal.is_raw(), "expected a raw terminal")
    terminal.type(b"a\x03\x1a\x1c")  # Ctrl-C, Ctrl-Z and Ctrl-\ are the guest's
    terminal.await_output(b"A\x03\x1a\x1c")
    terminal.type(b"\x01h")
    terminal.await_error(b"stop the machine")
    terminal.type(b"\x01\x01b")
    terminal.await_output(b"\x01B")
    terminal.type(b"\x01x")
    check(terminal.end() == 5, "expected exit status 5")
    terminal.check_restored()


def terminal_after_endings():
    for name, status in (("hello", 0), ("reset", 3), ("triple", 4)):
        try:
            terminal = Terminal(*guest(name))
        except Skipped:
            continue
        check(terminal.end() == status, f"expected exit status {status}")
        terminal.check_restored()
    terminal = Terminal(*guest("hello"), "--memory", "1")
    check(terminal.end() == 1, "expected exit status 1")
    terminal.check_restored()


def terminal_after_signals():
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGQUIT,
                   signal.SIGUSR1, signal.SIGXCPU):
        terminal = Terminal(*guest("halt"), "--shutdown-timeout", "0")
        terminal.await_output(b"halting")
        check(terminal.is_raw(), "expected a raw terminal")
        terminal.signal(number)
        status = terminal.end()
        if number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
            check(status == 5, f"{number!r}: expected exit status 5, found {status}")
        else:  # a sanitizer may report and exit in its own way
            check(status == -number or status > 0, f"{number!r}: expected death by it, found {status}")
        terminal.check_restored()


def stopped_and_continued():
    terminal = Terminal(*guest("echo"), beside_us=True)
    terminal.await_output(b"ready")
    for number in (signal.SIGTSTP, signal.SIGSTOP):
        terminal.signal(number)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        check(os.WIFSTOPPED(status) and os.WSTOPSIG(status) == number, "expected it to stop by the signal")
        if number == signal.SIGTSTP:
            check(not terminal.is_raw(), "expected the terminal as it was")
        termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)  # as a shell does
        terminal.signal(signal.SIGCONT)
        terminal.await_raw(True)
    terminal.type(b"a.")
    terminal.await_output(b"A")
    check(terminal.end() == 0, "expected exit status 0")
    terminal.check_restored()


def hang_up():
    """A guest whose terminal goes away can shut down in peace."""
    terminal = Terminal(*guest("button"))
    terminal.await_output(b"waiting")
    os.close(terminal.slave)
    os.close(terminal.master)
    check(terminal.end() == 0, "expected exit status 0")


def ignored_signals():
    """What nohup, or a shell without job control, has had ignored stays ignored."""
    for number in (signal.SIGHUP, signal.SIGINT):
        machine = Machine(*guest("echo"), "--shutdown-timeout", "0",
                          preexec_fn=lambda number=number: signal.signal(number, signal.SIG_IGN))
        machine.await_output(b"ready")
        machine.signal(number)
        machine.process.stdin.write(b"a")
        machine.process.stdin.flush()
        machine.await_output(b"A")
        check(machine.process.poll() is None, f"{number!r}: expected the guest to run on")
        machine.process.stdin.write(b".")
        machine.process.stdin.flush()
        check(machine.end() == 0, "expected exit status 0")


def background():
    """As a shell does it: the terminal goes to another job, something is typed for that one, and comes back."""
    master, slave = pty.openpty()
    ours, shells = socket.socketpair()
    shell = os.fork()
    if shell == 0:
        ours.close()
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        job = subprocess.Popen([bench.cvmm, *map(str, guest("echo"))], stdin=slave, stdout=slave, stderr=slave,
                               preexec_fn=lambda: (os.setpgid(0, 0), os.tcsetpgrp(0, os.getpid()),
                                                   signal.signal(signal.SIGTTOU, signal.SIG_DFL)))
        while command := shells.recv(1):
            os.tcsetpgrp(slave, job.pid if command == b"f" else os.getpid())
            shells.send(b"done")
        os._exit(job.wait())  # at the latest when the terminal goes away
    shells.close()
    os.close(slave)

    def give_terminal_to(whom):
        ours.send(whom)
        ours.recv(4)

    machine = Machine.__new__(Machine)
    machine.output, machine.seen = master, b""
    try:
        machine.await_output(b"ready\r\n")
        give_terminal_to(b"b")
        os.write(master, b"a")  # nobody reads it until the job is back
        check(not select.select([master], [], [], 0.5)[0], "expected silence in the background")
        give_terminal_to(b"f")
        machine.await_output(b"A")
        os.write(master, b".")
        ours.close()
        check(os.waitpid(shell, 0)[1] == 0, "expected exit status 0")
    finally:
        ours.close()
        os.close(master)


def stopped_where_nobody_continues():
    """An orphaned process group does not stop on SIGTSTP: there is no shell that would continue it."""
    machine = Machine(*guest("echo"), start_new_session=True)
    machine.await_output(b"ready")
    machine.signal(signal.SIGTSTP)
    machine.process.stdin.write(b"a.")
    machine.process.stdin.flush()
    machine.await_output(b"A")
    check(machine.end() == 0, "expected exit status 0")


def other_consoles_leave_the_terminal():
    terminal = Terminal(*guest("halt"), "--console", "file=log", "--shutdown-timeout", "0")
    end = time.monotonic() + PATIENCE
    while b"halting" not in ((bench.folder / "log").read_bytes() if (bench.folder / "log").exists() else b""):
        check(time.monotonic() < end, "expected output in the file")
        time.sleep(0.01)
    check(not terminal.is_raw(), "expected the terminal as it was")
    terminal.type(b"\x03")  # so Ctrl-C is a SIGINT
    check(terminal.end() == 5, "expected exit status 5")
    terminal.check_restored()


CASES = [
    ("guest powers off", power_off), ("guest resets", reset), ("guest is restarted", restart), ("guest crashes", crash),
    ("verbose", verbose), ("--memory 1", little_memory), ("initrd larger than memory", large_initrd),
    ("signals press the power button", power_button), ("guest that does not obey", deaf_guest),
    ("second signal", second_signal), ("pipes", pipes), ("console in a file", to_file), ("disk full", full_disk),
    ("console on a pty", to_pty), ("console on a socket", to_socket), ("keys", keys),
    ("terminal after endings", terminal_after_endings), ("terminal after signals", terminal_after_signals),
    ("stopped and continued", stopped_and_continued), ("terminal goes away", hang_up),
    ("ignored signals", ignored_signals), ("in the background", background),
    ("stopped where nobody continues", stopped_where_nobody_continues),
    ("other consoles leave the terminal", other_consoles_leave_the_terminal),
]

sys.exit(run_cases(CASES))
