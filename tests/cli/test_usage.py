#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cvmm says before it touches KVM: usage, wrong options, files and kernels, help, version, completion, man page."""
import fcntl
import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from cases import ISA, OTHER_KERNEL, OWN_KERNEL, Bench, Skipped, check, run_cases

NOBODY = 65534

bench = Bench(sys.argv[1])
generated = Path(sys.argv[2]).resolve()
kernel = bench.file("kernel", OWN_KERNEL)

FILES = {
    "empty": b"",
    "text": b"#!/bin/sh\necho this is no kernel\n" * 100,
    "zeros": bytes(65536),
    "other": OTHER_KERNEL,
    "short": OWN_KERNEL[:60],
    "wrong-key.json": '{"kernel": "k", "cpu": 4}',
    "wrong-type.json": '{\n  "kernel": "k",\n  "cpus": "four"\n}',
    "range.json": '{"kernel": "k", "memory": "99999G"}',
    "syntax.json": '{\n  "kernel": "k",\n  "cpus": 4,,\n}',
    "twice.json": '{"cpus": 1, "cpus": 2}',
    "list.json": "[]",
    "disk.json": json.dumps({"disk": [{"path": "a"}, {"pth": "b"}]}),
    "empty.json": "",
    "good.json": json.dumps({"kernel": "missing-kernel", "cpus": 2}),
    "cpus.json": json.dumps({"cpus": 2}),
}
for name, content in FILES.items():
    bench.file(name, content)
bench.file("huge.json", b" " * (1 << 20) + b"{}")

TRY = r'; see "cvmm run --help"'
RUN = ("run", "--kernel", "kernel")

