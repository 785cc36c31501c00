// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/loader/loader.h"

#include <elf.h>

enum { NOTE, TEXT, DATA };

static struct bytes elf;

static int make(void **state)
{
	elf = make_elf();
	return 0;
}

static int unmake(void **state)
{
	bytes_free(&elf);
	return 0;
}

/* A field of the file header, or of program header @i, for store_le*(). */
#define EHDR(field) (elf.data + offsetof(Elf64_Ehdr, field))
#define PHDR(i, field) (elf.data + ELF_PHDRS + (i)*ELF_PHDR_LEN + offsetof(Elf64_Phdr, field))

static void accept_elf(struct kernel_image *image)
{
	accept(&elf, KERNEL_X86_64, image);
	assert_null(image->owned); /* nothing to finish */
}

static void test_fields(void **state)
{
	struct kernel_image image;
	accept(&elf, KERNEL_X86_64, &image);
	assert_int_equal(image.format, KERNEL_ELF);
	assert_int_equal(image.segment_count, 2);
	assert_int_equal(image.segments[0].gpa, ELF_TEXT_GPA);
	assert_ptr_equal(image.segments[0].data, elf.data + ELF_TEXT);
	assert_int_equal(image.segments[0].file_len, ELF_TEXT_LEN);
	assert_int_equal(image.segments[0].mem_len, ELF_TEXT_MEM_LEN);
	assert_int_equal(image.segments[1].gpa, ELF_DATA_GPA);
	assert_ptr_equal(image.segments[1].data, elf.data + ELF_DATA);
	assert_int_equal(image.segments[1].file_len, ELF_DATA_LEN);
	assert_int_equal(image.segments[1].mem_len, ELF_DATA_MEM_LEN);
	assert_int_equal(image.entry, ELF_ENTRY);
	assert_true(image.has_pvh);
	assert_int_equal(image.pvh_entry, ELF_PVH_ENTRY);
	assert_null(image.owned);
	kernel_image_fini(&image);
}

static void test_truncated_anywhere(void **state)
{
	refuse_all_prefixes(&elf, KERNEL_X86_64);
	refuse_prefix(&elf, 10, KERNEL_X86_64, "the first bytes of an ELF file");
	refuse_prefix(&elf, 63, KERNEL_X86_64, "truncated ELF vmlinux: 63 bytes are there, 64 were expected");
	refuse_prefix(&elf, 100, KERNEL_X86_64, "100 bytes are there, 232 were expected");
	refuse_prefix(&elf, 300, KERNEL_X86_64, "300 bytes are there, 352 were expected");
}

static void test_program_header_table(void **state)
{
	store_le16(EHDR(e_phnum), 0);
	refuse(&elf, KERNEL_X86_64, "0 program headers");
	store_le16(EHDR(e_phnum), 0xffff);
	refuse(&elf, KERNEL_X86_64, "65535 program headers");
	store_le16(EHDR(e_phnum), 3);
	store_le16(EHDR(e_phentsize), 55);
	refuse(&elf, KERNEL_X86_64, "of 55 bytes");
	store_le16(EHDR(e_phentsize), 56);
	store_le64(EHDR(e_phoff), elf.len - 3 * ELF_PHDR_LEN + 1);
	refuse(&elf, KERNEL_X86_64, "352 bytes are there, 353 were expected");
	store_le64(EHDR(e_phoff), UINT64_MAX - 3);
	refuse(&elf, KERNEL_X86_64, "program headers at offset 0xfffffffffffffffc");
}

/* Move the table to the end and let it grow to @count headers, the first three being those there were. */
static void grow_table(unsigned count)
{
	struct bytes table = zeros(count * ELF_PHDR_LEN);
	memcpy(table.data, elf.data + ELF_PHDRS, 3 * ELF_PHDR_LEN);
	for (unsigned i = 3; i < count; i++) {
		const Elf64_Phdr more = { .p_type = PT_LOAD, .p_paddr = 0x2000000 + i * 0x1000, .p_memsz = 0x1000 };
		memcpy(table.data + i * ELF_PHDR_LEN, &more, sizeof(more));
	}
	store_le64(EHDR(e_phoff), elf.len);
	store_le16(EHDR(e_phnum), (uint16_t)count);
	bytes_append(&elf, table.data, table.len);
	bytes_free(&table);
}

static void test_sixteen_segments(void **state)
{
	struct kernel_image image;
	grow_table(3 + KERNEL_SEGMENTS_MAX - 2);
	accept_elf(&image);
	assert_int_equal(image.segment_count, KERNEL_SEGMENTS_MAX);
}

