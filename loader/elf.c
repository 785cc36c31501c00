// SPDX-License-Identifier: Apache-2.0
/*
 * ELF vmlinux for x86_64: PT_LOAD segments go to their physical addresses, e_entry is the 64-bit entry (boot.rst, "64-bit
 * BOOT PROTOCOL", applied to vmlinux), and a Xen note may give a PVH entry (Xen, docs/misc/pvh.pandoc). Section headers
 * and virtual addresses are not looked at.
 */
#include "loader/formats.h"

#include <elf.h>
#include <errno.h>

#include "src/base/util.h"

enum {
	XEN_ELFNOTE_PHYS32_ENTRY = 18,
	PHDRS_MAX = 128,       /* a vmlinux has five; with NOTES_MAX it bounds the search for notes */
	NOTES_MAX = 64 * 1024, /* bytes of one PT_NOTE that are searched */
};

bool elf_match(const uint8_t *data, size_t len)
{
	return len >= offsetof(Elf64_Ehdr, e_version) && memcmp(data, ELFMAG, SELFMAG) == 0 &&
	       data[EI_CLASS] == ELFCLASS64 && data[EI_DATA] == ELFDATA2LSB &&
	       load_le16(data + offsetof(Elf64_Ehdr, e_type)) == ET_EXEC &&
	       load_le16(data + offsetof(Elf64_Ehdr, e_machine)) == EM_X86_64;
}

static int truncated(size_t len, uint64_t needed, struct cvmm_error *err)
{
	return err_set(err, -ENOEXEC, "truncated ELF vmlinux: %zu bytes are there, %llu were expected", len,
	               (unsigned long long)needed);
}

/* The file header and the table of program headers lie inside the file, and entries have the size that we know. */
static int check_header(const uint8_t *data, size_t len, Elf64_Ehdr *ehdr, struct cvmm_error *err)
{
	if (len < sizeof(*ehdr))
		return truncated(len, sizeof(*ehdr), err);
	memcpy(ehdr, data, sizeof(*ehdr)); /* little endian, as are all our hosts */
	if (ehdr->e_phnum == 0 || ehdr->e_phnum > PHDRS_MAX || ehdr->e_phentsize != sizeof(Elf64_Phdr))
		return err_set(err, -ENOEXEC,
		               "corrupt ELF vmlinux: %u program headers of %u bytes, expected 1 to %d of %zu",
		               ehdr->e_phnum, ehdr->e_phentsize, PHDRS_MAX, sizeof(Elf64_Phdr));
	uint64_t table_len = ehdr->e_phnum * sizeof(Elf64_Phdr), end;
	if (__builtin_add_overflow(ehdr->e_phoff, table_len, &end))
		return err_set(err, -ENOEXEC, "corrupt ELF vmlinux: program headers at offset 0x%llx",
		               (unsigned long long)ehdr->e_phoff);
	return end > len ? truncated(len, end, err) : 0;
}

static Elf64_Phdr program_header(const uint8_t *data, const Elf64_Ehdr *ehdr, unsigned i)
{
	Elf64_Phdr phdr;
	memcpy(&phdr, data + ehdr->e_phoff + i * sizeof(phdr), sizeof(phdr));
	return phdr;
}

/* All that is loaded or read is inside the file; the error says how long that should be. What has no bytes there, like
 * a segment of .bss alone, has no place there: linkers put its offset where a next page would be. */
static int check_length(const uint8_t *data, size_t len, const Elf64_Ehdr *ehdr, struct cvmm_error *err)
{
	uint64_t needed = 0, end;
	for (unsigned i = 0; i < ehdr->e_phnum; i++) {
		const Elf64_Phdr phdr = program_header(data, ehdr, i);
		if ((phdr.p_type != PT_LOAD && phdr.p_type != PT_NOTE) || !phdr.p_filesz)
			continue;
		if (__builtin_add_overflow(phdr.p_offset, phdr.p_filesz, &end))
			return err_set(err, -ENOEXEC,
			               "corrupt ELF vmlinux: segment %u is 0x%llx bytes at file offset 0x%llx", i,
			               (unsigned long long)phdr.p_filesz, (unsigned long long)phdr.p_offset);
		needed = MAX(needed, end);
	}
	return needed > len ? truncated(len, needed, err) : 0;
}

static bool overlaps(const struct kernel_segment *a, const struct kernel_segment *b)
{
	return a->gpa < b->gpa + b->mem_len && b->gpa < a->gpa + a->mem_len;
}

/* @phdr's memory: at least its file bytes, below the end of address spaces, apart from the segments so far. */
static int check_memory(const Elf64_Phdr *phdr, unsigned i, const struct kernel_image *image, struct cvmm_error *err)
{
	if (phdr->p_memsz < phdr->p_filesz)
		return err_set(err, -ENOEXEC,
		               "corrupt ELF vmlinux: segment %u has 0x%llx bytes in the file, 0x%llx in memory", i,
		               (unsigned long long)phdr->p_filesz, (unsigned long long)phdr->p_memsz);
	if (!range_inside(phdr->p_paddr, phdr->p_memsz, KERNEL_GPA_END))
		return err_set(err, -ENOEXEC,
		               "corrupt ELF vmlinux: segment %u is 0x%llx bytes at physical address 0x%llx", i,
		               (unsigned long long)phdr->p_memsz, (unsigned long long)phdr->p_paddr);
	const struct kernel_segment new = { .gpa = phdr->p_paddr, .mem_len = phdr->p_memsz };
	for (unsigned s = 0; s < image->segment_count; s++)
		if (overlaps(&image->segments[s], &new))
			return err_set(err, -ENOEXEC,
			               "corrupt ELF vmlinux: segment %u at 0x%llx overlaps one at 0x%llx", i,
			               (unsigned long long)new.gpa, (unsigned long long)image->segments[s].gpa);
	return 0;
}

