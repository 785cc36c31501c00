#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# acpi-iasl.sh TEST_ACPI: each table through iasl's disassembler and back: no error, no warning, and past the header
# (which carries iasl's own name then) the bytes that went in. And the DSDT is what dsdt.asl says.
set -eu
command -v iasl >/dev/null || { echo "iasl is not installed"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
${MESON_EXE_WRAPPER:-} "$1" --dump "$dir"
failed=0
fail() { echo "$1: $2"; cat "$dir/log"; failed=1; }
for table in dsdt facp apic mcfg xsdt; do
	iasl -d "$dir/$table.aml" >"$dir/log" 2>&1 || fail $table "not disassembled"
	grep -qi 'error\|warning\|invalid' "$dir/log" && fail $table "the disassembler complains"
	iasl -oa -p "$dir/again" "$dir/$table.dsl" >"$dir/log" 2>&1 || fail $table "not compiled again"
	grep -q '0 Errors, 0 Warnings, 0 Remarks' "$dir/log" || fail $table "the compiler complains"
	tail -c +37 "$dir/$table.aml" >"$dir/ours"
	tail -c +37 "$dir/again.aml" | cmp - "$dir/ours" >"$dir/log" 2>&1 || fail $table "other bytes"
done
iasl -oa -p "$dir/want" "$(dirname "$0")/dsdt.asl" >"$dir/log" 2>&1 || fail dsdt.asl "not compiled"
tail -c +37 "$dir/dsdt.aml" >"$dir/ours"
tail -c +37 "$dir/want.aml" | cmp - "$dir/ours" >"$dir/log" 2>&1 || fail dsdt "not what dsdt.asl says"
exit $failed
