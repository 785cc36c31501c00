// SPDX-License-Identifier: Apache-2.0
/* The ACPI tables read back as a guest reads them. `test_acpi --dump DIR` writes each table to a file, for iasl. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86_64/acpi.h"
#include "devices/platform.h"
#include "src/base/util.h"

enum { GPA = 0xe0000, ROOM = 0x10000 };
static uint8_t memory[ROOM];

static const struct acpi_device devices[] = {
	{ .kind = ACPI_COM, .base = 0x3f8, .size = 8, .gsi = 4 },
	{ .kind = ACPI_EVENTS, .base = 0x600, .size = 4, .gsi = 9 },
	{ .kind = ACPI_VIRTIO_MMIO, .index = 0, .base = 0xc0000000, .size = 0x1000, .gsi = 16 },
	{ .kind = ACPI_VIRTIO_MMIO, .index = 31, .base = 0xc001f000, .size = 0x1000, .gsi = 23 },
	{ .kind = ACPI_KEYBOARD, .base = 0x60, .size = 5, .gsi = 1 },
};

static struct acpi_machine machine(unsigned cpus, unsigned device_count)
{
	return (struct acpi_machine){
		.cpus = cpus,
		.lapic = 0xfee00000,
		.ioapic = 0xfec00000,
		.ecam = 0xe0000000,
		.devices = devices,
		.device_count = device_count,
	};
}

static uint8_t sum(const uint8_t *bytes, size_t len)
{
	uint8_t total = 0;
	while (len--)
		total += *bytes++;
	return total;
}

/* The table at @gpa, its header and checksum found in order, wholly inside what was built. */
static const uint8_t *table_at(uint64_t gpa, size_t used, const char *signature)
{
	assert_in_range(gpa, GPA, GPA + used - 36);
	const uint8_t *table = memory + (gpa - GPA);
	uint32_t len = load_le32(table + 4);
	assert_memory_equal(table, signature, 4);
	assert_in_range(len, 36, used - (gpa - GPA));
	assert_int_equal(sum(table, len), 0);
	return table;
}

struct found {
	const uint8_t *fadt, *madt, *mcfg, *dsdt;
	size_t used;
};

static struct found build(unsigned cpus, unsigned device_count)
{
	const struct acpi_machine m = machine(cpus, device_count);
	memset(memory, 0xa5, sizeof(memory));
	int used = acpi_build(&m, GPA, memory, sizeof(memory));
	assert_true(used > 0);
	struct found found = { .used = used };

	assert_memory_equal(memory, "RSD PTR ", 8);
	assert_int_equal(sum(memory, 20), 0);
	assert_int_equal(sum(memory, 36), 0);
	assert_int_equal(memory[15], 2);
	assert_int_equal(load_le32(memory + 16), 0);
	assert_int_equal(load_le32(memory + 20), 36);
	const uint8_t *xsdt = table_at(load_le64(memory + 24), used, "XSDT");
	assert_int_equal(load_le32(xsdt + 4), 36 + 3 * 8);
	found.fadt = table_at(load_le64(xsdt + 36), used, "FACP");
	found.madt = table_at(load_le64(xsdt + 44), used, "APIC");
	found.mcfg = table_at(load_le64(xsdt + 52), used, "MCFG");
	found.dsdt = table_at(load_le64(found.fadt + 140), used, "DSDT");
	assert_int_equal(memory[used], 0xa5);
	return found;
}

static void assert_io_gas(const uint8_t *gas, uint64_t port)
{
	assert_memory_equal(gas, "\x01\x08\x00\x01", 4);
	assert_int_equal(load_le64(gas + 4), port);
}

static void test_fadt(void **state)
{
	const uint8_t *fadt = build(1, 2).fadt;
	assert_int_equal(load_le32(fadt + 4), 276);
	assert_int_equal(fadt[8], 6);
	assert_int_equal(fadt[131], 5);
	assert_int_equal(load_le16(fadt + 109), 0x34); /* no VGA, no ASPM, no CMOS clock, no 8042 */
	assert_int_equal(load_le32(fadt + 112), 1 << 20 | 1 << 10 | 1 << 5 | 1 << 4);
	assert_int_equal(load_le32(fadt + 36), 0); /* no FACS */
	assert_int_equal(load_le32(fadt + 40), 0); /* one DSDT pointer, not two that differ */
	assert_io_gas(fadt + 116, 0x600 + ACPI_REGS_RESET);
	assert_int_equal(fadt[128], ACPI_RESET_VALUE);
	assert_io_gas(fadt + 244, 0x600 + ACPI_REGS_SLEEP_CONTROL);
	assert_io_gas(fadt + 256, 0x600 + ACPI_REGS_SLEEP_STATUS);
}

static void test_fadt_admits_a_keyboard_controller(void **state)
{
	assert_int_equal(load_le16(build(1, ARRAY_SIZE(devices)).fadt + 109), 0x36);
}

/* Without the ACPI registers nothing may point to them. */
static void test_fadt_without_registers(void **state)
{
	const uint8_t *fadt = build(1, 1).fadt;
	static const uint8_t none[12];
	assert_int_equal(load_le32(fadt + 112), 1 << 20 | 1 << 5 | 1 << 4);
	assert_memory_equal(fadt + 116, none, 12);
	assert_memory_equal(fadt + 244, none, 12);
	assert_memory_equal(fadt + 256, none, 12);
}

