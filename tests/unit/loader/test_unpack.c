// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/loader/loader.h"

static int unpack_bytes(const struct bytes *packed, size_t max, struct bytes *plain, struct cvmm_error *err)
{
	const struct packing *packing = packing_find(packed->data, packed->len);
	assert_non_null(packing);
	return unpack(packing, packed->data, packed->len, max, &plain->data, &plain->len, err);
}

static void expect_plain(const struct bytes *packed, const struct bytes *plain)
{
	struct bytes out = { 0 };
	struct cvmm_error err = { 0 };
	if (unpack_bytes(packed, plain->len, &out, &err) != 0)
		fail_msg("refused: %s", err.msg);
	assert_int_equal(out.len, plain->len);
	assert_memory_equal(out.data, plain->data, plain->len);
	bytes_free(&out);
}

static void expect_error(const struct bytes *packed, size_t max, const char *words)
{
	struct bytes out = { 0 };
	struct cvmm_error err = { 0 };
	assert_int_equal(unpack_bytes(packed, max, &out, &err), -ENOEXEC);
	assert_null(out.data);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	assert_int_equal(unpack_bytes(packed, max, &out, NULL), -ENOEXEC);
}

/* Bytes that no packing makes shorter, from a linear congruential generator. */
static struct bytes noise(size_t len)
{
	struct bytes bytes = zeros(len);
	uint32_t x = 1;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		bytes.data[i] = (uint8_t)(x >> 24);
	}
	return bytes;
}

static void test_round_trips(void **state)
{
	static const size_t lens[] = { 1, 1000, 64 * KIB, 64 * KIB + 1,
		                       300000 }; /* around the first size of the output */
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct bytes plain = noise(lens[i]);
		for (size_t p = 0; packing_names[p]; p++) {
			struct bytes packed = pack(packing_names[p], &plain);
			expect_plain(&packed, &plain);
			bytes_append(&packed, "\x01\0\0\0 trailing bytes", 20);
			expect_plain(&packed, &plain);
			bytes_free(&packed);
		}
		bytes_free(&plain);
	}
}

static void test_empty_inside(void **state)
{
	struct bytes plain = zeros(0);
	for (size_t p = 0; packing_names[p]; p++) {
		if (strcmp(packing_names[p], "lz4 legacy") == 0) /* has no such thing */
			continue;
		struct bytes packed = pack(packing_names[p], &plain), out = { 0 };
		assert_int_equal(unpack_bytes(&packed, 1, &out, NULL), 0);
		assert_int_equal(out.len, 0);
		bytes_free(&out);
		refuse(&packed, KERNEL_X86_64, ": an empty file, expected an x86_64 kernel");
		bytes_free(&packed);
	}
	bytes_free(&plain);
}

static void test_concatenated(void **state)
{
	struct bytes first = noise(1000), second = zeros(500), both = noise(1000);
	bytes_append(&both, second.data, second.len);
	for (size_t p = 0; strcmp(packing_names[p], "lzma") != 0; p++) {
		struct bytes packed = pack(packing_names[p], &first), more = pack(packing_names[p], &second);
		bytes_append(&packed, more.data, more.len);
		expect_plain(&packed, &both);
		packed.len -= 3; /* the second stream cut short */
		expect_error(&packed, both.len, "truncated ");
		bytes_free(&packed);
		bytes_free(&more);
	}
	bytes_free(&first);
	bytes_free(&second);
	bytes_free(&both);
}

static void test_truncated_anywhere(void **state)
{
	struct bytes plain = noise(200);
	for (size_t p = 0; packing_names[p]; p++) {
		struct bytes packed = pack(packing_names[p], &plain);
		const size_t whole = packed.len;
		for (packed.len = 6; packed.len < whole; packed.len++) {
			struct bytes copy = bytes_of(packed.data, packed.len);
			expect_error(&copy, MIB, "bytes are there, more were expected");
			bytes_free(&copy);
		}
		bytes_free(&packed);
	}
	bytes_free(&plain);
}

static bool has_checksum(const char *how)
{
	return strcmp(how, "gzip") == 0 || strcmp(how, "lz4") == 0 || strcmp(how, "xz") == 0;
}

/* A changed byte is refused, or did not matter; without a check sum, the output may also differ. */
static void test_corrupt_anywhere(void **state)
{
	struct bytes plain = noise(200);
	for (size_t p = 0; packing_names[p]; p++) {
		struct bytes packed = pack(packing_names[p], &plain);
		for (size_t i = 6; i < packed.len; i++) {
			struct bytes out = { 0 };
			packed.data[i] ^= 0x41;
			if (unpack_bytes(&packed, MIB, &out, NULL) != 0)
				assert_null(out.data);
			else if (has_checksum(packing_names[p]))
				assert_memory_equal(out.data, plain.data, plain.len);
			else
				assert_in_range(out.len, 0, MIB);
			bytes_free(&out);
			packed.data[i] ^= 0x41;
		}
		expect_plain(&packed, &plain);
		bytes_free(&packed);
	}
	bytes_free(&plain);
}

