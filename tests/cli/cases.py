# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: kernels made from bytes, one run of cvmm, and results as TAP."""
import atexit
import contextlib
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ISA = platform.machine()
EM_X86_64, EM_AARCH64 = 62, 183
LOAD_ADDRESS = 0x1000000


def elf(machine, code=b"\xf4"):
    """A static ELF executable of one segment, entered at its first byte."""
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, machine, 1, LOAD_ADDRESS, 64, 0, 0, 64,
                         56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 4096, LOAD_ADDRESS, LOAD_ADDRESS, len(code), len(code), 4096)
    return (header + segment).ljust(4096, b"\0") + code


def arm64_image(code=b"\x00\x00\x00\x14"):
    """An arm64 Image that branches over its header to @code (by default to itself)."""
    branch = 0x14000000 | 64 // 4
    return struct.pack("<IIQQQQQQII", branch, 0, 0, 0x10000, 0xA, 0, 0, 0, 0x644D5241, 0) + code


OWN_KERNEL, OTHER_KERNEL = (elf(EM_X86_64), arm64_image()) if ISA == "x86_64" else (arm64_image(), elf(EM_X86_64))


class Failed(Exception):
    """A case that did not go as it should."""


class Skipped(Exception):
    """A case that this machine cannot run."""


def need_kvm():
    """Skip the whole program where /dev/kvm cannot be used at all."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as why:
        print(f"1..0 # SKIP /dev/kvm: {why.strerror}")
        sys.exit(0)


def check(good, what, run=None):
    if not good:
        raise Failed(what + (f"\n  exit {run.returncode}\n  stdout {run.stdout!r}\n  stderr {run.stderr!r}" if run else ""))


class Bench:
    """A folder that goes away, and cvmm to be run in it."""

    def __init__(self, cvmm):
        self.folder = Path(tempfile.mkdtemp(prefix="cvmm-cli-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.cvmm = Path(cvmm).resolve()

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def run(self, *args, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60,
                   "cwd": self.folder, "check": False} | options
        return subprocess.run([options.pop("cvmm", self.cvmm), *map(str, args)], **options)

    def shell(self, script, **options):
        """@script with $cvmm, for what only a shell's redirections can do."""
        return subprocess.run(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.PIPE, timeout=60, cwd=self.folder,
                              env=os.environ | {"cvmm": str(self.cvmm)}, **options)

    def anyone(self):
        """A copy of cvmm that any user can run, wherever the build folder is."""
        copy = self.folder / "cvmm"
        if not copy.exists():
            shutil.copy(self.cvmm, copy)
            copy.chmod(0o755)
        return copy


def run_cases(cases):
    """Run (name, function) pairs; prints TAP and returns the exit status."""
    failed = 0
    print(f"1..{len(cases)}")
    for number, (name, function) in enumerate(cases, 1):
        try:
            function()
            print(f"ok {number} - {name}")
        except Skipped as reason:
            print(f"ok {number} - {name} # SKIP {reason}")
        except (Failed, subprocess.TimeoutExpired, OSError, AssertionError) as why:
            failed += 1
            print(f"not ok {number} - {name}")
            with contextlib.suppress(UnicodeError):
                print("\n".join("# " + line for line in (str(why) or traceback.format_exc()).splitlines()))
    return 1 if failed else 0
