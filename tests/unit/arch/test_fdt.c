// SPDX-License-Identifier: Apache-2.0
/* The FDT, parsed back. With --dump DIR the samples are written out as blobs, for dtc to look at. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>

#include "arch/aarch64/fdt.h"
#include "arch/aarch64/layout.h"
#include "src/base/util.h"

enum { BLOB_ROOM = 2 << 20, CPUS_MAX = 254 };

static const struct fdt_device devices[] = {
	{ FDT_PL011, UART_BASE, 0x1000, SPI_UART },
	{ FDT_PL031, RTC_BASE, 0x1000, SPI_RTC },
	{ FDT_VIRTIO_MMIO, VIRTIO_BASE, 0x200, SPI_VIRTIO },
	{ FDT_VIRTIO_MMIO, VIRTIO_BASE + VIRTIO_STRIDE, 0x200, SPI_VIRTIO + 1 },
};

static const struct sample {
	const char *name;
	unsigned vcpus;
	uint64_t ram_mib;
	enum fdt_gic gic;
	bool its, pmu, initrd;
} samples[] = {
	{ "small", 1, 128, FDT_GIC_V3, true, true, true },
	{ "plain", 1, 512, FDT_GIC_V3, false, false, false },
	{ "four", 4, 8192, FDT_GIC_V3, true, false, true },
	{ "more-than-a-cluster", 17, 65536, FDT_GIC_V3, true, true, false },
	{ "largest", CPUS_MAX, 65536, FDT_GIC_V3, true, true, true },
	{ "gicv2", 1, 128, FDT_GIC_V2, false, true, true },
	{ "gicv2-full", 8, 65536, FDT_GIC_V2, false, false, false },
};

/* As KVM numbers vCPUs: 16 to a cluster; bit 31 is always set, bit 24 (MT) is no affinity either. */
static uint64_t mpidr_of(unsigned index)
{
	return 1u << 31 | 1u << 24 | (index & 15) | (index >> 4) << 8;
}

static int build(const struct sample *sample, void *blob, size_t size, size_t *len, struct cvmm_error *err)
{
	static uint64_t mpidr[CPUS_MAX];
	struct fdt_machine machine = {
		.cmdline = "console=ttyAMA0 test",
		.ram_base = RAM_BASE,
		.ram_size = sample->ram_mib * MIB,
		.initrd = sample->initrd ? 0x123456000 : 0,
		.initrd_len = sample->initrd ? 0x1001 : 0,
		.mpidr = mpidr,
		.vcpus = sample->vcpus,
		.gic = sample->gic,
		.its = sample->its,
		.pmu = sample->pmu,
		.devices = devices,
		.device_count = ARRAY_SIZE(devices),
		.kaslr_seed = 0x1122334455667788,
	};
	for (unsigned i = 0; i < CPUS_MAX; i++)
		mpidr[i] = mpidr_of(i);
	memset(machine.rng_seed, 0xa5, sizeof(machine.rng_seed));
	return fdt_build(&machine, blob, size, len, err);
}

/* ---- reading back ----------------------------------------------------------------------------------------------- */

static int node_of(const void *blob, const char *path)
{
	int node = fdt_path_offset(blob, path);
	assert_true(node >= 0);
	return node;
}

/* Cell @index of a property, which must hold @count cells. */
static uint32_t cell(const void *blob, int node, const char *name, int count, int index)
{
	int len;
	const fdt32_t *cells = fdt_getprop(blob, node, name, &len);
	assert_non_null(cells);
	assert_int_equal(len, count * 4);
	return fdt32_ld(&cells[index]);
}

static uint64_t cell64(const void *blob, int node, const char *name, int count, int index)
{
	return (uint64_t)cell(blob, node, name, count, index) << 32 | cell(blob, node, name, count, index + 1);
}

static const char *string(const void *blob, int node, const char *name)
{
	const char *value = fdt_getprop(blob, node, name, NULL);
	assert_non_null(value);
	return value;
}

