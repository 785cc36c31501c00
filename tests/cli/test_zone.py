#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cvmm zone: zoned files made, shown, changed; what is wrong usage, what is a damaged file."""
import fcntl
import json
import os
import re
import struct
import sys
import zlib

from cases import Bench, check, run_cases

bench = Bench(sys.argv[1])
F_OFD_SETLK = 37
ZONE = 1 << 20
FORMAT = ("zone", "format", "--size", "10M", "--zone-size", "1M")

bench.file("text", b"this is no zoned file\n" * 1024)
bench.file("empty", b"")


def zone(*arguments, status=0):
    run = bench.run("zone", *arguments)
    check(run.returncode == status, f"{arguments}: expected exit status {status}", run)
    check(not run.stderr if status == 0 else not run.stdout, f"{arguments}: expected one stream", run)
    return run


def report(name, *arguments):
    return json.loads(zone("report", "--json", *arguments, name).stdout)


def made(name, *arguments):
    zone("format", "--size", "10M", "--zone-size", "1M", *arguments, name)
    return name


def states(name):
    return [one["state"] for one in report(name)["zones"]]


# name: arguments, exit status, the one line on stderr after "cvmm: " (a regular expression)
ONE_LINE = {
    "no action": (("zone",), 2, r"zone: no action given: .*"),
    "unknown action": (("zone", "frob", "f"), 2, r'unknown action "frob"; see "cvmm zone --help"'),
    "no file": (("zone", "report"), 2, r'zone report: no file given; see "cvmm zone --help"'),
    "two files": (("zone", "report", "a", "b"), 2, r'unexpected argument "b"; .*'),
    "no size": (("zone", "format", "new"), 2, r"format needs --size; .*"),
    "size in words": (("zone", "format", "--size=much", "new"), 2, r'--size: expected a size .*, found "much"'),
    "size beyond all": (("zone", "format", "--size=99999999999999T", "new"), 2, r"--size: expected a size .*"),
    "size with two units": (("zone", "format", "--size=1GG", "new"), 2, r"--size: expected a size .*"),
    "no such model": ((*FORMAT, "--model=drive-managed", "new"), 2,
                      r'--model: expected one of host-managed\|host-aware, found "drive-managed"'),
    "part of a model": ((*FORMAT, "--model=host", "new"), 2, r"--model: .*"),
    "no such block size": ((*FORMAT, "--block-size=1024", "new"), 2, r"--block-size: .*"),
    "too large an append": ((*FORMAT, "--max-append=4G", "new"), 2, r"--max-append: .*"),
    "option of another action": (("zone", "reset", "f", "--force"), 2, r"reset does not take an option of format; .*"),
    "zone for format": ((*FORMAT, "--zone=3", "new"), 2, r"format does not take --zone or --count; .*"),
    "state for report": (("zone", "report", "--state=offline", "f"), 2, r"report does not take --state; .*"),
    "set-state of nothing": (("zone", "set-state", "--state=offline", "f"), 2, r"set-state needs --zone; .*"),
    "no such state": (("zone", "set-state", "--zone=1", "--state=full", "f"), 2, r"--state: expected one of .*"),

    "odd zone size": (("zone", "format", "--size=10M", "--zone-size=3M", "new"), 1, r"new: zone size 3145728: .*"),
    "too many zones": (("zone", "format", "--size=1T", "--zone-size=1M", "new"), 1, r"new: 1048576 zones: at most .*"),
    "capacity above size": ((*FORMAT, "--zone-capacity=2M", "new"), 1, r"new: zone capacity 2097152: .*"),
    "more open than active": ((*FORMAT, "--max-open=3", "--max-active=2", "new"), 1, r"new: 3 open zones of 2 .*"),
    "limits of a host-aware one": ((*FORMAT, "--model=host-aware", "--max-open=3", "new"), 1, r"new: a host-aware .*"),
    "file that is there": ((*FORMAT, "text"), 1, r"text: is there and not empty: --force overwrites it"),
    "folder": ((*FORMAT, "/"), 1, r"/: is not a regular file"),
    "folder that is missing": ((*FORMAT, "nowhere/new"), 1, r"nowhere/new: No such file or directory"),
    "report of nothing": (("zone", "report", "nowhere"), 1, r"disk nowhere: No such file or directory"),
    "report of text": (("zone", "report", "text"), 1, r"disk text: is not a zoned file: .*"),
    "report of an empty file": (("zone", "report", "empty"), 1, r"disk empty: is empty"),
}


def one_line(arguments, status, pattern):
    def case():
        run = bench.run(*arguments)
        check(run.returncode == status and not run.stdout, f"expected exit status {status}, nothing on stdout", run)
        check(re.fullmatch(f"cvmm: {pattern}\n", run.stderr.decode()), f"expected the line: {pattern}", run)
        check(not (bench.folder / "new").exists(), "nothing is left behind", run)
    return case


def format_and_report():
    name = made("made", "--zone-capacity", "768K", "--conventional", "2", "--max-open", "3", "--max-active", "5",
                "--max-append", "64K", "--block-size", "512")
    found = report(name)
    zones = found.pop("zones")
    check(found == {"model": "host-managed", "size": 10 * ZONE, "zone_size": ZONE, "zone_capacity": 768 << 10,
                    "conventional": 2, "max_open": 3, "max_active": 5, "max_append": 64 << 10, "block_size": 512},
          f"layout: {found}")
    check(len(zones) == 10, "ten zones")
    for index, one in enumerate(zones):
        start = index * ZONE
        if index < 2:
            expected = {"zone": index, "type": "conventional", "state": "not-wp", "start": start, "length": ZONE,
                        "capacity": ZONE}
        else:
            expected = {"zone": index, "type": "sequential-required", "state": "empty", "start": start,
                        "length": ZONE, "capacity": 768 << 10, "wp": start}
        check(one == expected, f"zone {index}: {one}")
    check([one["zone"] for one in report(name, "--zone", "8", "--count", "9")["zones"]] == [8, 9], "a part")
    check([one["zone"] for one in report(name, "--zone", "4")["zones"]] == [4], "one")
    check([one["zone"] for one in report(name, "--count", "2")["zones"]] == [0, 1], "the first ones")
    text = zone("report", name).stdout.decode()
    check(len(re.findall(r"^ +\d+ +sequential-required +empty ", text, re.MULTILINE)) == 8, "the same for people")


