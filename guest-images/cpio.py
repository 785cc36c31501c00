# SPDX-License-Identifier: Apache-2.0
"""A writer for initramfs archives (cpio "newc"; Linux, Documentation/driver-api/early-userspace/buffer-format.rst).

The same input gives the same bytes: no times, no users, inode numbers in order. Nothing needs root, device nodes
included, since they are only entries here.
"""
import stat

TRAILER = "TRAILER!!!"


def padding(length):
    return b"\0" * (-length % 4)


class Cpio:
    """Collects entries; folders above an entry are made as needed."""

    def __init__(self):
        self.parts = []
        self.folders = set()
        self.inode = 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.add_parents(name)
        self.inode += 1
        self.parts.append(self.entry(name, self.inode, mode, data, device))

    def add_parents(self, name):
        folder = name.rpartition("/")[0]
        if folder and folder not in self.folders:
            self.folder(folder)

    @staticmethod
    def entry(name, inode, mode, data, device=(0, 0)):
        path = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        return header + padding(len(header)) + data + padding(len(data))

    def folder(self, name, mode=0o755):
        if name not in self.folders:
            self.folders.add(name)
            self.add(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode=0o644):
        self.add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name, major, minor, mode=0o600):
        self.add(name, stat.S_IFCHR | mode, device=(major, minor))

    def bytes(self):
        return b"".join(self.parts) + self.entry(TRAILER, 0, 0, b"")