static bool has(const void *blob, int node, const char *name)
{
	return fdt_getprop(blob, node, name, NULL) != NULL;
}

static bool compatible(const void *blob, int node, const char *with)
{
	return fdt_node_check_compatible(blob, node, with) == 0;
}

enum { EDGE_RISING = 1, LEVEL_HIGH = 4 };

static void check_interrupt(const void *blob, int node, uint32_t type, uint32_t number, uint32_t trigger)
{
	assert_int_equal(cell(blob, node, "interrupts", 3, 0), type);
	assert_int_equal(cell(blob, node, "interrupts", 3, 1), number);
	assert_int_equal(cell(blob, node, "interrupts", 3, 2), trigger);
}

static void check_reg(const void *blob, int node, int count, int index, uint64_t base, uint64_t size)
{
	assert_int_equal(cell64(blob, node, "reg", count, index), base);
	assert_int_equal(cell64(blob, node, "reg", count, index + 2), size);
}

/* What reads its children's "reg" by. */
static void check_cells(const void *blob, int node, int address, int size)
{
	assert_true(has(blob, node, "#address-cells") && has(blob, node, "#size-cells"));
	assert_int_equal(fdt_address_cells(blob, node), address);
	assert_int_equal(fdt_size_cells(blob, node), size);
}

static void check_root(const void *blob)
{
	check_cells(blob, 0, 2, 2);
	assert_true(compatible(blob, 0, "linux,dummy-virt"));
	assert_string_equal(string(blob, 0, "model"), "cvmm");
	int clock = node_of(blob, "/apb-pclk");
	assert_true(compatible(blob, clock, "fixed-clock"));
	assert_int_equal(cell(blob, clock, "#clock-cells", 1, 0), 0);
	assert_int_equal(cell(blob, clock, "clock-frequency", 1, 0), 24000000);
}

static void check_chosen(const void *blob, const struct sample *sample)
{
	int chosen = node_of(blob, "/chosen"), len;
	assert_string_equal(string(blob, chosen, "bootargs"), "console=ttyAMA0 test");
	int console = node_of(blob, string(blob, chosen, "stdout-path"));
	assert_true(compatible(blob, console, "arm,pl011"));
	assert_int_equal(node_of(blob, string(blob, node_of(blob, "/aliases"), "serial0")), console);
	assert_int_equal(cell64(blob, chosen, "kaslr-seed", 2, 0), 0x1122334455667788);
	const uint8_t *seed = fdt_getprop(blob, chosen, "rng-seed", &len);
	assert_int_equal(len, 64);
	assert_int_equal(seed[63], 0xa5);
	assert_int_equal(has(blob, chosen, "linux,initrd-start"), sample->initrd);
	assert_int_equal(has(blob, chosen, "linux,initrd-end"), sample->initrd);
	if (!sample->initrd)
		return;
	assert_int_equal(cell64(blob, chosen, "linux,initrd-start", 2, 0), 0x123456000);
	assert_int_equal(cell64(blob, chosen, "linux,initrd-end", 2, 0), 0x123457001);
}

static void check_cpus(const void *blob, const struct sample *sample)
{
	int cpus = node_of(blob, "/cpus"), node;
	unsigned count = 0;
	check_cells(blob, cpus, 2, 0);
	fdt_for_each_subnode(node, blob, cpus)
	{
		char name[32];
		uint64_t affinity = (count & 15) | (count >> 4) << 8;
		snprintf(name, sizeof(name), "cpu@%llx", (unsigned long long)affinity);
		assert_string_equal(fdt_get_name(blob, node, NULL), name);
		assert_int_equal(cell64(blob, node, "reg", 2, 0), affinity);
		assert_string_equal(string(blob, node, "device_type"), "cpu");
		assert_true(compatible(blob, node, "arm,armv8"));
		assert_string_equal(string(blob, node, "enable-method"), "psci");
		count++;
	}
	assert_int_equal(count, sample->vcpus);
}

