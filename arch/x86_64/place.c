// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/place.h"

#include <errno.h>
#include <inttypes.h>

#include "arch/x86_64/layout.h"
#include "arch/x86_64/linux_boot.h"

enum { PAGE = 4096 };

/*
 * boot.rst: a relocatable kernel loaded below pref_address, and any other, moves itself there; above it only memory is
 * lost. So pref_address it is: if that does not fit, nothing does.
 */
static int place_bzimage(const struct kernel_image *kernel, struct place *place, struct cvmm_error *err)
{
	if (kernel->pref_address >= LOW_RAM_END)
		return err_set(err, -ENOEXEC, "wants to run at 0x%" PRIx64 ", beyond 3 GiB", kernel->pref_address);
	place->load = align_up(MAX(kernel->pref_address, (uint64_t)RAM_1_START), kernel->kernel_alignment);
	place->end = place->load + MAX(kernel->init_size, kernel->segments[0].mem_len);
	return 0;
}

static int place_elf(const struct kernel_image *kernel, struct place *place, struct cvmm_error *err)
{
	*place = (struct place){ 0 };
	for (unsigned i = 0; i < kernel->segment_count; i++) {
		const struct kernel_segment *seg = &kernel->segments[i];
		if (seg->gpa < RAM_1_START)
			return err_set(err, -ENOEXEC, "wants memory at 0x%" PRIx64 ", below 1 MiB", seg->gpa);
		place->end = MAX(place->end, seg->gpa + seg->mem_len);
	}
	return 0;
}

/* What ends at @needs does not fit. */
static int place_fails(uint64_t needs, uint64_t ram, struct cvmm_error *err)
{
	if (needs > LOW_RAM_END)
		return err_set(err, -ENOMEM, "does not fit below 3 GiB, where it must be");
	return err_set(err, -ENOMEM, "does not fit: needs %" PRIu64 " MiB of memory, the machine has %" PRIu64,
	               align_up(needs, MIB) / MIB, ram / MIB);
}

int place_kernel(const struct kernel_image *kernel, uint64_t ram, struct place *place, struct cvmm_error *err)
{
	int ret = kernel->format == KERNEL_BZIMAGE ? place_bzimage(kernel, place, err) : place_elf(kernel, place, err);
	if (!ret && place->end > layout_low_ram(ram))
		ret = place_fails(place->end, ram, err);
	return ret;
}

/* As high in low RAM as the kernel admits: a compressed kernel unpacks itself upwards. */
int place_initrd(const struct kernel_image *kernel, uint64_t ram, uint64_t len, uint64_t *gpa, struct cvmm_error *err)
{
	struct place place;
	int ret = place_kernel(kernel, ram, &place, err);
	if (ret)
		return err_prefix(err, ret, "its kernel");
	if (len > LOW_RAM_END)
		return place_fails(len, ram, err);
	uint64_t limit = linux_initrd_addr_max(kernel->setup_header, kernel->setup_header_len) + 1;
	uint64_t pages = align_up(len, PAGE), needs = align_up(place.end, PAGE) + pages;
	if (needs > limit)
		return err_set(err, -ENOMEM, "does not fit below 0x%" PRIx64 ", where the kernel wants it", limit);
	if (needs > layout_low_ram(ram))
		return place_fails(needs, ram, err);
	*gpa = align_down(MIN(layout_low_ram(ram), limit), PAGE) - pages;
	return 0;
}
