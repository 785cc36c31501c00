// SPDX-License-Identifier: Apache-2.0
#include "tests/support/images.h"

#include <elf.h>
#include <lz4.h>
#include <lz4frame.h>
#include <lzma.h>
#include <stdio.h>
#include <zlib.h>
#include <zstd.h>

#include "src/base/util.h"

const char *const packing_names[] = { "gzip", "zstd", "lz4", "lz4 legacy", "xz", "lzma", NULL };

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "images: %s failed\n", what);
	abort();
}

struct bytes zeros(size_t len)
{
	struct bytes bytes = { calloc(1, MAX(len, (size_t)1)), len };
	must(bytes.data, "calloc");
	return bytes;
}

struct bytes bytes_of(const void *data, size_t len)
{
	struct bytes bytes = zeros(len);
	memcpy(bytes.data, data, len);
	return bytes;
}

void bytes_append(struct bytes *bytes, const void *data, size_t len)
{
	bytes->data = realloc(bytes->data, MAX(bytes->len + len, (size_t)1));
	must(bytes->data, "realloc");
	memcpy(bytes->data + bytes->len, data, len);
	bytes->len += len;
}

void bytes_free(struct bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct bytes){ 0 };
}

/* A magic number: characters, no string. */
static void put(uint8_t *at, const char *magic, size_t len)
{
	memcpy(at, magic, len);
}

struct bytes make_bzimage(void)
{
	struct bytes image = zeros(BZ_SETUP_LEN + BZ_KERNEL_LEN);
	uint8_t *at = image.data;
	at[0x1f1] = 1;                              /* setup_sects */
	store_le32(at + 0x1f4, BZ_KERNEL_LEN / 16); /* syssize */
	store_le16(at + 0x1fe, 0xaa55);             /* boot_flag */
	store_le16(at + 0x200, 0x6aeb);             /* jump: the header ends at 0x26c */
	put(at + 0x202, "HdrS", 4);
	store_le16(at + 0x206, 0x020f);    /* version */
	at[0x211] = 1;                     /* loadflags: LOADED_HIGH */
	store_le32(at + 0x230, 0x200000);  /* kernel_alignment */
	at[0x234] = 1;                     /* relocatable_kernel */
	store_le16(at + 0x236, 0x7f);      /* xloadflags: XLF_KERNEL_64 and all others */
	store_le32(at + 0x238, 2047);      /* cmdline_size */
	store_le64(at + 0x258, 0x1000000); /* pref_address */
	store_le32(at + 0x260, 0x37dc000); /* init_size */
	memset(at + BZ_SETUP_LEN, 0x90, BZ_KERNEL_LEN);
	return image;
}

static void put_phdr(struct bytes *image, unsigned i, Elf64_Phdr phdr)
{
	memcpy(image->data + ELF_PHDRS + i * sizeof(phdr), &phdr, sizeof(phdr));
}

static void put_pvh_note(uint8_t *at)
{
	store_le32(at, 4);
	store_le32(at + 4, 8);
	store_le32(at + 8, 18);
	put(at + 12, "Xen", 4);
	store_le64(at + 16, ELF_PVH_ENTRY);
}