static void test_seventeen_segments(void **state)
{
	grow_table(3 + KERNEL_SEGMENTS_MAX - 1);
	refuse(&elf, KERNEL_X86_64, "more than 16 segments");
}

static void test_hundreds_of_headers(void **state)
{
	grow_table(700);
	refuse(&elf, KERNEL_X86_64, "700 program headers");
	store_le16(EHDR(e_phnum), 128);
	refuse(&elf, KERNEL_X86_64, "more than 16 segments");
}

/* .bss alone: its offset may be beyond the end of the file, or anywhere. */
static void test_segment_without_bytes(void **state)
{
	static const uint64_t offsets[] = { 0, 352, 353, 0x200000, UINT64_MAX };
	struct kernel_image image;
	store_le64(PHDR(DATA, p_filesz), 0);
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		store_le64(PHDR(DATA, p_offset), offsets[i]);
		accept_elf(&image);
		assert_int_equal(image.segment_count, 2);
		assert_int_equal(image.segments[1].gpa, ELF_DATA_GPA);
		assert_int_equal(image.segments[1].file_len, 0);
		assert_int_equal(image.segments[1].mem_len, ELF_DATA_MEM_LEN);
	}
	store_le64(PHDR(NOTE, p_filesz), 0);
	store_le64(PHDR(NOTE, p_offset), UINT64_MAX);
	accept_elf(&image);
	assert_false(image.has_pvh);
}

static void test_file_ranges(void **state)
{
	store_le64(PHDR(TEXT, p_offset), UINT64_MAX - 8);
	refuse(&elf, KERNEL_X86_64, "segment 1 is 0x40 bytes at file offset 0xfffffffffffffff7");
	store_le64(PHDR(TEXT, p_offset), elf.len);
	refuse(&elf, KERNEL_X86_64, "352 bytes are there, 416 were expected");
	store_le64(PHDR(TEXT, p_offset), ELF_TEXT);
	store_le64(PHDR(TEXT, p_filesz), UINT64_MAX);
	refuse(&elf, KERNEL_X86_64, "segment 1 is 0xffffffffffffffff bytes");
	store_le64(PHDR(TEXT, p_filesz), 1ull << 63);
	refuse(&elf, KERNEL_X86_64, "9223372036854776064 were expected");
}

static void test_memory_ranges(void **state)
{
	store_le64(PHDR(TEXT, p_memsz), ELF_TEXT_LEN - 1);
	refuse(&elf, KERNEL_X86_64, "segment 1 has 0x40 bytes in the file, 0x3f in memory");
	store_le64(PHDR(TEXT, p_memsz), UINT64_MAX);
	refuse(&elf, KERNEL_X86_64, "segment 1 is 0xffffffffffffffff bytes at physical address 0x1000000");
	store_le64(PHDR(TEXT, p_memsz), ELF_TEXT_LEN);
	store_le64(PHDR(TEXT, p_paddr), UINT64_MAX - ELF_TEXT_LEN + 1); /* its end wraps to 0 */
	refuse(&elf, KERNEL_X86_64, "at physical address 0xffffffffffffffc0");
	store_le64(PHDR(TEXT, p_paddr), KERNEL_GPA_END - ELF_TEXT_LEN + 1);
	refuse(&elf, KERNEL_X86_64, "at physical address 0xfffffffffffc1");
}

static void test_overlaps(void **state)
{
	struct kernel_image image;
	store_le64(PHDR(TEXT, p_memsz), ELF_TEXT_MEM_LEN + 1);
	refuse(&elf, KERNEL_X86_64, "segment 2 at 0x1001000 overlaps one at 0x1000000");
	store_le64(PHDR(TEXT, p_memsz), ELF_TEXT_MEM_LEN);
	store_le64(PHDR(DATA, p_paddr), ELF_TEXT_GPA - ELF_DATA_MEM_LEN); /* side by side, the other way round */
	accept_elf(&image);
	store_le64(PHDR(DATA, p_paddr), ELF_TEXT_GPA - ELF_DATA_MEM_LEN + 1);
	refuse(&elf, KERNEL_X86_64, "overlaps");
	store_le64(PHDR(DATA, p_paddr), ELF_TEXT_GPA);
	refuse(&elf, KERNEL_X86_64, "overlaps");
}

static void test_empty_segments_are_none(void **state)
{
	struct kernel_image image;
	store_le64(PHDR(DATA, p_memsz), 0);
	store_le64(PHDR(DATA, p_filesz), 0);
	store_le64(PHDR(DATA, p_paddr), ELF_TEXT_GPA);
	accept_elf(&image);
	assert_int_equal(image.segment_count, 1);
	store_le32(PHDR(TEXT, p_type), PT_NULL);
	refuse(&elf, KERNEL_X86_64, "its entry, physical address 0x1000010, is in none of its segments");
}

