// SPDX-License-Identifier: Apache-2.0
#include "arch/aarch64/place.h"

#include <errno.h>
#include <inttypes.h>

enum { BLOCK = 2 << 20, PAGE = 4096 };
#define WINDOW (32 * GIB) /* from the kernel's 1 GiB block on; it reaches the initrd only within */

int place(const struct place_request *want, struct placement *at, struct cvmm_error *err)
{
	uint64_t kernel_end, end; /* counted from the start of RAM, as all offsets here */
	if (__builtin_add_overflow(want->text_offset, want->kernel_len, &kernel_end) || kernel_end > WINDOW)
		return err_set(err, -EINVAL, "0x%" PRIx64 " bytes at offset 0x%" PRIx64 " fit in no memory",
		               want->kernel_len, want->text_offset);
	uint64_t fdt = align_up(kernel_end, BLOCK);
	uint64_t initrd = fdt + FDT_ROOM;
	if (__builtin_add_overflow(initrd, want->initrd_len, &end) || end > WINDOW)
		return err_set(err, -EINVAL, "%" PRIu64 " MiB do not fit in the 32 GiB that the kernel reaches",
		               want->initrd_len / MIB);
	end = align_up(end, PAGE);
	if (end > want->ram_size)
		return err_set(err, -ENOMEM, "needs %" PRIu64 " MiB of memory%s, the guest has %" PRIu64 " MiB",
		               align_up(end, MIB) / MIB, want->initrd_len ? " together with the kernel" : "",
		               want->ram_size / MIB);
	at->kernel = want->ram_gpa + want->text_offset;
	at->fdt = want->ram_gpa + fdt;
	at->initrd = want->initrd_len ? want->ram_gpa + initrd : 0;
	return 0;
}
