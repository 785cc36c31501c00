# SPDX-License-Identifier: Apache-2.0
"""An emulated KVM host: QEMU without KVM, Debian's kernel with KVM, host-init.c as process 1, one command in it.

Nothing of a run has a name in a file system: the sockets to QEMU are socket pairs, the payload disk and the host's log
are unlinked files, and QEMU goes with this process. What is worth keeping, the host's initramfs and its saved state,
lies in the cache under a key made of all that went into it.
"""
import ctypes
import json
import os
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty
from dataclasses import dataclass, replace
from pathlib import Path

import images
from images import Failure

HERE = Path(__file__).resolve().parent
DISK_MIB = 2048             # of the payload disk; a saved state fits only a disk of the size it was saved with
FRAME_MAX = 4096
COLD_START_SECONDS = 300    # many times what it takes on an idle machine
RESTORE_SECONDS = 90
SETTLE_SECONDS = 1.5        # between a host's being ready and the saving of its state: its kernel finishes starting
KEPT_HOSTS = 4
LOG_TAIL_LINES = 40

COMMON_CMDLINE = ("quiet panic=-1 mitigations=off audit=0 apparmor=0 cryptomgr.notests random.trust_cpu=on "
                  "init_on_alloc=0 rdinit=/init")


@dataclass(frozen=True)
class Machine:
    """The emulated machine; why it is this one: README.md."""
    qemu: str
    args: tuple
    kernel: str   # which of the guest images the host itself boots
    cmdline: str
    modules: tuple


MACHINES = {
    "x86_64": Machine(
        "qemu-system-x86_64",
        ("-M", "q35", "-accel", "tcg", "-cpu", "EPYC-v3,+svm,+npt,+nrip-save,-xsave", "-smp", "1", "-m", "1280"),
        "vmlinux", "console=ttyS0 no_timer_check tsc=reliable " + COMMON_CMDLINE,
        ("kvm_amd", "virtio_pci", "virtio_blk", "virtio_console", "ext4")),
    "aarch64": Machine(
        "qemu-system-aarch64",
        ("-M", "virt,virtualization=on,gic-version=3", "-accel", "tcg,thread=multi", "-cpu", "max,pauth=off",
         "-smp", "1", "-m", "1536"),
        "kernel", "console=ttyAMA0 " + COMMON_CMDLINE,
        ("virtio_pci", "virtio_blk", "virtio_console", "ext4")),
}

MACHINES["aarch64-gicv2"] = replace(MACHINES["aarch64"], args=tuple(
    arg.replace("gic-version=3", "gic-version=2") for arg in MACHINES["aarch64"].args))


def die_with_parent():
    """For a child about to exec: end when the parent does, however it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Qemu:
    """A QEMU process, its monitor, and the port on which host-init talks."""

    def __init__(self, machine, args, disk):
        self.log = tempfile.TemporaryFile(prefix="cvmm-host.")
        self.port, port = socket.socketpair()
        self.monitor, monitor = socket.socketpair()
        self.replies = None
        passed = (port.fileno(), monitor.fileno(), disk.fileno())
        command = [
            machine.qemu, *machine.args, "-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio",
            "-drive", f"file=/proc/self/fd/{disk.fileno()},if=none,id=payload,format=raw,cache=unsafe",
            "-device", "virtio-blk-pci,drive=payload",
            "-chardev", f"socket,id=port,fd={port.fileno()}", "-device", "virtio-serial-pci",
            "-device", "virtserialport,chardev=port,name=cvmm.host",
            "-chardev", f"socket,id=monitor,fd={monitor.fileno()}", "-mon", "chardev=monitor,mode=control", *args]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                            pass_fds=passed, preexec_fn=die_with_parent, start_new_session=True)
        except FileNotFoundError:
            raise Failure(f"{machine.qemu}: not installed") from None
        port.close()
        monitor.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        for part in (self.port, self.monitor, self.log):
            part.close()

    def command(self, name, **arguments):
        """A QMP command and its answer; events in between are of no interest."""
        if self.replies is None:
            self.replies = self.monitor.makefile("r", encoding="utf-8")
            self.replies.readline()
            self.command("qmp_capabilities")
        self.monitor.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while line := self.replies.readline():
            reply = json.loads(line)
            if "error" in reply:
                raise Failure(f"QEMU: {name}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]
        raise Failure(f"QEMU: {name}: no answer")

    def save(self, path):
        self.command("migrate-set-parameters", **{"max-bandwidth": 8 << 30})
        self.command("migrate", uri=f"exec:cat > {shlex.quote(str(path))}")
        while (status := self.command("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise Failure("QEMU: the host's state cannot be saved")
            time.sleep(0.1)

    def log_tail(self):
        """The last of what QEMU and the host's kernel said, without what QEMU says about every start."""
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").replace("\r", "").splitlines()
        told = [line for line in lines if "TCG doesn't support requested feature" not in line]
        return "\n".join("  | " + line for line in told[-LOG_TAIL_LINES:])