# name: arguments, exit status, the one line on stderr after "cvmm: " (a regular expression)
ONE_LINE = {
    "no command": ((), 2, r'no command given; see "cvmm --help"'),
    "unknown command": (("rnu",), 2, r'unknown command "rnu"; see "cvmm --help"'),
    "unknown global option": (("--frob", "run"), 2, r'unknown option "--frob"; see "cvmm --help"'),
    "unknown option": ((*RUN, "--frob"), 2, r'unknown option "--frob"' + TRY),
    "unknown option with a value": ((*RUN, "--frob=3"), 2, r'unknown option "--frob=3"' + TRY),
    "unknown letter": ((*RUN, "-q"), 2, r'unknown option "-q"' + TRY),
    "unknown letter among others": ((*RUN, "-vq"), 2, r'unknown option "-q"' + TRY),
    "ambiguous option": ((*RUN, "--c"), 2, r'unknown option "--c"' + TRY),
    "option with a line break": ((*RUN, "--a\nb"), 2, r'unknown option "--a\?b"' + TRY),
    "option without its value": (("run", "--kernel"), 2, r"option --kernel needs a value: FILE" + TRY),
    "value where none belongs": ((*RUN, "--verbose=3"), 2, r"option --verbose takes no value" + TRY),
    "operand": ((*RUN, "initrd.img"), 2, r'unexpected argument "initrd.img"' + TRY),
    "missing kernel option": (("run",), 2, r'no kernel given: the option "kernel" names its file' + TRY),
    "two command lines": ((*RUN, "--cmdline", "a", "--cmdline-only", "b"), 2,
                          r"cmdline and cmdline-only exclude each other: give one of them" + TRY),
    "no CPU": ((*RUN, "--cpus", "0"), 2, r'--cpus: expected a number from 1 to 254, found "0"'),
    "too many CPUs": ((*RUN, "--cpus", "10000"), 2, r'--cpus: expected a number from 1 to 254, found "10000"'),
    "CPUs in words": ((*RUN, "--cpus=four"), 2, r'--cpus: expected a number from 1 to 254, found "four"'),
    "too much memory": ((*RUN, "--memory", "99999G"), 2,
                        r'--memory: expected a size in whole MiB from 1M to 1T, such as 512M or 2G, found "99999G"'),
    "memory of no unit": ((*RUN, "--memory", "1X"), 2, r'--memory: expected a size in whole MiB .*, found "1X"'),
    "console of no kind": ((*RUN, "--console", "tty"), 2,
                           r'--console: expected stdio, file=PATH, pty, unix=PATH or none, found "tty"'),
    "switch neither on nor off": ((*RUN, "--i8042", "1"), 2, r'--i8042: expected on or off, found "1"'),
    "timeout in words": ((*RUN, "--shutdown-timeout", "soon"), 2,
                         r'--shutdown-timeout: expected a number from 0 to 86400, found "soon"'),
    "timeout too long": ((*RUN, "--shutdown-timeout=86401"), 2,
                         r'--shutdown-timeout: expected a number from 0 to 86400, found "86401"'),
    "disk without keys": ((*RUN, "--disk"), 2, r"option --disk needs a value: KEY=VALUE\[,...\]" + TRY),
    "disk of nothing": ((*RUN, "--disk", ""), 2, r"--disk: neither path nor memory is given"),
    "disk with a wrong key": ((*RUN, "--disk", "pth=a"), 2, r'--disk: "pth": no such key, did you mean "path"\?'),
    "disk with a strange key": ((*RUN, "--disk", "frob"), 2, r'--disk: "frob": no such key; there are path, .*'),
    "disk with a wrong value": ((*RUN, "--disk=path=a,queues=0"), 2,
                                r'--disk: queues: expected a number from 1 to 16, found "0"'),
    "two devices in one slot": ((*RUN, "--disk", "path=a,slot=1", "--rng", "slot=1"), 2,
                                r"rng 0: slot 1 is taken by disk 0 already" + TRY),
    "no such I/O thread": ((*RUN, "--iothreads", "2", "--disk", "path=a,iothread=2"), 2,
                           r"disk 0: iothread 2: the last of 2 is 1" + TRY),
    "too many I/O threads": ((*RUN, "--iothreads", "17"), 2,
                             r'--iothreads: expected a number from 1 to 16, found "17"'),
    "an option after a bare rng": ((*RUN, "--rng", "--cpus", "0"), 2, r"--cpus: .*"),
    "rng with a wrong key": ((*RUN, "--rng", "serial=a"), 2, r'--rng: "serial": no such key; there are rate, .*'),
    "first wrong option is named": ((*RUN, "--cpus", "0", "--memory", "0"), 2, r"--cpus: .*"),

    "missing kernel": (("run", "--kernel", "nowhere"), 1, r"kernel nowhere: No such file or directory"),
    "directory as kernel": (("run", "--kernel", "/"), 1, r"kernel /: is a directory, expected a file"),
    "device as kernel": (("run", "--kernel", "/dev/null"), 1, r"kernel /dev/null: is not a regular file"),
    "empty kernel": (("run", "--kernel", "empty"), 1, r"kernel empty: .*empty.*"),
    "text file as kernel": (("run", "--kernel", "text"), 1, r"kernel text: .*(script|text|not a kernel).*"),
    "zeros as kernel": (("run", "--kernel", "zeros"), 1, r"kernel zeros: .+"),
    "truncated kernel": (("run", "--kernel", "short"), 1, r"kernel short: .+"),
    "other architecture's kernel": (("run", "--kernel", "other"), 1,
                                    r"kernel other: .*aarch64.*x86_64.*" if ISA == "x86_64" else
                                    r"kernel other: .*x86_64.*aarch64.*"),
    "missing initrd": ((*RUN, "--initrd", "nowhere"), 1, r"initrd nowhere: No such file or directory"),
    "directory as initrd": ((*RUN, "--initrd", "/"), 1, r"initrd /: is a directory, expected a file"),

    "missing disk": ((*RUN, "--disk", "path=nowhere"), 1, r"disk nowhere: No such file or directory"),
    "directory as disk": ((*RUN, "--disk", "path=/"), 1, r"disk /: is neither a file nor a block device"),
    "device as disk": ((*RUN, "--disk", "path=/dev/null"), 1,
                       r"disk /dev/null: is neither a file nor a block device"),
    "empty disk": ((*RUN, "--disk", "path=empty"), 1, r"disk empty: is empty"),
    "disk of an odd size": ((*RUN, "--disk", "path=text,readonly"), 1,
                            r"disk text: its \d+ bytes are no whole number of blocks of 512"),
    "second disk is missing": ((*RUN, "--disk", "memory=1M", "--disk", "path=a,,b"), 1,
                               r"disk a,b: No such file or directory"),
    "disks for more slots than there are": ((*RUN, *("--rng",) * 32), 2, r"32 devices: this machine has slots for \d+" + TRY),

    "config with a wrong key": (("run", "--config", "wrong-key.json"), 2,
                                r'wrong-key.json: "cpu": no such option, did you mean "cpus"\?'),
    "config with a wrong type": (("run", "--config", "wrong-type.json"), 2,
                                 r'wrong-type.json: "cpus": expected a number from 1 to 254, found the string "four"'),
    "config out of range": (("run", "--config", "range.json"), 2, r'range.json: "memory": expected a size .*"99999G"'),
    "config with a syntax error": (("run", "--config", "syntax.json"), 2, r"syntax.json: line 3, column 13: .*"),
    "config with a key twice": (("run", "--config", "twice.json"), 2, r"twice.json: line 1, .*duplicate.*"),
    "config with a wrong disk": (("run", "--config", "disk.json"), 2,
                                 r'disk.json: "disk"\[1\]: "pth": no such key, did you mean "path"\?'),
    "config that is a list": (("run", "--config", "list.json"), 2,
                              r"list.json: expected an object of options, found a list"),
    "empty config": (("run", "--config", "empty.json"), 2, r"empty.json: empty: expected a JSON object of options"),
    "config without a kernel": (("run", "--config", "cpus.json"), 2, r"no kernel given: .*"),
    "config without a name": (("run", "--config", ""), 2, r'--config: expected a file name, found ""'),
    "missing config": (("run", "--config", "nowhere.json"), 1, r"nowhere.json: No such file or directory"),
    "directory as config": (("run", "--config", "/"), 1, r"/: Is a directory"),
    "huge config": (("run", "--config", "huge.json"), 1, r"huge.json: larger than 1 MiB: not a configuration"),
    "config is used": (("run", "-c", "good.json"), 1, r"kernel missing-kernel: No such file or directory"),
    "command line wins over a later config": (("run", "--kernel", "nowhere", "--config", "good.json"), 1,
                                              r"kernel nowhere: No such file or directory"),
    "wrong option before a good config": (("run", "--cpus", "0", "--config", "good.json"), 2, r"--cpus: .*"),

    "help about nothing": (("help", "rnu"), 2, r'unknown command "rnu"; see "cvmm --help"'),
    "help with too much": (("help", "run", "doctor"), 2, r'unexpected argument "doctor"; see "cvmm help --help"'),
    "doctor with an operand": (("doctor", "me"), 2, r'unexpected argument "me"; see "cvmm doctor --help"'),
    "doctor with a strange option": (("doctor", "--frob"), 2, r'unknown option "--frob"; see "cvmm doctor --help"'),
}

