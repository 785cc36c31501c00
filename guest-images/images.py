# SPDX-License-Identifier: Apache-2.0
"""What guests and emulated hosts are made of: Debian's kernels and busybox, and our own small programs."""
import hashlib
import importlib.machinery
import importlib.util
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cpio import Cpio

HERE = Path(__file__).resolve().parent
TOP = HERE.parent


def load_script(name, path):
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


fetcher = load_script("debian_fetch", TOP / "scripts" / "debian-fetch")
Failure, locked, run, cache_root = fetcher.Failure, fetcher.locked, fetcher.run, fetcher.cache_root

RECHECK_SECONDS = 24 * 3600  # how long images are used before Debian is asked for newer packages
KEPT_VERSIONS = 4            # how many image folders, of other sources or kernels, stay in the cache
KEPT_KERNELS = 3             # and how many unpacked kernel packages


@dataclass(frozen=True)
class Arch:
    """What differs between the architectures."""
    name: str
    debian: str
    button: tuple  # modules by which the guest hears its power button


ARCHES = {arch.name: arch for arch in (
    Arch("x86_64", "amd64", button=("evdev", "button")),
    Arch("aarch64", "arm64", button=("evdev", "virtio_mmio", "virtio_input")),
)}

DEVICES = ("virtio_mmio", "virtio_rng", "virtio_blk")  # for cvmm's --rng and --disk


# ---- packages ---------------------------------------------------------------------------------------------------

def debian_fetch(*words):
    return subprocess.run([TOP / "scripts" / "debian-fetch", *words], stdout=subprocess.PIPE, text=True, check=False)


def fetch_package(arch, package):
    """The folder that holds the package, unpacked."""
    dest = cache_root() / "packages" / arch.name / package
    if debian_fetch(arch.name, str(dest), package).returncode:
        raise Failure(f"cannot fetch {package} for {arch.name}")
    return dest


def kernel_package(arch):
    """The newest signed 6.12 cloud kernel that apt offers, or CVMM_GUEST_KERNEL ("6.12.117+deb12") if that is set."""
    pin = os.environ.get("CVMM_GUEST_KERNEL")
    if pin:
        return f"linux-image-{pin}-cloud-{arch.debian}"
    meta = f"linux-image-6.12-cloud-{arch.debian}"
    shown = debian_fetch("--show", arch.name, meta)
    found = re.search(rf"^Depends:.*?\b(linux-image-\S+-cloud-{arch.debian})\b", shown.stdout, re.MULTILINE)
    if shown.returncode or not found:
        raise Failure(f"{meta}: apt does not say which kernel that is")
    return found.group(1)


class KernelTree:
    """An unpacked linux-image package."""

    def __init__(self, root):
        self.root = root
        self.image = next((root / "boot").glob("vmlinuz-*"))
        self.release = self.image.name.removeprefix("vmlinuz-")
        self.folder = next(path for path in (root / "usr/lib/modules", root / "lib/modules") if path.is_dir())
        self.paths = {module_name(path.name): path for path in self.folder.rglob("*.ko*")}
        builtin = (self.folder / self.release / "modules.builtin").read_text(encoding="ascii")
        self.builtin = {module_name(Path(line).name) for line in builtin.split()}

    def modules(self, names, taken=None):
        """(name, bytes) of each module and of what it depends on, in loading order; built-in ones are left out."""
        taken = set() if taken is None else taken
        for name in map(module_name, names):
            if name in taken or name in self.builtin:
                continue
            taken.add(name)
            if name not in self.paths:
                raise Failure(f"kernel {self.release}: no module {name}")
            data = self.read(self.paths[name])
            yield from self.modules(module_depends(data), taken)
            yield name, data

    @staticmethod
    def read(path):
        data = path.read_bytes()
        return lzma.decompress(data) if path.suffix == ".xz" else data


def module_name(file_name):
    """modprobe's rule: file names and names in code mix "-" and "_"."""
    return file_name.split(".ko")[0].replace("-", "_")


def module_depends(data):
    """From .modinfo, which is where depmod, run only when a package is installed, has it from."""
    found = re.search(rb"\0depends=([^\0]*)\0", data)
    return found.group(1).decode().split(",") if found and found.group(1) else []


DECOMPRESS = {
    b"\x28\xb5\x2f\xfd": ["zstd", "-dcq"],
    b"\x1f\x8b": ["gzip", "-dcq"],
    b"\xfd7zX": ["xz", "-dcq", "--single-stream"],
    b"\x02\x21\x4c\x18": ["lz4", "-dcq"],
}


def extract_vmlinux(image):
    """The ELF kernel inside a bzImage: payload_offset and payload_length of the x86 boot protocol, 2.08 and later."""
    setup_sects = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sects + 1) * 512 + offset
    payload = image[start:start + length - 4]  # the last word is the unpacked size
    for magic, tool in DECOMPRESS.items():
        if payload.startswith(magic):
            vmlinux = subprocess.run(tool, input=payload, stdout=subprocess.PIPE, check=True).stdout
            if vmlinux.startswith(b"\x7fELF"):
                return vmlinux
    raise Failure("kernel: not a bzImage with an ELF file inside")