static void test_entries(void **state)
{
	struct kernel_image image;
	store_le64(EHDR(e_entry), ELF_TEXT_GPA + ELF_TEXT_LEN - 1);
	accept_elf(&image);
	store_le64(EHDR(e_entry), ELF_TEXT_GPA + ELF_TEXT_LEN); /* memory, but none of the file's bytes */
	refuse(&elf, KERNEL_X86_64, "its entry, physical address 0x1000040");
	store_le64(EHDR(e_entry), 0xffffffff81000010); /* virtual */
	refuse(&elf, KERNEL_X86_64, "its entry, physical address 0xffffffff81000010");
	store_le64(EHDR(e_entry), ELF_ENTRY);

	store_le64(elf.data + ELF_NOTE + 16, ELF_TEXT_GPA - 1);
	refuse(&elf, KERNEL_X86_64, "its PVH entry, physical address 0xffffff");
	store_le64(PHDR(DATA, p_paddr), 4 * GIB);
	store_le64(elf.data + ELF_NOTE + 16, 4 * GIB);
	refuse(&elf, KERNEL_X86_64, "its PVH entry 0x100000000 is above 4 GiB");
}

static void expect_pvh(bool has)
{
	struct kernel_image image;
	accept_elf(&image);
	assert_int_equal(image.has_pvh, has);
	assert_int_equal(image.pvh_entry, has ? ELF_PVH_ENTRY : 0);
}

static void test_notes_of_others(void **state)
{
	uint8_t *note = elf.data + ELF_NOTE;
	store_le32(note + 8, 17); /* type */
	expect_pvh(false);
	store_le32(note + 8, 18);
	note[14] = 'm';
	expect_pvh(false);
	note[14] = 'n';
	store_le32(note, 3); /* the name's length counts its NUL */
	expect_pvh(false);
	store_le32(note, 4);
	expect_pvh(true);
}

static void test_entries_of_odd_lengths(void **state)
{
	static const uint32_t lens[] = { 0, 1, 3, 5, 7 };
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		store_le32(elf.data + ELF_NOTE + 4, lens[i]);
		expect_pvh(false);
	}
}

/* The first entry found counts, whatever notes follow; and notes are where PT_NOTE says, nowhere else. */
static void test_several_notes(void **state)
{
	static const uint8_t other[24] = { 4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 1 };
	uint8_t *more = elf.data + ELF_PHDRS + DATA * ELF_PHDR_LEN;
	const Elf64_Phdr phdr = { .p_type = PT_NOTE, .p_offset = elf.len, .p_filesz = sizeof(other) };
	memcpy(more, &phdr, sizeof(phdr));
	bytes_append(&elf, other, sizeof(other));
	expect_pvh(true);
	memset(elf.data + phdr.p_offset, 0xff, sizeof(other));
	expect_pvh(true);
	store_le32(PHDR(NOTE, p_type), PT_DYNAMIC);
	expect_pvh(false);
}

static void test_notes_out_of_range(void **state)
{
	uint8_t *note = elf.data + ELF_NOTE;
	static const uint32_t lens[] = { 9, 12, 0x80000000, 0xfffffffc, 0xffffffff };
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		store_le32(note, lens[i]);
		expect_pvh(false);
		store_le32(note, 4);
		store_le32(note + 4, lens[i]);
		expect_pvh(false);
		store_le32(note + 4, 8);
	}
	for (size_t len = 0; len < ELF_NOTE_LEN; len++) {
		store_le64(PHDR(NOTE, p_filesz), len);
		expect_pvh(false);
	}
	store_le64(PHDR(NOTE, p_filesz), elf.len);
	refuse(&elf, KERNEL_X86_64, "352 bytes are there, 584 were expected");
	store_le64(PHDR(NOTE, p_filesz), UINT64_MAX);
	refuse(&elf, KERNEL_X86_64, "segment 0 is 0xffffffffffffffff bytes");
}

/* Replace the notes with @len bytes put at the end of the file. */
static void set_notes(const void *notes, size_t len)
{
	store_le64(PHDR(NOTE, p_offset), elf.len);
	store_le64(PHDR(NOTE, p_filesz), len);
	bytes_append(&elf, notes, len);
}

static void test_four_byte_entry(void **state)
{
	uint8_t note[20];
	memcpy(note, elf.data + ELF_NOTE, sizeof(note));
	store_le32(note + 4, 4);
	set_notes(note, sizeof(note));
	expect_pvh(true);
}