static void check_madt(unsigned cpus)
{
	const uint8_t *madt = build(cpus, 2).madt, *end = madt + load_le32(madt + 4), *entry = madt + 44;
	unsigned seen[5] = { 0 };
	assert_int_equal(load_le32(madt + 36), 0xfee00000);
	assert_int_equal(load_le32(madt + 40), 0); /* no PIC */
	for (; entry < end; entry += entry[1]) {
		static const uint8_t lengths[5] = { 8, 12, 10, 0, 6 };
		assert_in_range(entry[0], 0, 4);
		assert_int_equal(entry[1], lengths[entry[0]]);
		if (entry[0] == 0) {
			assert_int_equal(entry[2], seen[0]);
			assert_int_equal(entry[3], seen[0]);
			assert_int_equal(load_le32(entry + 4), 1);
		}
		if (entry[0] == 1) {
			assert_int_equal(load_le32(entry + 4), 0xfec00000);
			assert_int_equal(load_le32(entry + 8), 0);
		}
		if (entry[0] == 4)
			assert_memory_equal(entry + 2, "\xff\x00\x00\x01", 4);
		seen[entry[0]]++;
	}
	assert_ptr_equal(entry, end);
	assert_int_equal(seen[0], cpus);
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 0);
	assert_int_equal(seen[4], 1);
}

static void test_madt(void **state)
{
	check_madt(1);
	check_madt(4);
	check_madt(254);
}

static void test_mcfg(void **state)
{
	const uint8_t *mcfg = build(1, 2).mcfg;
	assert_int_equal(load_le32(mcfg + 4), 60);
	assert_int_equal(load_le64(mcfg + 44), 0xe0000000);
	assert_memory_equal(mcfg + 52, "\0\0\0\0\0\0\0", 8); /* segment 0, bus 0 to 0 */
}

static bool contains(const uint8_t *bytes, size_t len, const char *what, size_t what_len)
{
	return memmem(bytes, len, what, what_len) != NULL;
}

static void test_dsdt_lists_the_devices(void **state)
{
	const uint8_t *dsdt = build(1, 2).dsdt;
	size_t len = load_le32(dsdt + 4);
	assert_int_equal(dsdt[8], 2);
	assert_true(contains(dsdt, len, "\x08\\_S5_\x12\x04\x01\x0a\x05", 10));
	assert_true(contains(dsdt, len, "COM1", 4));
	assert_true(contains(dsdt, len, "\x47\x01\xf8\x03\xf8\x03\x01\x08\x89\x06\x00\x01\x01\x04\0\0\0\x79", 18));
	assert_true(contains(dsdt, len, "ACPI0013", 8));
	assert_true(contains(dsdt, len, "\x89\x06\x00\x03\x01\x09\0\0\0\x79", 10));
	assert_true(contains(dsdt, len, "\x0c\x41\xd0\x0c\x0c", 5));
	assert_true(contains(dsdt, len, "\x0b\x03\x06\x01", 4)); /* the event register, one byte at 0x603 */
	assert_false(contains(dsdt, len, "LNRO0005", 8));
	assert_false(contains(dsdt, len, "\x0c\x41\xd0\x03\x03", 5));

	dsdt = build(1, ARRAY_SIZE(devices)).dsdt;
	len = load_le32(dsdt + 4);
	assert_true(contains(dsdt, len, "VR00", 4));
	assert_true(contains(dsdt, len, "VR1F", 4));
	assert_true(contains(dsdt, len, "\x89\x06\x00\x03\x01\x10\0\0\0\x79", 10)); /* edge: see virtio.c */
	assert_true(contains(dsdt, len, "\x89\x06\x00\x03\x01\x17\0\0\0\x79", 10));
	assert_true(contains(dsdt, len, "\x0c\x41\xd0\x03\x03", 5));
}

static void test_too_little_room(void **state)
{
	const struct acpi_machine m = machine(254, ARRAY_SIZE(devices));
	size_t need = build(254, ARRAY_SIZE(devices)).used;
	for (size_t size = 0; size < need; size++) {
		memset(memory, 0xa5, sizeof(memory));
		assert_int_equal(acpi_build(&m, GPA, memory, size), -ENOSPC);
		assert_int_equal(memory[size], 0xa5);
	}
	assert_int_equal(acpi_build(&m, GPA, memory, need), need);
}

static int dump(const char *dir, const char *name, const uint8_t *table)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s.aml", dir, name);
	FILE *file = fopen(path, "wb");
	if (!file)
		return 1;
	size_t len = load_le32(table + 4), put = fwrite(table, 1, len, file);
	return fclose(file) || put != len;
}

static int dump_all(const char *dir)
{
	const struct found found = build(4, ARRAY_SIZE(devices));
	const uint8_t *xsdt = memory + (load_le64(memory + 24) - GPA);
	return dump(dir, "dsdt", found.dsdt) || dump(dir, "facp", found.fadt) || dump(dir, "apic", found.madt) ||
	       dump(dir, "mcfg", found.mcfg) || dump(dir, "xsdt", xsdt);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_fadt_admits_a_keyboard_controller),
		cmocka_unit_test(test_fadt_without_registers),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_mcfg),
		cmocka_unit_test(test_dsdt_lists_the_devices),
		cmocka_unit_test(test_too_little_room),
	};
	if (argc == 3 && !strcmp(argv[1], "--dump"))
		return dump_all(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
