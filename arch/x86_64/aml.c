// SPDX-License-Identifier: Apache-2.0
#include "arch/x86_64/aml.h"

#include "src/base/util.h"

enum {
	ZERO_OP = 0x00,
	ONE_OP = 0x01,
	NAME_OP = 0x08,
	BYTE_PREFIX = 0x0a,
	WORD_PREFIX = 0x0b,
	DWORD_PREFIX = 0x0c,
	STRING_PREFIX = 0x0d,
	QWORD_PREFIX = 0x0e,
	SCOPE_OP = 0x10,
	BUFFER_OP = 0x11,
	PACKAGE_OP = 0x12,
	METHOD_OP = 0x14,
	DUAL_NAME_PREFIX = 0x2e,
	MULTI_NAME_PREFIX = 0x2f,
	EXT_PREFIX = 0x5b,
	LOCAL0_OP = 0x60,
	STORE_OP = 0x70,
	AND_OP = 0x7b,
	NOTIFY_OP = 0x86,
	IF_OP = 0xa0,
	EXT_REGION_OP = 0x80,
	EXT_FIELD_OP = 0x81,
	EXT_DEVICE_OP = 0x82,
};
enum { METHOD_SERIALIZED = 1 << 3, REGION_SYSTEM_IO = 1, FIELD_BYTE_ACC = 1, FIELD_BITS = 8 };

static void aml_put(struct aml *aml, const void *bytes, size_t len)
{
	if (!range_inside(aml->len, len, aml->size)) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->buf + aml->len, bytes, len);
	aml->len += len;
}

static void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_put(aml, &byte, 1);
}

static void aml_ext(struct aml *aml, uint8_t op)
{
	aml_put(aml, (const uint8_t[]){ EXT_PREFIX, op }, 2);
}

/* The low @len bytes of @val, little endian. */
static void aml_number(struct aml *aml, uint64_t val, size_t len)
{
	val = htole64(val);
	aml_put(aml, &val, len);
}

/* ---- data */

void aml_integer(struct aml *aml, uint64_t val)
{
	static const struct {
		uint64_t max;
		uint8_t prefix, len;
	} kinds[] = {
		{ UINT8_MAX, BYTE_PREFIX, 1 },
		{ UINT16_MAX, WORD_PREFIX, 2 },
		{ UINT32_MAX, DWORD_PREFIX, 4 },
		{ UINT64_MAX, QWORD_PREFIX, 8 },
	};
	if (val <= 1) {
		aml_byte(aml, val ? ONE_OP : ZERO_OP);
		return;
	}
	size_t i = 0;
	while (val > kinds[i].max)
		i++;
	aml_byte(aml, kinds[i].prefix);
	aml_number(aml, val, kinds[i].len);
}