struct bytes make_elf(void)
{
	struct bytes image = zeros(ELF_DATA + ELF_DATA_LEN);
	const Elf64_Ehdr ehdr = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = ELF_ENTRY,
		.e_phoff = ELF_PHDRS,
		.e_ehsize = sizeof(ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	memcpy(image.data, &ehdr, sizeof(ehdr));
	put_phdr(&image, 0,
	         (Elf64_Phdr){ .p_type = PT_NOTE,
	                       .p_offset = ELF_NOTE,
	                       .p_filesz = ELF_NOTE_LEN,
	                       .p_memsz = ELF_NOTE_LEN,
	                       .p_align = 4 });
	put_phdr(&image, 1,
	         (Elf64_Phdr){ .p_type = PT_LOAD,
	                       .p_offset = ELF_TEXT,
	                       .p_filesz = ELF_TEXT_LEN,
	                       .p_vaddr = 0xffffffff81000000,
	                       .p_paddr = ELF_TEXT_GPA,
	                       .p_memsz = ELF_TEXT_MEM_LEN });
	put_phdr(&image, 2,
	         (Elf64_Phdr){ .p_type = PT_LOAD,
	                       .p_offset = ELF_DATA,
	                       .p_filesz = ELF_DATA_LEN,
	                       .p_paddr = ELF_DATA_GPA,
	                       .p_memsz = ELF_DATA_MEM_LEN });
	put_pvh_note(image.data + ELF_NOTE);
	memset(image.data + ELF_TEXT, 0x90, ELF_TEXT_LEN);
	memset(image.data + ELF_DATA, 0xda, ELF_DATA_LEN);
	return image;
}

static void put_pe_section(uint8_t *at, uint32_t offset, uint32_t len)
{
	store_le32(at + 16, len);
	store_le32(at + 20, offset);
}

struct bytes make_arm64_image(void)
{
	enum { COFF = 64, SECTIONS = COFF + 24 + 16 /* an optional header */, TEXT = 256, DATA = 384 };
	struct bytes image = zeros(ARM64_LEN);
	uint8_t *at = image.data;
	put(at, "MZ", 2);
	store_le64(at + 16, ARM64_IMAGE_SIZE);
	store_le64(at + 24, 0xa); /* flags: 4 KiB pages, anywhere in memory */
	put(at + 56, "ARM\x64", 4);
	store_le32(at + 60, COFF);
	put(at + COFF, "PE\0", 4);
	store_le16(at + COFF + 4, 0xaa64);
	store_le16(at + COFF + 6, 2);   /* sections */
	store_le16(at + COFF + 20, 16); /* the optional header's length */
	put_pe_section(at + SECTIONS, TEXT, DATA - TEXT);
	put_pe_section(at + SECTIONS + 40, DATA, ARM64_LEN - DATA);
	memset(at + TEXT, 0x1f, ARM64_LEN - TEXT);
	return image;
}

struct bytes make_zboot(const char *comp_type, const struct bytes *payload)
{
	struct bytes image = zeros(ZBOOT_PAYLOAD);
	put(image.data, "MZ\0\0zimg", 8);
	store_le32(image.data + 8, ZBOOT_PAYLOAD);
	store_le32(image.data + 12, (uint32_t)payload->len);
	memcpy(image.data + 24, comp_type, strnlen(comp_type, 32));
	store_le32(image.data + 56, 0x818223cd);
	bytes_append(&image, payload->data, payload->len);
	return image;
}

static size_t pack_gzip(const struct bytes *in, uint8_t *out, size_t room)
{
	z_stream zlib = { .next_in = in->data, .avail_in = (uInt)in->len, .next_out = out, .avail_out = (uInt)room };
	must(deflateInit2(&zlib, 9, Z_DEFLATED, 16 + 15, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
	must(deflate(&zlib, Z_FINISH) == Z_STREAM_END, "deflate");
	deflateEnd(&zlib);
	return zlib.total_out;
}

static size_t pack_zstd(const struct bytes *in, uint8_t *out, size_t room)
{
	return ZSTD_compress(out, room, in->data, in->len, 3);
}

static size_t pack_lz4(const struct bytes *in, uint8_t *out, size_t room)
{
	const LZ4F_preferences_t checked = { .frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled };
	return LZ4F_compressFrame(out, room, in->data, in->len, &checked);
}

static size_t pack_lz4_legacy(const struct bytes *in, uint8_t *out, size_t room)
{
	enum { BLOCK = 8 << 20 };
	put(out, "\x02\x21\x4c\x18", 4);
	size_t used = 4;
	for (size_t at = 0; at < in->len; at += BLOCK) {
		int n = LZ4_compress_default((const char *)in->data + at, (char *)out + used + 4,
		                             (int)MIN(in->len - at, (size_t)BLOCK), (int)(room - used - 4));
		must(n > 0, "LZ4_compress_default");
		store_le32(out + used, (uint32_t)n);
		used += 4 + (size_t)n;
	}
	return used;
}

static size_t pack_xz(const struct bytes *in, uint8_t *out, size_t room)
{
	size_t used = 0;
	must(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, in->data, in->len, out, &used, room) == LZMA_OK, "xz");
	return used;
}

static size_t pack_lzma(const struct bytes *in, uint8_t *out, size_t room)
{
	lzma_stream lzma = LZMA_STREAM_INIT;
	lzma_options_lzma options;
	must(!lzma_lzma_preset(&options, 0) && lzma_alone_encoder(&lzma, &options) == LZMA_OK, "lzma_alone_encoder");
	lzma.next_in = in->data;
	lzma.avail_in = in->len;
	lzma.next_out = out;
	lzma.avail_out = room;
	must(lzma_code(&lzma, LZMA_FINISH) == LZMA_STREAM_END, "lzma");
	lzma_end(&lzma);
	return room - lzma.avail_out;
}

struct bytes pack(const char *how, const struct bytes *plain)
{
	static size_t (*const packers[])(const struct bytes *in, uint8_t *out, size_t room) = {
		pack_gzip, pack_zstd, pack_lz4, pack_lz4_legacy, pack_xz, pack_lzma,
	};
	for (size_t i = 0; packing_names[i]; i++) {
		if (strcmp(how, packing_names[i]) != 0)
			continue;
		struct bytes packed = zeros(plain->len + plain->len / 8 + 4096);
		packed.len = packers[i](plain, packed.data, packed.len);
		must(packed.len <= plain->len + plain->len / 8 + 4096, how); /* an error is a large number */
		return packed;
	}
	must(false, how);
	return (struct bytes){ 0 };
}