static int add_segment(const uint8_t *data, const Elf64_Phdr *phdr, unsigned i, struct kernel_image *image,
                       struct cvmm_error *err)
{
	int ret = check_memory(phdr, i, image, err);
	if (ret < 0 || phdr->p_memsz == 0)
		return ret;
	if (image->segment_count == KERNEL_SEGMENTS_MAX)
		return err_set(err, -ENOEXEC, "an ELF vmlinux of more than %d segments", KERNEL_SEGMENTS_MAX);
	image->segments[image->segment_count++] = (struct kernel_segment){
		.gpa = phdr->p_paddr,
		.data = phdr->p_filesz ? data + phdr->p_offset : data,
		.file_len = phdr->p_filesz,
		.mem_len = phdr->p_memsz,
	};
	return 0;
}

/*
 * Look for the PVH entry in notes whose descriptors and successors are aligned to @align. Notes that make no sense end
 * the search: a kernel boots well without them.
 */
static bool find_pvh_note(const uint8_t *notes, size_t len, uint64_t align, uint64_t *entry)
{
	Elf64_Nhdr nhdr;
	uint64_t name, desc;
	for (uint64_t at = 0; range_inside(at, sizeof(nhdr), len); at = align_up(desc + nhdr.n_descsz, align)) {
		memcpy(&nhdr, notes + at, sizeof(nhdr));
		name = at + sizeof(nhdr);
		desc = align_up(name + nhdr.n_namesz, align); /* lengths are of 32 bits: nothing wraps */
		if (!range_inside(name, nhdr.n_namesz, len) || !range_inside(desc, nhdr.n_descsz, len))
			return false;
		if (nhdr.n_type != XEN_ELFNOTE_PHYS32_ENTRY || nhdr.n_namesz != 4 ||
		    memcmp(notes + name, "Xen", 4) != 0)
			continue;
		if (nhdr.n_descsz != 4 && nhdr.n_descsz != 8) /* 32 or 64 bits, as its assembler chose */
			return false;
		*entry = nhdr.n_descsz == 4 ? load_le32(notes + desc) : load_le64(notes + desc);
		return true;
	}
	return false;
}

/* The gABI aligns 64-bit notes to 8, most tools to 4, and p_align is no sure sign of either: try both. */
static void read_notes(const uint8_t *data, const Elf64_Phdr *phdr, struct kernel_image *image, uint64_t *pvh_entry)
{
	const uint8_t *notes = data + phdr->p_offset;
	size_t len = MIN(phdr->p_filesz, (uint64_t)NOTES_MAX);
	if (!image->has_pvh)
		image->has_pvh = find_pvh_note(notes, len, 4, pvh_entry) || find_pvh_note(notes, len, 8, pvh_entry);
}

static int check_entry(const struct kernel_image *image, const char *name, uint64_t entry, struct cvmm_error *err)
{
	for (unsigned i = 0; i < image->segment_count; i++)
		if (entry >= image->segments[i].gpa && entry - image->segments[i].gpa < image->segments[i].file_len)
			return 0;
	return err_set(err, -ENOEXEC,
	               "corrupt ELF vmlinux: its %s, physical address 0x%llx, is in none of its segments", name,
	               (unsigned long long)entry);
}

static int read_segments(const uint8_t *data, const Elf64_Ehdr *ehdr, struct kernel_image *image, uint64_t *pvh_entry,
                         struct cvmm_error *err)
{
	int ret = 0;
	for (unsigned i = 0; i < ehdr->e_phnum && ret == 0; i++) {
		const Elf64_Phdr phdr = program_header(data, ehdr, i);
		if (phdr.p_type == PT_LOAD)
			ret = add_segment(data, &phdr, i, image, err);
		else if (phdr.p_type == PT_NOTE && phdr.p_filesz)
			read_notes(data, &phdr, image, pvh_entry);
	}
	return ret;
}

int elf_parse(const uint8_t *data, size_t len, struct kernel_image *image, struct cvmm_error *err)
{
	Elf64_Ehdr ehdr = { 0 };
	uint64_t pvh_entry = 0;
	int ret = check_header(data, len, &ehdr, err);
	if (ret == 0)
		ret = check_length(data, len, &ehdr, err);
	if (ret == 0)
		ret = read_segments(data, &ehdr, image, &pvh_entry, err);
	if (ret == 0)
		ret = check_entry(image, "entry", ehdr.e_entry, err);
	if (ret == 0 && image->has_pvh)
		ret = check_entry(image, "PVH entry", pvh_entry, err);
	if (ret == 0 && pvh_entry > UINT32_MAX)
		ret = err_set(err, -ENOEXEC, "corrupt ELF vmlinux: its PVH entry 0x%llx is above 4 GiB",
		              (unsigned long long)pvh_entry);
	if (ret < 0)
		return ret;
	image->entry = ehdr.e_entry;
	image->pvh_entry = (uint32_t)pvh_entry;
	return 0;
}
