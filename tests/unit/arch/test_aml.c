// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "arch/x86_64/aml.h"

/* What was written is @want, byte for byte. */
static void assert_aml(const struct aml *aml, const void *want, size_t len)
{
	assert_false(aml->overflow);
	assert_int_equal(aml->len, len);
	assert_memory_equal(aml->buf, want, len);
}

static void test_integers_take_the_shortest_form(void **state)
{
	uint8_t buf[64];
	struct aml aml = { .buf = buf, .size = sizeof(buf) };
	static const uint64_t vals[] = { 0, 1, 2, 0xff, 0x100, 0xffff, 0x10000, 0xffffffff, 0x100000000 };
	for (size_t i = 0; i < sizeof(vals) / sizeof(vals[0]); i++)
		aml_integer(&aml, vals[i]);
	static const uint8_t want[] = {
		0x00, 0x01, 0x0a, 2,    0x0a, 0xff, 0x0b, 0, 1, 0x0b, 0xff, 0xff, 0x0c, 0, 0, 1,
		0,    0x0c, 0xff, 0xff, 0xff, 0xff, 0x0e, 0, 0, 0,    0,    1,    0,    0, 0,
	};
	assert_aml(&aml, want, sizeof(want));
}

static void test_names(void **state)
{
	uint8_t buf[64];
	static const struct {
		const char *path, *want;
		size_t len;
	} cases[] = {
		{ "_SB", "_SB_", 4 },
		{ "ABCD", "ABCD", 4 },
		{ "\\_S5", "\\_S5_", 5 },
		{ "\\_SB.PWRB", "\\\x2e_SB_PWRB", 10 },
		{ "X.Y.Z", "\x2f\x03X___Y___Z___", 14 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct aml aml = { .buf = buf, .size = sizeof(buf) };
		aml_path(&aml, cases[i].path);
		assert_aml(&aml, cases[i].want, cases[i].len);
	}
}

static void test_eisa_ids(void **state)
{
	uint8_t buf[16];
	struct aml aml = { .buf = buf, .size = sizeof(buf) };
	aml_eisa_id(&aml, "PNP0501");
	aml_eisa_id(&aml, "PNP0C0C");
	aml_eisa_id(&aml, "AZK9F10");
	assert_aml(&aml, "\x0c\x41\xd0\x05\x01\x0c\x41\xd0\x0c\x0c\x0c\x07\x4b\x9f\x10", 15);
}

/* ACPI 6.5, 20.2.4: at each boundary the length, which counts itself, as one reads it back. */
static void test_package_length_boundaries(void **state)
{
	static const struct {
		size_t body;
		unsigned bytes;
	} cases[] = {
		{ 0, 1 },    { 62, 1 },   { 63, 2 },      { 64, 2 },      { 4093, 2 },
		{ 4094, 3 }, { 4095, 3 }, { 0xffffc, 3 }, { 0xffffd, 4 }, { 0x100000, 4 },
	};
	size_t size = 0x100010;
	uint8_t *buf = malloc(size);
	assert_non_null(buf);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct aml aml = { .buf = buf, .size = size };
		aml_mark mark = aml_if(&aml);
		memset(buf + aml.len, 0x5a, cases[i].body);
		aml.len += cases[i].body;
		aml_close(&aml, mark);
		assert_false(aml.overflow);
		unsigned more = buf[1] >> 6;
		assert_int_equal(more + 1, cases[i].bytes);
		size_t len = more ? buf[1] & 0xf : buf[1] & 0x3f;
		for (unsigned b = 0; b < more; b++)
			len |= (size_t)buf[2 + b] << (4 + 8 * b);
		assert_int_equal(len, cases[i].body + cases[i].bytes);
		assert_int_equal(aml.len, 1 + len);
		if (cases[i].body)
			assert_int_equal(buf[1 + cases[i].bytes], 0x5a);
	}
	free(buf);
}

/* The digest's and QEMU guests' well-known form of a virtio-mmio device. */
static void test_device_with_resources(void **state)
{
	uint8_t buf[128];
	struct aml aml = { .buf = buf, .size = sizeof(buf) };
	aml_mark device = aml_device(&aml, "VR00");
	aml_name(&aml, "_HID");
	aml_string(&aml, "LNRO0005");
	aml_name(&aml, "_UID");
	aml_integer(&aml, 0);
	aml_name(&aml, "_CCA");
	aml_integer(&aml, 1);
	aml_mark crs = aml_crs(&aml);
	aml_memory32(&aml, 0xc0000000, 0x1000);
	aml_interrupt(&aml, AML_EDGE, 16);
	aml_crs_close(&aml, crs);
	aml_close(&aml, device);
	static const uint8_t want[] = {
		0x5b, 0x82, 0x41, 0x04, 'V', 'R',  '0',  '0',  0x08, '_',  'H',  'I', 'D',  0x0d, 'L',  'N', 'R',
		'O',  '0',  '0',  '0',  '5', 0,    0x08, '_',  'U',  'I',  'D',  0,   0x08, '_',  'C',  'C', 'A',
		1,    0x08, '_',  'C',  'R', 'S',  0x11, 0x1a, 0x0a, 0x17, 0x86, 9,   0,    1,    0,    0,   0,
		0xc0, 0,    0x10, 0,    0,   0x89, 6,    0,    3,    1,    16,   0,   0,    0,    0x79, 0,
	};
	assert_aml(&aml, want, sizeof(want));
}

/* Whatever the room, nothing is written past it, and too little of it does not go unnoticed. */
static void test_overflow_is_noticed(void **state)
{
	size_t need = 0;
	for (size_t size = 0; size <= 48; size++) {
		uint8_t buf[64];
		memset(buf, 0xa5, sizeof(buf));
		struct aml aml = { .buf = buf, .size = size };
		aml_mark device = aml_device(&aml, "DEV");
		aml_mark crs = aml_crs(&aml);
		aml_io(&aml, 0x3f8, 8);
		aml_crs_close(&aml, crs);
		aml_close(&aml, device);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xa5);
		if (!aml.overflow && !need)
			need = size;
		assert_int_equal(aml.overflow, !need);
	}
	assert_int_equal(need, 2 + 1 + 4 + 5 + 1 + 1 + 2 + 8 + 2);
}

/* What no longer fits stays noticed when something shorter fits again. */
static void test_overflow_stays(void **state)
{
	uint8_t buf[4] = { 0 };
	struct aml aml = { .buf = buf, .size = 3 };
	aml_integer(&aml, 0x12345678);
	assert_true(aml.overflow);
	aml_mark mark = aml_if(&aml);
	aml_close(&aml, mark);
	assert_true(aml.overflow);
	assert_int_equal(buf[3], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers_take_the_shortest_form),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_eisa_ids),
		cmocka_unit_test(test_overflow_stays),
		cmocka_unit_test(test_package_length_boundaries),
		cmocka_unit_test(test_device_with_resources),
		cmocka_unit_test(test_overflow_is_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