if ISA == "aarch64":
    ONE_LINE |= {
        "entry on aarch64": ((*RUN, "--entry", "pvh"), 2, r"entry: only x86_64 machines have a choice" + TRY),
        "i8042 on aarch64": ((*RUN, "--i8042", "on"), 2, r"i8042: only x86_64 machines can have one" + TRY),
    }


def check_one_line(run, status, pattern):
    check(run.returncode == status, f"expected exit status {status}", run)
    check(not run.stdout, "expected nothing on stdout", run)
    check(re.fullmatch(f"cvmm: {pattern}\n", run.stderr.decode()), f"expected the line: {pattern}", run)


def one_line(arguments, status, pattern):
    return lambda: check_one_line(bench.run(*arguments), status, pattern)


def locked_disk():
    image = bench.file("locked", bytes(4096))
    with open(image, "r+b") as holder:
        fcntl.lockf(holder, fcntl.LOCK_EX)
        check_one_line(bench.run(*RUN, "--disk", "path=locked"), 1, r"disk locked: is in use by another process .*")


# ---- help and version ------------------------------------------------------------------------------------------------

def helps():
    for arguments, words in (
            (("--help",), ("run", "doctor", "--version")), (("-h",), ("Commands:",)), (("help",), ("Commands:",)),
            (("run", "--help"), ("--kernel FILE", "default 512M", "Ctrl-A x", "Exit status:", "Examples:")),
            (("run", "-h", "--frob"), ("--kernel",)), (("help", "run"), ("--shutdown-timeout SECONDS",)),
            (("doctor", "--help"), ("--json",)), (("help", "help"), ("[COMMAND]",))):
        run = bench.run(*arguments)
        check(run.returncode == 0 and not run.stderr, f"{arguments}: expected help", run)
        for word in words:
            check(word in run.stdout.decode(), f"{arguments}: expected {word!r}", run)
        body = run.stdout.decode().split("Examples:")[0]
        check(all(len(line) <= 80 for line in body.splitlines()), f"{arguments}: a line of over 80 columns", run)