def sparse():
    zone("format", "--size", "1T", "sparse")
    stat = (bench.folder / "sparse").stat()
    check(stat.st_size > 1 << 40 and stat.st_blocks < 2048, f"{stat.st_blocks} blocks")


def last_zone_is_smaller():
    zone("format", "--size", "5500K", "--zone-size", "1M", "runt")
    last = report("runt")["zones"][-1]
    check((last["zone"], last["length"], last["capacity"]) == (5, 380 << 10, 380 << 10), f"{last}")


def host_aware():
    zones = report(made("aware", "--model", "host-aware"))["zones"]
    check(all(one["type"] == "sequential-preferred" for one in zones), "all are preferred")
    zone("reset", "aware")


def set_state_and_reset():
    name = made("states", "--conventional", "1")
    told = json.loads(zone("set-state", "--json", name, "--zone", "3", "--count", "2", "--state", "read-only").stdout)
    check([one["state"] for one in told["zones"]] == ["read-only"] * 2, "what was set is told")
    zone("set-state", "--zone=5", "--state=offline", name)
    check(states(name) == ["not-wp", "empty", "empty", "read-only", "read-only", "offline"] + ["empty"] * 4, "set")
    run = zone("reset", "--zone", "2", "--count", "2", name, status=1)
    check(b"zone 3 is read-only: cannot be reset" in run.stderr, "named", run)
    zone("reset", name)
    check(states(name)[3:6] == ["read-only", "read-only", "offline"], "not reset")
    run = zone("set-state", "--zone", "0", "--state", "offline", name, status=1)
    check(b"zone 0: a conventional zone has no such state" in run.stderr, "named", run)
    run = zone("reset", "--zone", "0", name, status=1)
    check(b"zone 0 is conventional" in run.stderr, "named", run)
    run = zone("set-state", "--zone", "9", "--count", "2", "--state", "offline", name, status=1)
    check(b"there are no 2 from 9 on" in run.stderr, "named", run)
    zone("set-state", "--zone", "3", "--count", "3", name)
    check(states(name) == ["not-wp"] + ["empty"] * 9, "taken back")


def write_pointers():
    """As a machine would have left them: the record of zone 2 in both copies of page 0, with their checksums."""
    name = made("written")
    with (bench.folder / name).open("r+b") as file:
        file.seek(8192)
        page = bytearray(file.read(4096))
        struct.pack_into("<QI", page, 32 + 2 * 16, 40960, 0)
        struct.pack_into("<QI", page, 32 + 4 * 16, 8192, 1)
        struct.pack_into("<Q", page, 16, 7)
        struct.pack_into("<I", page, 4, 0)
        struct.pack_into("<I", page, 4, zlib.crc32(page))
        file.seek(12288)
        file.write(page)
        file.seek((1 << 20) + 2 * ZONE)
        file.write(b"x" * 40960)
    zones = report(name)["zones"]
    check((zones[2]["state"], zones[2]["wp"]) == ("closed", 2 * ZONE + 40960), f"{zones[2]}")
    check(zones[4]["state"] == "full" and "wp" not in zones[4], f"{zones[4]}")
    used = (bench.folder / name).stat().st_blocks
    zone("reset", "--zone", "2", name)
    check(report(name)["zones"][2]["wp"] == 2 * ZONE, "reset")
    check(states(name)[4] == "full", "the others stay")
    check((bench.folder / name).stat().st_blocks < used, "its room is given back")


def damaged():
    path = bench.folder / made("damaged")
    with path.open("r+b") as file:
        file.seek(8192 + 100)
        file.write(b"?")
    run = zone("report", "damaged", status=1)
    check(b"both copies of page 0 of its table, from zone 0 on, are damaged" in run.stderr, "named", run)
    os.truncate(bench.folder / made("cut"), 5 << 20)
    run = zone("report", "cut", status=1)
    check(b"ends after 5242880 bytes, before its zones do" in run.stderr, "named", run)


def in_use():
    name = made("used")
    with (bench.folder / name).open("r+b") as file:
        fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        for arguments in (("reset", name), ("set-state", "--zone", "3", name),
                          ("format", "--size", "10M", "--force", name)):
            run = zone(*arguments, status=1)
            check(b"is in use by another process" in run.stderr, f"{arguments}", run)
        check(len(report(name)["zones"]) == 10, "it can be reported on")


def force():
    made("again", "--conventional", "3")
    zone("format", "--size", "4M", "--zone-size", "1M", "--force", "again")
    check(states("again") == ["empty"] * 4, "as new")


CASES = [(name, one_line(*case)) for name, case in ONE_LINE.items()] + [
    ("format and report", format_and_report), ("sparse", sparse), ("the last zone is smaller", last_zone_is_smaller),
    ("host-aware", host_aware), ("set-state and reset", set_state_and_reset), ("write pointers", write_pointers),
    ("damaged", damaged), ("in use", in_use), ("force", force),
]

if __name__ == "__main__":
    sys.exit(run_cases(CASES))
