// SPDX-License-Identifier: Apache-2.0
/*
 * Where hostile kernels and initrds go: what a parser took is placed in a machine of any size, of both architectures.
 * The first twelve bytes are the machine's MiB and the initrd's length; the kernel follows.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include "arch/aarch64/place.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/linux_boot.h"
#include "arch/x86_64/place.h"
#include "loader/formats.h"
#include "src/base/util.h"

enum { MIB_MAX = 1 << 20, PAGE = 4096 };

struct machine {
	uint64_t ram, initrd_len;
};

/* Too small a machine is told how much would do; 0: the error says something else. */
static uint64_t ram_asked_for(int ret, const struct cvmm_error *err)
{
	unsigned long long mib;
	FUZZ_CHECK((ret == -ENOMEM || ret == -ENOEXEC || ret == -EINVAL) && err->code == ret && err->msg[0]);
	const char *needs = strstr(err->msg, "needs ");
	return needs && sscanf(needs, "needs %llu MiB", &mib) == 1 ? mib * MIB : 0;
}

/* ---- x86_64 ----------------------------------------------------------------------------------------------------- */

static void check_kernel(const struct kernel_image *kernel, const struct place *place, uint64_t ram)
{
	FUZZ_CHECK(place->end <= layout_low_ram(ram));
	for (unsigned i = 0; i < kernel->segment_count; i++) {
		uint64_t start = place->load + kernel->segments[i].gpa;
		FUZZ_CHECK(start >= RAM_1_START && range_inside(start, kernel->segments[i].mem_len, place->end));
	}
	FUZZ_CHECK(place->load + kernel->entry >= RAM_1_START && place->load + kernel->entry < place->end);
}

static void check_zero_page(const struct kernel_image *kernel, const struct machine *machine, uint64_t initrd)
{
	static uint8_t page[ZERO_PAGE_SIZE];
	struct e820 map;
	e820_build(&map, machine->ram);
	const struct linux_boot boot = {
		.setup_header = kernel->setup_header,
		.setup_header_len = kernel->setup_header_len,
		.cmdline_gpa = CMDLINE_GPA,
		.initrd_gpa = initrd,
		.initrd_len = machine->initrd_len,
		.rsdp_gpa = ACPI_GPA,
		.setup_data_gpa = SETUP_DATA_GPA,
		.map = &map,
	};
	zero_page_build(page, &boot);
	FUZZ_CHECK(page[0x1ef] == 0 && page[0x210] == 0xff && page[0x1e8] == map.count);
	FUZZ_CHECK(load_le32(page + 0x218) == (uint32_t)initrd && load_le32(page + 0xc0) == initrd >> 32);
	FUZZ_CHECK(load_le32(page + 0x21c) == (uint32_t)machine->initrd_len);
	FUZZ_CHECK(load_le32(page + 0x228) == CMDLINE_GPA && load_le64(page + 0x250) == SETUP_DATA_GPA);
	FUZZ_CHECK(load_le64(page + 0x70) == ACPI_GPA);
}

static void place_x86_initrd(const struct kernel_image *kernel, const struct machine *machine,
                             const struct place *place)
{
	struct cvmm_error err = { 0 };
	uint64_t gpa, max = linux_initrd_addr_max(kernel->setup_header, kernel->setup_header_len);
	int ret = place_initrd(kernel, machine->ram, machine->initrd_len, &gpa, &err);
	if (ret < 0) {
		uint64_t enough = ram_asked_for(ret, &err);
		FUZZ_CHECK(enough != machine->ram);
		FUZZ_CHECK(!enough || !place_initrd(kernel, enough, machine->initrd_len, &gpa, NULL));
		return;
	}
	FUZZ_CHECK(gpa % PAGE == 0 && gpa >= place->end);
	FUZZ_CHECK(range_inside(gpa, machine->initrd_len, MIN(layout_low_ram(machine->ram), max + 1)));
	check_zero_page(kernel, machine, gpa);
}

static void place_x86(const struct kernel_image *kernel, const struct machine *machine)
{
	struct cvmm_error err = { 0 };
	struct place place;
	int ret = place_kernel(kernel, machine->ram, &place, &err);
	if (ret < 0) {
		uint64_t enough = ram_asked_for(ret, &err);
		FUZZ_CHECK(enough != machine->ram);
		FUZZ_CHECK(!enough || !place_kernel(kernel, enough, &place, NULL));
		return;
	}
	check_kernel(kernel, &place, machine->ram);
	if (machine->initrd_len)
		place_x86_initrd(kernel, machine, &place);
}

/* ---- aarch64 ---------------------------------------------------------------------------------------------------- */

static void check_placement(const struct place_request *want, const struct placement *at)
{
	uint64_t end = want->ram_gpa + want->ram_size;
	FUZZ_CHECK(at->kernel >= want->ram_gpa && at->fdt >= at->kernel + want->kernel_len);
	FUZZ_CHECK(at->fdt % FDT_ROOM == 0 && at->fdt + FDT_ROOM <= end);
	FUZZ_CHECK(!at->initrd == !want->initrd_len);
	if (!want->initrd_len)
		return;
	FUZZ_CHECK(at->initrd % PAGE == 0 && at->initrd >= at->fdt + FDT_ROOM);
	FUZZ_CHECK(range_inside(at->initrd, want->initrd_len, end));
	FUZZ_CHECK(at->initrd + want->initrd_len - want->ram_gpa <= 32 * GIB);
}

static void place_arm64(const struct kernel_image *kernel, const struct machine *machine)
{
	struct cvmm_error err = { 0 };
	struct placement at;
	struct place_request want = {
		.ram_gpa = GIB,
		.ram_size = machine->ram,
		.text_offset = kernel->text_offset,
		.kernel_len = kernel->segments[0].mem_len,
		.initrd_len = machine->initrd_len,
	};
	int ret = place(&want, &at, &err);
	if (ret < 0) {
		uint64_t enough = ram_asked_for(ret, &err);
		FUZZ_CHECK(enough != machine->ram);
		want.ram_size = enough;
		FUZZ_CHECK(!enough || !place(&want, &at, NULL));
		if (!enough)
			return;
	}
	check_placement(&want, &at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum { HEAD = 12 };
	if (len < HEAD)
		return 0;
	const struct machine machine = {
		.ram = (load_le32(data) % MIB_MAX + 1) * MIB,
		.initrd_len = load_le64(data + 4),
	};
	data += HEAD;
	len -= HEAD;
	struct kernel_image kernel = { .format = KERNEL_BZIMAGE };
	if (bzimage_match(data, len)) {
		if (bzimage_parse(data, len, &kernel, NULL) == 0)
			place_x86(&kernel, &machine);
	} else if (elf_match(data, len)) {
		kernel.format = KERNEL_ELF;
		if (elf_parse(data, len, &kernel, NULL) == 0)
			place_x86(&kernel, &machine);
	} else if (arm64_image_match(data, len) && arm64_image_parse(data, len, &kernel, NULL) == 0) {
		place_arm64(&kernel, &machine);
	}
	return 0;
}