def device_keys():
    for kind, words in (("disk", ("path=FILE", "readonly=on|off", "default 256")), ("rng", ("rate=BYTES", "slot=N"))):
        for arguments in (("run", f"--{kind}", "help"), (*RUN, f"--{kind}=help")):
            run = bench.run(*arguments)
            check(run.returncode == 0 and not run.stderr, f"{arguments}: expected a list of keys", run)
            for word in words:
                check(word in run.stdout.decode(), f"{arguments}: expected {word!r}", run)
            check(all(len(line) <= 80 for line in run.stdout.decode().splitlines()), "a line of over 80 columns", run)


def version():
    for option in ("--version", "-V"):
        run = bench.run(option)
        check(run.returncode == 0 and not run.stderr, "expected success", run)
        check(re.fullmatch(rf"cvmm \d+\.\d+\.\d+ \({ISA}\)\n", run.stdout.decode()), "expected the version", run)


# ---- descriptors -----------------------------------------------------------------------------------------------------

def full_stdout():
    for arguments in ("--help", "run --help", "--version", "help doctor"):
        run = bench.shell(f"$cvmm {arguments} >/dev/full")
        check_one_line(run, 1, r"cannot write to stdout: No space left on device")


def closed_stdout():
    for arguments in ("--help", "--version", "run --kernel kernel", "doctor", ""):
        check_one_line(bench.shell(f'"$cvmm" {arguments} >&-'), 1, r"stdout is closed: .*")


def closed_stdin_and_stderr():
    check_one_line(bench.shell('"$cvmm" run --kernel nowhere <&-'), 1, r"kernel nowhere: .*")
    run = bench.shell('"$cvmm" run --kernel nowhere 2>&-')
    check(run.returncode == 1 and not run.stdout, "expected exit status 1 in silence", run)
    run = bench.shell('"$cvmm" --version <&- 2>&-')
    check(run.returncode == 0 and run.stdout.startswith(b"cvmm "), "expected the version", run)


# ---- /dev/kvm that cannot be opened ----------------------------------------------------------------------------------

def as_nobody(*arguments):
    """cvmm as a user who may not open /dev/kvm."""
    try:
        mode = stat.S_IMODE(Path("/dev/kvm").stat().st_mode)
    except FileNotFoundError as missing:
        raise Skipped("no /dev/kvm") from missing
    if mode & stat.S_IROTH and mode & stat.S_IWOTH:
        raise Skipped("/dev/kvm is open to everybody")
    try:
        return bench.run(*arguments, cvmm=bench.anyone(), user=NOBODY, group=NOBODY, extra_groups=[])
    except PermissionError as denied:
        raise Skipped("only root can become somebody else") from denied


def unreadable_kvm():
    check_one_line(as_nobody(*RUN), 1, r"/dev/kvm: Permission denied.*")


def doctor_unreadable_kvm():
    run = as_nobody("doctor")
    check(run.returncode == 1 and not run.stderr, "expected exit status 1", run)
    check(re.search(r"^fail +required +kvm-device +/dev/kvm ", run.stdout.decode(), re.MULTILINE), "expected why", run)
    found = json.loads(as_nobody("doctor", "--json").stdout)
    check(found["good"] is False and found["speed"] == "unknown", "expected a bad opinion", run)
    check(found["kernel_instructions_per_second"] == 0, "expected no measurement", run)
    device = found["checks"][0]
    check((device["name"], device["kind"], device["status"]) == ("kvm-device", "required", "fail"), "kvm-device", run)


def doctor_agrees_with_itself():
    text, data = bench.run("doctor"), bench.run("doctor", "--json")
    found = json.loads(data.stdout)
    check(text.returncode == data.returncode == (0 if found["good"] else 1), "expected the same exit status", text)
    check(found["arch"] == ISA and found["version"], "expected who speaks", data)
    check(found["speed"] in ("native", "emulated", "unknown"), "expected a speed", data)
    names = [one["name"] for one in found["checks"]]
    check(len(names) == len(set(names)), "expected each name once", data)
    for one in found["checks"]:
        check(one["name"] in text.stdout.decode(), f"expected {one['name']} in the text", text)
        check(one["kind"] in ("required", "optional", "info"), "kind", data)
        check(one["status"] in ("ok", "note", "fail"), "status", data)
    if found["good"]:
        check(all(one["status"] != "fail" for one in found["checks"]), "good in spite of a failure", data)


# ---- man page and completion -----------------------------------------------------------------------------------------

def options_in_help():
    return set(re.findall(r"--[a-z0-9-]+", bench.run("run", "--help").stdout.decode().split("Exit status:")[0]))