static void test_corrupt_is_said(void **state)
{
	static const struct {
		const char *how, *words;
	} cases[] = {
		{ "gzip", "corrupt gzip data, near byte " },
		{ "lz4", "corrupt lz4 data, near byte " },
		{ "xz", "corrupt xz data, near byte " },
	};
	struct bytes plain = noise(200);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bytes packed = pack(cases[i].how, &plain);
		packed.data[packed.len / 2] ^= 0xff;
		expect_error(&packed, MIB, cases[i].words);
		bytes_free(&packed);
	}
	bytes_free(&plain);
	struct bytes zstd = bytes_of("\x28\xb5\x2f\xfd\x08"
	                             "rest of it",
	                             15); /* a reserved bit of the frame header */
	expect_error(&zstd, MIB, "corrupt zstd data");
	bytes_free(&zstd);
	struct bytes lzma = bytes_of("\x5d\x00\x00\x01\x00\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff", 20);
	expect_error(&lzma, MIB, "corrupt lzma data");
	bytes_free(&lzma);
}

static void test_lz4_legacy_blocks(void **state)
{
	struct bytes file = bytes_of("\x02\x21\x4c\x18\xff\xff\xff\x7f"
	                             "data",
	                             12); /* longer than a block can be */
	expect_error(&file, MIB, "corrupt lz4 data");
	store_le32(file.data + 4, 0);
	expect_error(&file, MIB, "corrupt lz4 data");
	store_le32(file.data + 4, 5);
	expect_error(&file, MIB, "truncated lz4 data");
	store_le32(file.data + 4, 4); /* a block of nonsense: 6 literals, of which 3 are there */
	expect_error(&file, MIB, "corrupt lz4 data");
	bytes_free(&file);

	/* A full block, one that is not, and the size that Linux's makefiles append. */
	struct bytes plain = zeros(8 * MIB + 5), packed = pack("lz4 legacy", &plain);
	bytes_append(&packed, "\x05\0\x80\0", 4);
	expect_plain(&packed, &plain);
	bytes_free(&packed);
	plain.len = 8 * MIB;
	packed = pack("lz4 legacy", &plain);
	bytes_append(&packed, "\0\0\x80\0", 4);
	expect_plain(&packed, &plain);
	bytes_append(&packed, "more", 4); /* a block of no bytes, or of 2 GiB, is none */
	store_le32(packed.data + packed.len - 8, 0);
	expect_plain(&packed, &plain);
	store_le32(packed.data + packed.len - 8, 0x7fffffff);
	expect_plain(&packed, &plain);
	bytes_free(&packed);
	bytes_free(&plain);
}

static void test_bombs(void **state)
{
	struct bytes plain = zeros(3 * MIB);
	for (size_t p = 0; packing_names[p]; p++) {
		struct bytes packed = pack(packing_names[p], &plain);
		expect_plain(&packed, &plain); /* the limit is what it unpacks to */
		expect_error(&packed, plain.len - 1, " data that unpack to more than 2 MiB");
		expect_error(&packed, MIB, " data that unpack to more than 1 MiB");
		expect_error(&packed, 0, " data that unpack to more than 0 MiB");
		bytes_free(&packed);
	}
	bytes_free(&plain);
}

/* Time is bounded, too: each stream, however small, wants a decoder of its own. */
static void test_many_streams(void **state)
{
	enum { MAX = 16384 };
	struct bytes plain = zeros(0), one = pack("gzip", &plain), many = zeros(0);
	for (unsigned i = 0; i < MAX; i++)
		bytes_append(&many, one.data, one.len);
	expect_plain(&many, &plain);
	bytes_append(&many, one.data, one.len);
	expect_error(&many, MIB, "gzip data in more than 16384 pieces");
	bytes_free(&one);
	bytes_free(&many);
	bytes_free(&plain);
}

static void test_greedy_dictionaries(void **state)
{
	struct bytes plain = noise(200), lzma = pack("lzma", &plain);
	lzma.data[4] = 0x40; /* 1 GiB */
	expect_error(&lzma, MIB, "lzma data that need too large a dictionary");
	bytes_free(&lzma);
	bytes_free(&plain);

	struct bytes zstd = bytes_of("\x28\xb5\x2f\xfd\x00\xf8\x01\0\0\0\0\0", 12); /* a window of 2^41 bytes */
	expect_error(&zstd, MIB, "zstd data that need too large a dictionary");
	bytes_free(&zstd);
}

static void test_what_is_not_packed(void **state)
{
	assert_null(packing_find((const uint8_t *)"", 0));
	assert_null(packing_find((const uint8_t *)"\x1f\x8b", 2));
	assert_null(packing_find((const uint8_t *)"\x1f\x8b\x07", 3)); /* only deflate was ever defined */
	assert_null(packing_find((const uint8_t *)"BZh91AY", 7));
	assert_string_equal(packing_name(packing_find((const uint8_t *)"\x1f\x8b\x08", 3)), "gzip");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),         cmocka_unit_test(test_empty_inside),
		cmocka_unit_test(test_concatenated),        cmocka_unit_test(test_truncated_anywhere),
		cmocka_unit_test(test_corrupt_anywhere),    cmocka_unit_test(test_corrupt_is_said),
		cmocka_unit_test(test_lz4_legacy_blocks),   cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_greedy_dictionaries), cmocka_unit_test(test_what_is_not_packed),
		cmocka_unit_test(test_many_streams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