# ---- programs and archives --------------------------------------------------------------------------------------

CFLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Wno-unused-parameter", "-Os", "-static", "-s",
          "-ffunction-sections", "-Wl,--gc-sections"]


def compiler(arch):
    return "gcc" if arch.name == os.uname().machine else f"{arch.name}-linux-gnu-gcc"


def compile_static(arch, source):
    """A small static program of the architecture, as bytes."""
    with tempfile.TemporaryDirectory(prefix="cvmm-cc.") as tmp:
        out = Path(tmp) / "out"
        command = [compiler(arch), *CFLAGS, "-o", str(out), str(source)]
        if subprocess.run(command, stdout=2, check=False).returncode:
            raise Failure(f"{source.name}: {command[0]} failed")
        return out.read_bytes()


def base_archive(arch, init, busybox):
    """What every initramfs here starts from: /init, busybox and mount points."""
    archive = Cpio()
    for folder in ("dev", "proc", "sys", "tmp", "run", "root", "bin"):
        archive.folder(folder)
    archive.node("dev/console", 5, 1)
    archive.file("init", compile_static(arch, init), 0o755)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.link("bin/sh", "busybox")
    archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.file("etc/group", b"root:x:0:\n")
    return archive


def add_modules(archive, groups):
    """Modules by purpose: the files, and for each group their names in loading order in modules/GROUP."""
    files = {}
    for group, modules in groups.items():
        names = []
        for name, data in modules:
            names.append(name)
            files[name] = data
        archive.file(f"modules/{group}", "".join(f"{name}\n" for name in names).encode())
    for name, data in files.items():
        archive.file(f"modules/{name}.ko", data)


def guest_initrd(arch, tree, busybox):
    archive = base_archive(arch, HERE / "agent.c", busybox)
    add_modules(archive, {"button": tree.modules(arch.button), "devices": tree.modules(DEVICES)})
    return archive.bytes()


# ---- the folder of images ---------------------------------------------------------------------------------------

def digest(*parts):
    """A short name for these inputs (strings, bytes or files)."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:16]


def write_file(path, data):
    """Written beside it, then renamed, so that nobody reads a part."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as tmp:
        try:
            tmp.write(data)
            tmp.flush()
            os.chmod(tmp.name, 0o644)
            os.rename(tmp.name, path)
        except BaseException:
            os.unlink(tmp.name)
            raise


def prune(folder, pattern, keep):
    """Remove all but the newest entries; whoever uses an entry touches it."""
    entries = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[keep:]:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


@dataclass(frozen=True)
class Images:
    """The folder of one architecture's guest images: kernel, vmlinux (x86_64) and initrd."""
    folder: Path
    package: str

    @property
    def tree(self):
        arch = ARCHES[self.folder.parent.name]
        return KernelTree(cache_root() / "packages" / arch.name / self.package)

    @property
    def files(self):
        return [path for path in sorted(self.folder.iterdir()) if path.name in ("kernel", "vmlinux", "initrd")]


def fresh(stamp):
    """Whether the images were complete, and compared with what Debian offers, within the last day."""
    return stamp.exists() and time.time() - stamp.stat().st_mtime < RECHECK_SECONDS


def build(arch, folder, package):
    root = fetch_package(arch, package)
    os.utime(root)
    prune(root.parent, "linux-image-*", KEPT_KERNELS)
    tree = KernelTree(root)
    image = tree.image.read_bytes()
    write_file(folder / "initrd", guest_initrd(arch, tree, busybox_path(arch)))
    if arch.name == "x86_64":
        write_file(folder / "vmlinux", extract_vmlinux(image))
    write_file(folder / "kernel", image)


def busybox_path(arch):
    return fetch_package(arch, "busybox-static") / "bin/busybox"


def make_images(arch):
    """Bring the images of these sources up to date; returns where they are. Costs nothing if they are."""
    sources = [HERE / name for name in ("agent.c", "cpio.py", "images.py")]
    key = digest(arch.name, os.environ.get("CVMM_GUEST_KERNEL", ""), compiler(arch), *sources)
    folder = cache_root() / "guest-images" / arch.name / key
    stamp = folder / "package"
    with locked(folder.parent / "lock"):
        if not fresh(stamp):
            folder.mkdir(exist_ok=True)
            package = kernel_package(arch)
            if not stamp.exists() or stamp.read_text(encoding="ascii") != package:
                stamp.unlink(missing_ok=True)
                build(arch, folder, package)
            write_file(stamp, package.encode())
            prune(folder.parent, "?" * len(key), KEPT_VERSIONS)
    return Images(folder, stamp.read_text(encoding="ascii"))
