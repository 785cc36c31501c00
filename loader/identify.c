// SPDX-License-Identifier: Apache-2.0
/* Names what is no kernel for us, so that whoever gave the wrong file sees which one it was. */
#include "loader/formats.h"

#include <byteswap.h>
#include <ctype.h>
#include <elf.h>
#include <stdio.h>

#include "src/base/util.h"

enum { LOOK_MAX = 4096 }; /* bytes that tell text and emptiness */

static const struct {
	size_t offset;
	const char *magic;
	size_t magic_len;
	const char *what;
} magics[] = {
#define MAGIC(offset, magic, what)                                                                                     \
	{                                                                                                              \
		offset, magic, sizeof(magic) - 1, what                                                                 \
	}
	MAGIC(0, ".eif", "an enclave image (EIF)"),
	MAGIC(0, "070701", "an initramfs (cpio archive)"),
	MAGIC(0, "070702", "an initramfs (cpio archive)"),
	MAGIC(0, "QFI\xfb", "a qcow2 disk image"),
	MAGIC(0, "KDMV", "a VMDK disk image"),
	MAGIC(0, "conectix", "a VHD disk image"),
	MAGIC(0, "vhdxfile", "a VHDX disk image"),
	MAGIC(0, "hsqs", "a squashfs file system"),
	MAGIC(0, "XFSB", "an XFS file system"),
	MAGIC(0, "\xd0\x0d\xfe\xed", "a flattened device tree"),
	MAGIC(0, "\x27\x05\x19\x56", "a U-Boot uImage"),
	MAGIC(0, "BZh", "bzip2 data"),
	MAGIC(0, "\x89LZO", "lzop data"),
	MAGIC(0, "!<arch>\n", "a Debian package or ar archive"),
	MAGIC(0, "PK\x03\x04", "a zip archive"),
	MAGIC(0, "#!", "a script"),
	MAGIC(0x30, "RISCV", "a riscv64 Linux Image"),
	MAGIC(0x101, "ustar", "a tar archive"),
	MAGIC(0x200, "EFI PART", "a disk image (GPT)"),
	MAGIC(0x438, "\x53\xef", "an ext4 file system"),
	MAGIC(0x8001, "CD001", "a CD image (ISO 9660)"),
#undef MAGIC
};

struct name {
	uint16_t value;
	const char *name;
};

static const struct name elf_types[] = {
	{ ET_REL, "relocatable object (or kernel module)" },
	{ ET_EXEC, "executable" },
	{ ET_DYN, "shared object (or PIE)" },
	{ ET_CORE, "core dump" },
};

static const struct name elf_machines[] = {
	{ EM_386, "i386" },        { EM_ARM, "arm" },     { EM_X86_64, "x86_64" },
	{ EM_AARCH64, "aarch64" }, { EM_RISCV, "riscv" }, { EM_PPC64, "ppc64" },
	{ EM_S390, "s390" },       { EM_MIPS, "mips" },   { 258, "loongarch" },
};

static const struct name pe_machines[] = {
	{ 0x014c, "i386" }, { 0x01c2, "arm" }, { 0x8664, "x86_64" }, { 0xaa64, "aarch64" }, { 0x5064, "riscv64" },
};

static const char *name_of(const struct name *names, size_t count, unsigned value)
{
	for (size_t i = 0; i < count; i++)
		if (names[i].value == value)
			return names[i].name;
	return NULL;
}

static const char *identify_elf(const uint8_t *data, size_t len, char *buf, size_t size)
{
	if (len < offsetof(Elf64_Ehdr, e_version))
		return "the first bytes of an ELF file";
	bool big = data[EI_DATA] == ELFDATA2MSB;
	unsigned type = load_le16(data + offsetof(Elf64_Ehdr, e_type));
	unsigned machine = load_le16(data + offsetof(Elf64_Ehdr, e_machine));
	if (big) {
		type = bswap_16(type);
		machine = bswap_16(machine);
	}
	const char *type_name = name_of(elf_types, ARRAY_SIZE(elf_types), type);
	const char *machine_name = name_of(elf_machines, ARRAY_SIZE(elf_machines), machine);
	snprintf(buf, size, "a %s-bit %sELF %s for %s", data[EI_CLASS] == ELFCLASS64 ? "64" : "32",
	         big ? "big-endian " : "", type_name ? type_name : "file",
	         machine_name ? machine_name : "another machine");
	return buf;
}

/* An EFI program, or anything else that Windows or DOS could run. */
static const char *identify_mz(const uint8_t *data, size_t len, char *buf, size_t size)
{
	enum { PE_OFFSET = 60, PE_MACHINE = 4 };
	if (len < PE_OFFSET + 4)
		return "the first bytes of an EFI or DOS program";
	uint64_t pe = load_le32(data + PE_OFFSET);
	if (!range_inside(pe, PE_MACHINE + 2, len) || memcmp(data + pe, "PE\0\0", 4) != 0)
		return "a DOS program, or the first bytes of an EFI one";
	const char *machine = name_of(pe_machines, ARRAY_SIZE(pe_machines), load_le16(data + pe + PE_MACHINE));
	snprintf(buf, size, "an EFI program (PE) for %s", machine ? machine : "another machine");
	return buf;
}

static bool all_of(const uint8_t *data, size_t len, bool (*is)(uint8_t byte))
{
	for (size_t i = 0; i < MIN(len, (size_t)LOOK_MAX); i++)
		if (!is(data[i]))
			return false;
	return true;
}

static bool is_zero(uint8_t byte)
{
	return byte == 0;
}

static bool is_text(uint8_t byte)
{
	return isascii(byte) && (isprint(byte) || isspace(byte) || byte == '\033');
}

const char *identify(const uint8_t *data, size_t len, char *buf, size_t size)
{
	if (len == 0)
		return "an empty file";
	if (len >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0)
		return identify_elf(data, len, buf, size);
	for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
		if (range_inside(magics[i].offset, magics[i].magic_len, len) &&
		    memcmp(data + magics[i].offset, magics[i].magic, magics[i].magic_len) == 0)
			return magics[i].what;
	if (len >= 2 && memcmp(data, "MZ", 2) == 0)
		return identify_mz(data, len, buf, size);
	if (all_of(data, len, is_zero))
		return "zero bytes";
	if (all_of(data, len, is_text))
		return "ASCII text";
	if (len >= 512 && data[510] == 0x55 && data[511] == 0xaa)
		return "a disk image or boot sector";
	return "an unknown format";
}
