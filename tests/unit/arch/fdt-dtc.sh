#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fdt-dtc.sh TEST_FDT: decompile each sample tree that TEST_FDT knows with dtc, all its checks on; any warning fails.
set -eu
command -v dtc >/dev/null || { echo "dtc is not installed"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
${MESON_EXE_WRAPPER:-} "$1" --dump "$dir"
failed=0
for blob in "$dir"/*.dtb; do
	[ -s "$blob" ] || { echo "no sample trees"; exit 1; }
	dtc -I dtb -O dts -o "$dir/dts" "$blob" 2>"$dir/warnings" || failed=1
	if [ -s "$dir/warnings" ]; then
		echo "$(basename "$blob"):"
		cat "$dir/warnings"
		failed=1
	fi
done
exit $failed