class Frames:
    """host-init's protocol over the port: a type, a length, the data."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)
        self.incoming = b""
        self.outgoing = b""

    def put(self, kind, data=b""):
        self.outgoing += struct.pack("<BH", ord(kind), len(data)) + data

    def flush(self):
        """Write what the socket takes."""
        try:
            self.outgoing = self.outgoing[self.sock.send(self.outgoing):]
        except BlockingIOError:
            pass

    def receive(self):
        """Read what is there. Raises EOFError when QEMU is gone."""
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError
        self.incoming += data

    def take(self):
        """The next frame, (type, data), of what was read; None if there is no whole one."""
        if len(self.incoming) < 3:
            return None
        kind, length = struct.unpack_from("<BH", self.incoming)
        if len(self.incoming) < 3 + length:
            return None
        frame = chr(kind), self.incoming[3:3 + length]
        self.incoming = self.incoming[3 + length:]
        return frame

    def wait_for(self, wanted, seconds):
        """Until that frame comes; False when it does not in time, or QEMU ends first. What follows it stays."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            readable, writable, _ = select.select([self.sock], [self.sock] if self.outgoing else [], [], left)
            if writable:
                self.flush()
            try:
                if readable:
                    self.receive()
            except EOFError:
                return False
            while frame := self.take():
                if frame[0] == wanted:
                    return True
        return False


class Host:
    """What is needed to start one architecture's host, and the cached parts of it."""

    def __init__(self, arch, machine, say):
        self.say = say
        self.arch = images.ARCHES[arch]
        self.machine = MACHINES[machine]
        self.images = images.make_images(self.arch)
        version = images.run([self.machine.qemu, "--version"])
        sources = [HERE / "host-init.c", HERE / "emulated.py", images.HERE / "cpio.py", images.HERE / "images.py"]
        key = images.digest(version, self.images.package, repr(self.machine), *sources)
        self.folder = images.cache_root() / "hosts" / arch / key
        self.initrd = self.folder / "initrd"
        self.state = self.folder / "state"

    def prepare(self):
        """Make what the cache lacks. Others that want the same wait for it."""
        with images.locked(self.folder.parent / "lock"):
            self.folder.mkdir(exist_ok=True)
            os.utime(self.folder)
            images.prune(self.folder.parent, "?" * len(self.folder.name), KEPT_HOSTS)
            if not self.initrd.exists():
                images.write_file(self.initrd, self.make_initrd())
            if not self.state.exists():
                self.save_state()

    def make_initrd(self):
        archive = images.base_archive(self.arch, HERE / "host-init.c", images.busybox_path(self.arch))
        images.add_modules(archive, {"host": self.images.tree.modules(self.machine.modules)})
        for path in self.images.files:
            if path.name != "initrd":  # that one changes with the agent: it comes with the payload
                archive.file(f"g/{path.name}", path.read_bytes())
        return archive.bytes()

    def save_state(self):
        self.say("starting it, to keep its state for later runs")
        partial = self.folder / "state.partial"
        with tempfile.TemporaryFile(prefix="cvmm-payload.") as disk:
            disk.truncate(DISK_MIB << 20)
            with self.start(disk, self.cold_args()) as qemu:
                if not Frames(qemu.port).wait_for("r", COLD_START_SECONDS):
                    raise Failure(f"the emulated {self.arch.name} host does not start:\n{qemu.log_tail()}")
                time.sleep(SETTLE_SECONDS)
                qemu.save(partial)
        os.rename(partial, self.state)

    def start(self, disk, args):
        return Qemu(self.machine, args, disk)

    def cold_args(self):
        kernel = self.images.folder / self.machine.kernel
        return ["-kernel", str(kernel), "-initrd", str(self.initrd), "-append", self.machine.cmdline]

    def warm_args(self):
        return [*self.cold_args(), "-incoming", f"exec:cat {shlex.quote(str(self.state))}"]