static void check_gic(const void *blob, const struct sample *sample)
{
	int gic = node_of(blob, "/interrupt-controller@8000000");
	assert_true(has(blob, gic, "interrupt-controller"));
	assert_int_equal(cell(blob, gic, "#interrupt-cells", 1, 0), 3);
	check_cells(blob, gic, 2, 2);
	assert_true(has(blob, gic, "ranges"));
	assert_int_equal(cell(blob, 0, "interrupt-parent", 1, 0), fdt_get_phandle(blob, gic));
	assert_true(compatible(blob, gic, sample->gic == FDT_GIC_V3 ? "arm,gic-v3" : "arm,gic-400"));
	if (sample->gic == FDT_GIC_V3) {
		check_reg(blob, gic, 8, 0, GICD_BASE, GICD_SIZE);
		check_reg(blob, gic, 8, 4, GICR_BASE, 0x20000ull * sample->vcpus);
	} else {
		check_reg(blob, gic, 8, 0, GICD_BASE, 0x1000);
		check_reg(blob, gic, 8, 4, GICC_BASE, 0x2000);
	}
	int its = fdt_subnode_offset(blob, gic, "msi-controller@8080000");
	assert_int_equal(its >= 0, sample->its);
	if (!sample->its)
		return;
	assert_true(compatible(blob, its, "arm,gic-v3-its"));
	assert_true(has(blob, its, "msi-controller"));
	assert_int_not_equal(fdt_get_phandle(blob, its), 0); /* for who sends messages */
	assert_int_equal(cell(blob, its, "#msi-cells", 1, 0), 1);
	check_reg(blob, its, 4, 0, ITS_BASE, ITS_SIZE);
}

static void check_private_interrupts(const void *blob, const struct sample *sample)
{
	static const uint32_t ppis[] = { 13, 14, 11, 10 }; /* the binding's order: secure, physical, virtual, hyp */
	int timer = node_of(blob, "/timer"), pmu = fdt_path_offset(blob, "/pmu");
	assert_true(compatible(blob, timer, "arm,armv8-timer"));
	for (int i = 0; i < 4; i++) {
		assert_int_equal(cell(blob, timer, "interrupts", 12, 3 * i), 1);
		assert_int_equal(cell(blob, timer, "interrupts", 12, 3 * i + 1), ppis[i]);
	}
	assert_int_equal(pmu >= 0, sample->pmu);
	if (sample->pmu) {
		assert_true(compatible(blob, pmu, "arm,armv8-pmuv3"));
		check_interrupt(blob, pmu, 1, 7, LEVEL_HIGH);
	}
	assert_string_equal(string(blob, node_of(blob, "/psci"), "method"), "hvc");
	assert_true(compatible(blob, node_of(blob, "/psci"), "arm,psci-0.2"));
}

static void check_devices(const void *blob)
{
	static const char *const paths[] = { "/serial@9000000", "/rtc@9010000", "/virtio_mmio@a000000",
		                             "/virtio_mmio@a001000" };
	uint32_t clock = fdt_get_phandle(blob, node_of(blob, "/apb-pclk"));
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
		int node = node_of(blob, paths[i]);
		check_reg(blob, node, 4, 0, devices[i].base, devices[i].size);
		check_interrupt(blob, node, 0, devices[i].spi,
		                devices[i].kind == FDT_VIRTIO_MMIO ? EDGE_RISING : LEVEL_HIGH);
		assert_int_equal(has(blob, node, "dma-coherent"), devices[i].kind == FDT_VIRTIO_MMIO);
	}
	int uart = node_of(blob, paths[0]), rtc = node_of(blob, paths[1]);
	assert_true(compatible(blob, uart, "arm,primecell"));
	assert_int_equal(cell(blob, uart, "clocks", 2, 0), clock);
	assert_int_equal(fdt_stringlist_search(blob, uart, "clock-names", "apb_pclk"), 1);
	assert_true(compatible(blob, rtc, "arm,pl031"));
	assert_int_equal(cell(blob, rtc, "clocks", 1, 0), clock);
	assert_true(compatible(blob, node_of(blob, paths[2]), "virtio,mmio"));
}