/* Another note before the one we want, its name of 5 and descriptor of 6 bytes aligned to @align. */
static size_t aligned_notes(uint8_t *at, size_t align)
{
	const size_t desc = align_up(12 + 5, align), next = align_up(desc + 6, align);
	store_le32(at, 5);
	store_le32(at + 4, 6);
	store_le32(at + 8, 1);
	memcpy(at + 12, "GNU!", 5);
	memset(at + desc, 0xff, 6);
	memcpy(at + next, elf.data + ELF_NOTE, ELF_NOTE_LEN);
	return next + ELF_NOTE_LEN;
}

static void test_both_alignments(void **state)
{
	for (size_t align = 4; align <= 8; align += 4) {
		uint8_t notes[128] = { 0 };
		set_notes(notes, aligned_notes(notes, align));
		expect_pvh(true);
		store_le64(PHDR(NOTE, p_align), 12 - align); /* it says the other */
		expect_pvh(true);
	}
}

static void test_notes_past_the_search(void **state)
{
	struct bytes far = zeros(64 * KIB); /* empty notes, of 12 bytes each: the search ends inside one */
	bytes_append(&far, elf.data + ELF_NOTE, ELF_NOTE_LEN);
	set_notes(far.data, far.len);
	bytes_free(&far);
	expect_pvh(false);
}

static void test_other_elf_files(void **state)
{
	store_le16(EHDR(e_type), ET_DYN);
	refuse(&elf, KERNEL_X86_64, "a 64-bit ELF shared object (or PIE) for x86_64, expected an x86_64 kernel");
	store_le16(EHDR(e_type), ET_REL);
	refuse(&elf, KERNEL_X86_64, "a 64-bit ELF relocatable object (or kernel module) for x86_64");
	store_le16(EHDR(e_type), ET_EXEC);
	store_le16(EHDR(e_machine), EM_AARCH64);
	refuse(&elf, KERNEL_X86_64, "a 64-bit ELF executable for aarch64, expected an x86_64 kernel");
	refuse(&elf, KERNEL_AARCH64,
	       "a 64-bit ELF executable for aarch64, expected an aarch64 kernel: a Linux Image "
	       "(arm64 boots no ELF)");
	store_le16(EHDR(e_machine), 0x7777);
	refuse(&elf, KERNEL_X86_64, "a 64-bit ELF executable for another machine");
	store_le16(EHDR(e_machine), EM_386);
	elf.data[EI_CLASS] = ELFCLASS32;
	refuse(&elf, KERNEL_X86_64, "a 32-bit ELF executable for i386");
	elf.data[EI_DATA] = ELFDATA2MSB;
	elf.data[EI_CLASS] = ELFCLASS64;
	memcpy(EHDR(e_type), "\0\2\0\x16", 4);
	refuse(&elf, KERNEL_X86_64, "a 64-bit big-endian ELF executable for s390");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fields, make, unmake),
		cmocka_unit_test_setup_teardown(test_truncated_anywhere, make, unmake),
		cmocka_unit_test_setup_teardown(test_program_header_table, make, unmake),
		cmocka_unit_test_setup_teardown(test_sixteen_segments, make, unmake),
		cmocka_unit_test_setup_teardown(test_seventeen_segments, make, unmake),
		cmocka_unit_test_setup_teardown(test_hundreds_of_headers, make, unmake),
		cmocka_unit_test_setup_teardown(test_file_ranges, make, unmake),
		cmocka_unit_test_setup_teardown(test_segment_without_bytes, make, unmake),
		cmocka_unit_test_setup_teardown(test_memory_ranges, make, unmake),
		cmocka_unit_test_setup_teardown(test_overlaps, make, unmake),
		cmocka_unit_test_setup_teardown(test_empty_segments_are_none, make, unmake),
		cmocka_unit_test_setup_teardown(test_entries, make, unmake),
		cmocka_unit_test_setup_teardown(test_notes_of_others, make, unmake),
		cmocka_unit_test_setup_teardown(test_entries_of_odd_lengths, make, unmake),
		cmocka_unit_test_setup_teardown(test_several_notes, make, unmake),
		cmocka_unit_test_setup_teardown(test_notes_out_of_range, make, unmake),
		cmocka_unit_test_setup_teardown(test_four_byte_entry, make, unmake),
		cmocka_unit_test_setup_teardown(test_both_alignments, make, unmake),
		cmocka_unit_test_setup_teardown(test_notes_past_the_search, make, unmake),
		cmocka_unit_test_setup_teardown(test_other_elf_files, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