def man_page():
    page = generated / "cvmm.1"
    text = page.read_text(encoding="utf-8")
    for option in options_in_help():
        check(f"Fl Fl {option[2:]}" in text, f"expected {option} in the man page")
    if not shutil.which("mandoc"):
        raise Skipped("no mandoc")
    run = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, check=False)
    check(run.returncode == 0, "expected no warning", run)


def complete(line):
    """What bash offers at the end of @line, split into words as readline splits it."""
    words = re.findall(r"=|[^\s=]+", line) + ([""] if line.endswith(" ") else [])
    script = 'source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; shift 2; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1));' \
             '_cvmm; printf "%s\\n" "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", script, "bash", generated / "cvmm", line, *words], capture_output=True,
                         check=False, cwd=bench.folder)
    check(run.returncode == 0 and not run.stderr, f"completing {line!r}", run)
    return set(run.stdout.decode().split())


def bash_completion():
    for line, offers in (
            ("cvmm ", {"run", "zone", "doctor", "help", "--help", "--version"}),
            ("cvmm d", {"doctor"}),
            ("cvmm help ", {"run", "zone", "doctor", "help"}),
            ("cvmm zone ", {"format", "report", "reset", "set-state"}),
            ("cvmm zone report good", {"good.json"}),
            ("cvmm zone format --model ", {"host-managed", "host-aware"}),
            ("cvmm zone --max", {"--max-open", "--max-active", "--max-append"}),
            ("cvmm doctor --", {"--json", "--help"}),
            ("cvmm run ", options_in_help()),
            ("cvmm run --kern", {"--kernel"}),
            ("cvmm run --kernel ", {path.name for path in bench.folder.iterdir()}),
            ("cvmm run --kernel wrong", {"wrong-key.json", "wrong-type.json"}),
            ("cvmm run --kernel=wrong-k", {"wrong-key.json"}),
            ("cvmm run -c good", {"good.json"}),
            ("cvmm run --console ", {"stdio", "file=", "pty", "unix=", "none"}),
            ("cvmm run --console p", {"pty"}),
            ("cvmm run --console=n", {"none"}),
            ("cvmm run --console file=good", {"good.json"}),
            ("cvmm run --console=file=good", {"good.json"}),
            ("cvmm run --on-reset ", {"stop", "restart"}),
            ("cvmm run --i8042 o", {"on", "off"}),
            ("cvmm run --cpus ", set()),
            ("cvmm run --kernel kernel --cm", {"--cmdline", "--cmdline-only"}),
            ("cvmm run --disk pa", {"path=", "packed"}),
            ("cvmm run --disk path=good", {"good.json"}),
            ("cvmm run --disk=path=good", {"good.json"}),
            ("cvmm run --disk path=a,ser", {"a,serial="}),
            ("cvmm run --disk readonly,ser", {"readonly,serial="}),
            ("cvmm run --disk path=a,cache=u", {"unsafe"}),
            ("cvmm run --disk path=a,cache=none,read", {"none,readonly"}),
            ("cvmm run --rng ra", {"rate="}),
            ("cvmm run --rng frob=", set()),
            ("cvmm frob ", set())):
        offered = complete(line)
        check(offered == offers, f"{line!r}: expected {sorted(offers)}, found {sorted(offered)}")


def syntax(shell, name):
    def run():
        text = (generated / name).read_text(encoding="utf-8")
        for option in options_in_help():
            check(option in text or f"-l {option[2:]} " in text, f"expected {option} in {name}")
        if not shutil.which(shell):
            raise Skipped(f"no {shell}")
        result = subprocess.run([shell, "-n", generated / name], capture_output=True, check=False)
        check(result.returncode == 0 and not result.stderr, f"expected {shell} to accept {name}", result)
    return run


CASES = [(name, one_line(*case)) for name, case in ONE_LINE.items()] + [
    ("help", helps), ("keys of devices", device_keys), ("locked disk", locked_disk), ("version", version), ("stdout is full", full_stdout), ("stdout is closed", closed_stdout),
    ("stdin and stderr are closed", closed_stdin_and_stderr), ("unreadable /dev/kvm", unreadable_kvm),
    ("doctor on unreadable /dev/kvm", doctor_unreadable_kvm), ("doctor agrees with itself", doctor_agrees_with_itself),
    ("man page", man_page), ("bash completion", bash_completion), ("zsh completion", syntax("zsh", "_cvmm")),
    ("fish completion", syntax("fish", "cvmm.fish")),
]

sys.exit(run_cases(CASES))