void aml_string(struct aml *aml, const char *str)
{
	aml_byte(aml, STRING_PREFIX);
	aml_put(aml, str, strlen(str) + 1);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* ACPI 6.5, 19.3.4: three letters of five bits, then four digits of four, most significant first. */
void aml_eisa_id(struct aml *aml, const char id[static 7])
{
	unsigned letters = (id[0] - '@') << 10 | (id[1] - '@') << 5 | (id[2] - '@');
	unsigned digits = hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 | hex_digit(id[6]);
	const uint8_t bytes[] = { DWORD_PREFIX, letters >> 8, letters & 0xff, digits >> 8, digits & 0xff };
	aml_put(aml, bytes, sizeof(bytes));
}

/* ---- names: ACPI 6.5, 20.2.2 */

/* One name segment of @path, padded; returns where the next one starts. */
static const char *aml_segment(struct aml *aml, const char *path)
{
	char seg[4] = { '_', '_', '_', '_' };
	for (size_t i = 0; i < sizeof(seg) && *path && *path != '.'; i++)
		seg[i] = *path++;
	aml_put(aml, seg, sizeof(seg));
	return *path == '.' ? path + 1 : path;
}

void aml_path(struct aml *aml, const char *path)
{
	if (*path == '\\')
		aml_byte(aml, *path++);
	uint8_t segments = 1;
	for (const char *c = path; *c; c++)
		segments += *c == '.';
	if (segments == 2)
		aml_byte(aml, DUAL_NAME_PREFIX);
	if (segments > 2)
		aml_put(aml, (const uint8_t[]){ MULTI_NAME_PREFIX, segments }, 2);
	while (*path)
		path = aml_segment(aml, path);
}

void aml_name(struct aml *aml, const char *path)
{
	aml_byte(aml, NAME_OP);
	aml_path(aml, path);
}

/* ---- enclosing terms */

/* Make room for @len bytes at @at, moving up what follows. False: no room. */
static bool aml_insert(struct aml *aml, size_t at, const void *bytes, size_t len)
{
	if (aml->overflow || !range_inside(aml->len, len, aml->size)) {
		aml->overflow = true;
		return false;
	}
	memmove(aml->buf + at + len, aml->buf + at, aml->len - at);
	memcpy(aml->buf + at, bytes, len);
	aml->len += len;
	return true;
}

/* ACPI 6.5, 20.2.4: PkgLength counts itself; one byte holds six bits, more bytes four and then eight each. */
void aml_close(struct aml *aml, aml_mark mark)
{
	uint8_t bytes[4];
	size_t body = aml->len - mark, n = 1;
	if (body + 1 < 1u << 6) {
		bytes[0] = body + 1;
	} else {
		for (n = 2; n < sizeof(bytes) && body + n >= 1u << (8 * n - 4); n++)
			;
		size_t total = body + n;
		bytes[0] = (n - 1) << 6 | (total & 0xf);
		for (size_t i = 1; i < n; i++)
			bytes[i] = total >> (8 * i - 4);
	}
	aml_insert(aml, mark, bytes, n);
}

aml_mark aml_scope(struct aml *aml, const char *path)
{
	aml_byte(aml, SCOPE_OP);
	aml_mark mark = aml->len;
	aml_path(aml, path);
	return mark;
}

aml_mark aml_device(struct aml *aml, const char *path)
{
	aml_ext(aml, EXT_DEVICE_OP);
	aml_mark mark = aml->len;
	aml_path(aml, path);
	return mark;
}

aml_mark aml_method(struct aml *aml, const char *path, unsigned args)
{
	aml_byte(aml, METHOD_OP);
	aml_mark mark = aml->len;
	aml_path(aml, path);
	aml_byte(aml, args | METHOD_SERIALIZED);
	return mark;
}

aml_mark aml_package(struct aml *aml, uint8_t count)
{
	aml_byte(aml, PACKAGE_OP);
	aml_mark mark = aml->len;
	aml_byte(aml, count);
	return mark;
}

aml_mark aml_if(struct aml *aml)
{
	aml_byte(aml, IF_OP);
	return aml->len;
}

/* ---- inside methods */

void aml_local0(struct aml *aml)
{
	aml_byte(aml, LOCAL0_OP);
}

void aml_store_in_local0(struct aml *aml, const char *from)
{
	aml_byte(aml, STORE_OP);
	aml_path(aml, from);
	aml_local0(aml);
}

void aml_local0_and(struct aml *aml, uint64_t mask)
{
	aml_byte(aml, AND_OP);
	aml_local0(aml);
	aml_integer(aml, mask);
	aml_byte(aml, ZERO_OP); /* the result goes nowhere else */
}

void aml_notify(struct aml *aml, const char *path, uint8_t what)
{
	aml_byte(aml, NOTIFY_OP);
	aml_path(aml, path);
	aml_integer(aml, what);
}

void aml_io_byte(struct aml *aml, const char *region, const char *field, uint16_t port)
{
	aml_ext(aml, EXT_REGION_OP);
	aml_path(aml, region);
	aml_byte(aml, REGION_SYSTEM_IO);
	aml_integer(aml, port);
	aml_integer(aml, 1);
	aml_ext(aml, EXT_FIELD_OP);
	aml_mark mark = aml->len;
	aml_path(aml, region);
	aml_byte(aml, FIELD_BYTE_ACC);
	aml_segment(aml, field);
	aml_byte(aml, FIELD_BITS);
	aml_close(aml, mark);
}

/* ---- resources: ACPI 6.5, 6.4 */

aml_mark aml_crs(struct aml *aml)
{
	aml_name(aml, "_CRS");
	aml_byte(aml, BUFFER_OP);
	return aml->len;
}

void aml_crs_close(struct aml *aml, aml_mark mark)
{
	aml_put(aml, (const uint8_t[]){ 0x79, 0 }, 2); /* end tag; checksum 0: not checked */
	uint8_t bytes[9];
	struct aml size = { .buf = bytes, .size = sizeof(bytes) };
	aml_integer(&size, aml->len - mark);
	aml_insert(aml, mark, bytes, size.len);
	aml_close(aml, mark);
}

void aml_io(struct aml *aml, uint16_t port, uint8_t len)
{
	aml_put(aml, (const uint8_t[]){ 0x47, 0x01 }, 2); /* decodes 16 bits */
	aml_number(aml, port, 2);                         /* lowest */
	aml_number(aml, port, 2);                         /* and highest base */
	aml_put(aml, (const uint8_t[]){ 1, len }, 2);
}

void aml_memory32(struct aml *aml, uint32_t base, uint32_t len)
{
	aml_put(aml, (const uint8_t[]){ 0x86, 9, 0, 1 }, 4); /* fixed, read-write */
	aml_number(aml, base, 4);
	aml_number(aml, len, 4);
}

void aml_interrupt(struct aml *aml, enum aml_trigger trigger, uint32_t gsi)
{
	const uint8_t flags = 1 | (trigger == AML_EDGE) << 1; /* consumer; active high, exclusive */
	aml_put(aml, (const uint8_t[]){ 0x89, 6, 0, flags, 1 }, 5);
	aml_number(aml, gsi, 4);
}