static void test_samples(void **state)
{
	static uint8_t blob[BLOB_ROOM];
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++) {
		size_t len;
		assert_int_equal(build(&samples[i], blob, sizeof(blob), &len, NULL), 0);
		assert_int_equal(len, fdt_totalsize(blob));
		assert_int_equal(fdt_check_full(blob, len), 0);
		int memory = node_of(blob, "/memory@40000000");
		assert_string_equal(string(blob, memory, "device_type"), "memory");
		check_reg(blob, memory, 4, 0, RAM_BASE, samples[i].ram_mib * MIB);
		check_root(blob);
		check_chosen(blob, &samples[i]);
		check_cpus(blob, &samples[i]);
		check_gic(blob, &samples[i]);
		check_private_interrupts(blob, &samples[i]);
		check_devices(blob);
	}
}

/* Whatever room there is too little of, the answer is -ENOSPC and nothing is written behind it. */
static void test_too_little_room(void **state)
{
	static uint8_t whole[BLOB_ROOM];
	size_t need, len;
	assert_int_equal(build(&samples[0], whole, sizeof(whole), &need, NULL), 0);
	for (size_t size = 0; size < need; size += 61) {
		uint8_t *blob = malloc(size + 1);
		struct cvmm_error err = { 0 };
		blob[size] = 0x5a;
		assert_int_equal(build(&samples[0], blob, size, &len, &err), -ENOSPC);
		assert_int_equal(err.code, -ENOSPC);
		assert_int_equal(blob[size], 0x5a);
		free(blob);
	}
}

static void test_no_console_no_seed(void **state)
{
	static uint8_t blob[BLOB_ROOM];
	uint64_t mpidr = 1u << 31;
	struct fdt_machine machine = {
		.cmdline = "", .ram_base = RAM_BASE, .ram_size = MIB, .mpidr = &mpidr, .vcpus = 1, .gic = FDT_GIC_V3
	};
	size_t len;
	assert_int_equal(fdt_build(&machine, blob, sizeof(blob), &len, NULL), 0);
	int chosen = node_of(blob, "/chosen");
	assert_false(has(blob, chosen, "stdout-path"));
	assert_false(has(blob, chosen, "kaslr-seed"));
	assert_string_equal(string(blob, chosen, "bootargs"), "");
}

/* Aff3 lies above the flags: cpu@ and reg carry bits 39 to 32, and no flag. */
static void test_highest_affinity(void **state)
{
	static uint8_t blob[BLOB_ROOM];
	uint64_t mpidr = 0xabff123456;
	struct fdt_machine machine = {
		.cmdline = "", .ram_base = RAM_BASE, .ram_size = MIB, .mpidr = &mpidr, .vcpus = 1, .gic = FDT_GIC_V3
	};
	size_t len;
	assert_int_equal(fdt_build(&machine, blob, sizeof(blob), &len, NULL), 0);
	assert_int_equal(cell64(blob, node_of(blob, "/cpus/cpu@ab00123456"), "reg", 2, 0), 0xab00123456);
}

/* ---- for dtc ---------------------------------------------------------------------------------------------------- */

static int dump(const struct sample *sample, const char *dir)
{
	static uint8_t blob[BLOB_ROOM];
	char path[4096];
	size_t len;
	snprintf(path, sizeof(path), "%s/%s.dtb", dir, sample->name);
	if (build(sample, blob, sizeof(blob), &len, NULL) < 0)
		return -1;
	FILE *file = fopen(path, "wb");
	if (!file)
		return -1;
	size_t written = fwrite(blob, 1, len, file);
	return fclose(file) == 0 && written == len ? 0 : -1;
}

static int dump_all(const char *dir)
{
	for (unsigned i = 0; i < ARRAY_SIZE(samples); i++)
		if (dump(&samples[i], dir) < 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_too_little_room),
		cmocka_unit_test(test_no_console_no_seed),
		cmocka_unit_test(test_highest_affinity),
	};
	if (argc == 3 && !strcmp(argv[1], "--dump"))
		return dump_all(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