def make_payload(entries, command):
    """The payload disk, an unlinked file: entries (name, path or Link) and the command as a script."""
    disk = tempfile.TemporaryFile(prefix="cvmm-payload.")
    with tempfile.TemporaryDirectory(prefix="cvmm-payload.") as tmp:
        for name, source in entries:
            path = Path(tmp) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, Link):
                path.symlink_to(source.target)
            else:
                images.run(["cp", "-RL", "--preserve=mode", "--sparse=always", str(source), str(path)])
        (Path(tmp) / ".command").write_text(f"exec {shlex.join(command)}\n", encoding="utf-8")
        os.chmod(tmp, 0o755)
        images.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0", "-E", "root_owner=0:0", "-d", tmp,
                    f"/proc/{os.getpid()}/fd/{disk.fileno()}", f"{DISK_MIB}M"])
    return disk


@dataclass(frozen=True)
class Link:
    target: str


class Relay:
    """The command under way: its streams to and from ours, until its exit status comes."""

    def __init__(self, frames, terminal):
        self.frames = frames
        self.terminal = terminal
        self.input_open = True
        self.status = None

    def run(self, seconds):
        """The command's exit status; None when it takes longer. Raises EOFError when QEMU ends."""
        saved = termios.tcgetattr(0) if self.terminal else None
        deadline = time.monotonic() + seconds if seconds else None
        try:
            if self.terminal:
                tty.setraw(0)
            self.take_frames()
            while self.status is None and (deadline is None or time.monotonic() < deadline):
                self.turn(deadline)
        finally:
            if saved:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
        return self.status

    def turn(self, deadline):
        reading = [self.frames.sock]
        if self.input_open and len(self.frames.outgoing) < FRAME_MAX:
            reading.append(0)
        writing = [self.frames.sock] if self.frames.outgoing else []
        left = max(0, deadline - time.monotonic()) if deadline else None
        readable, writable, _ = select.select(reading, writing, [], left)
        if 0 in readable:
            self.take_input()
        if writable:
            self.frames.flush()
        if self.frames.sock in readable:
            self.frames.receive()
            self.take_frames()

    def take_input(self):
        data = os.read(0, FRAME_MAX)
        self.input_open = bool(data)
        self.frames.put("i" if data else "e", data)

    def take_frames(self):
        while frame := self.frames.take():
            kind, data = frame
            if kind in "oE":
                write_all(1 if kind == "o" else 2, data)
            elif kind == "x":
                self.status = struct.unpack("<i", data)[0]


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def start_command(host, qemu, terminal, seconds):
    """Tell host-init to start; the frames if it does."""
    frames = Frames(qemu.port)
    frames.put("g", struct.pack("<cQ", b"t" if terminal else b"p", int(time.time())))
    return frames if frames.wait_for("s", seconds) else None


def run_in(host, qemu, seconds_to_start, terminal, timeout):
    """The command's exit status, or None if the host did not get as far as starting it."""
    started = time.monotonic()
    frames = start_command(host, qemu, terminal, seconds_to_start)
    if not frames:
        return None
    host.say(f"ready after {time.monotonic() - started:.1f} s")
    try:
        status = Relay(frames, terminal).run(timeout)
    except EOFError:
        raise Failure(f"the emulated host ended before the command did:\n{qemu.log_tail()}") from None
    if status is None:
        print(f"tests/hosts/run: the command was stopped after {timeout:g} s; the host's last lines:\n{qemu.log_tail()}",
              file=sys.stderr)
        return 124
    return status


def run(arch, machine, entries, command, timeout, say):
    """Run the command in an emulated host of the architecture: from its saved state, or else from a cold start."""
    host = Host(arch, machine, say)
    host.prepare()
    terminal = os.isatty(0) and os.isatty(1)
    guest_files = [(path.name, Link(f"/g/{path.name}")) for path in host.images.files if path.name != "initrd"]
    entries = [*guest_files, ("initrd", host.images.folder / "initrd"), *entries]
    with make_payload(entries, command) as disk:
        with host.start(disk, host.warm_args()) as qemu:
            status = run_in(host, qemu, RESTORE_SECONDS, terminal, timeout)
            log = qemu.log_tail()
        if status is not None:
            return status
        say("its saved state does not work; starting it anew\n" + log)
        host.state.unlink(missing_ok=True)
        with host.start(disk, host.cold_args()) as qemu:
            status = run_in(host, qemu, COLD_START_SECONDS, terminal, timeout)
            if status is None:
                raise Failure(f"the emulated {arch} host does not start:\n{qemu.log_tail()}")
            return status
