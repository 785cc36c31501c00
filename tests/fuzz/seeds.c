// SPDX-License-Identifier: Apache-2.0
/*
 * seeds FUZZER DIR - write the inputs that FUZZER starts from into DIR, each a file; nothing for one that needs none.
 * They are made here, so that no binary file is kept in the repository.
 */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "src/base/util.h"
#include "src/block/zone_format.h"
#include "tests/support/images.h"

static const char *dir;

/* Takes @bytes over. */
static void write_seed(const char *name, struct bytes bytes)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "w");
	if (!file || fwrite(bytes.data, 1, bytes.len, file) != bytes.len || fclose(file) != 0) {
		perror(path);
		exit(1);
	}
	bytes_free(&bytes);
}

static void seed_bzimage(void)
{
	write_seed("bzimage", make_bzimage());
}

/* With both entries beyond 4 GiB. */
static void seed_elf_high(void)
{
	struct bytes elf = make_elf();
	store_le64(elf.data + ELF_PHDRS + ELF_PHDR_LEN + offsetof(Elf64_Phdr, p_paddr), 4 * GIB);
	store_le64(elf.data + offsetof(Elf64_Ehdr, e_entry), 4 * GIB);
	store_le64(elf.data + ELF_NOTE + 16, 4 * GIB); /* PVH's */
	write_seed("elf-high", elf);
}

/* With more segments than are taken. */
static void seed_elf_many(void)
{
	enum { SEGMENTS = 20 };
	struct bytes elf = make_elf();
	store_le64(elf.data + offsetof(Elf64_Ehdr, e_phoff), elf.len);
	store_le16(elf.data + offsetof(Elf64_Ehdr, e_phnum), SEGMENTS);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		const Elf64_Phdr bss = { .p_type = PT_LOAD, .p_paddr = (i + 1) * MIB, .p_memsz = MIB };
		bytes_append(&elf, &bss, sizeof(bss));
	}
	write_seed("elf-many", elf);
}

static void seed_elf(void)
{
	seed_elf_high();
	seed_elf_many();
	write_seed("elf", make_elf());
}

static void seed_arm64_image(void)
{
	struct bytes old = make_arm64_image();
	memset(old.data, 0, 56); /* no EFI stub, no image_size */
	write_seed("arm64_image-old", old);
	write_seed("arm64_image", make_arm64_image());
}

/* @plain, which is taken over, in each packing, and if @zboot in a zboot image. */
static void seed_packed(const char *name, struct bytes plain, bool zboot)
{
	for (size_t i = 0; packing_names[i]; i++) {
		char path[64];
		struct bytes packed = pack(packing_names[i], &plain);
		if (zboot) {
			char comp_type[8] = { 0 }; /* the first word: zboot's "lz4" is legacy lz4 */
			memcpy(comp_type, packing_names[i], strcspn(packing_names[i], " "));
			struct bytes image = make_zboot(comp_type, &packed);
			bytes_free(&packed);
			packed = image;
		}
		snprintf(path, sizeof(path), "%s-%s", name, packing_names[i]);
		write_seed(path, packed);
	}
	bytes_free(&plain);
}

static void seed_zboot(void)
{
	seed_packed("zboot", make_arm64_image(), true);
}

/* What unpacks to more than the fuzzer's limit, packed as small as it gets. */
static void seed_bombs(size_t len)
{
	static const char *const how[] = { "gzip", "zstd", "xz" };
	struct bytes plain = zeros(len);
	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		char path[64];
		snprintf(path, sizeof(path), "bomb-%s", how[i]);
		write_seed(path, pack(how[i], &plain));
	}
	bytes_free(&plain);
}

/* An ELF kernel in four wrappings, which is as many as are taken off, and in five. */
static void seed_nested(void)
{
	static const char *const how[] = { "gzip", "zstd", "lz4", "xz", "gzip" };
	struct bytes nested = make_elf();
	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		struct bytes packed = pack(how[i], &nested);
		bytes_free(&nested);
		nested = packed;
		if (i == 3)
			write_seed("nested-4", bytes_of(nested.data, nested.len));
	}
	write_seed("nested-5", nested);
}

static void seed_unpack(void)
{
	seed_bombs(2 * MIB);
	struct bytes plain = zeros(300);
	for (size_t i = 0; i < plain.len; i++)
		plain.data[i] = (uint8_t)(i * i >> 3);
	seed_packed("packed", plain, false);
	seed_packed("nothing", bytes_of("\0", 1), false);
}

static void seed_identify(void)
{
	seed_bzimage();
	seed_elf();
	seed_arm64_image();
	write_seed("text", bytes_of("#!/bin/sh\n", 10));
	struct bytes efi = make_arm64_image();
	memset(efi.data + 56, 0, 4); /* an EFI program that is no Image */
	write_seed("efi", efi);
}

static void seed_kernel(void)
{
	seed_identify();
	seed_zboot();
	seed_packed("elf", make_elf(), false);
	seed_packed("bzimage", make_bzimage(), false);
	seed_bombs(5 * MIB);
	seed_nested();
}

/* @image, which is taken over, behind a machine's memory and the length of an initrd. */
static void seed_machine(const char *name, struct bytes image)
{
	static const uint32_t mib[] = { 1, 80, 3072, 5120 };
	for (size_t i = 0; i < ARRAY_SIZE(mib); i++) {
		char path[64];
		struct bytes seed = zeros(12);
		store_le32(seed.data, mib[i] - 1);
		store_le64(seed.data + 4, mib[i] % 3 * 5 * MIB + 1);
		bytes_append(&seed, image.data, image.len);
		snprintf(path, sizeof(path), "%s-%u", name, mib[i]);
		write_seed(path, seed);
	}
	bytes_free(&image);
}

static void seed_place(void)
{
	seed_machine("bzimage", make_bzimage());
	seed_machine("elf", make_elf());
	seed_machine("arm64_image", make_arm64_image());
}

/* As in a file, behind the byte that asks for right checksums; with some operations. */
static void seed_zone_file(void)
{
	static const uint8_t operations[] = {
		0, 3, 0, 8, 2, 3, 0, 8, 4, 4, 0, 0, 6, 3, 0, 0, 7, 3, 0, 0, 3, 3, 0, 200
	};
	static const struct zone_record records[8] = { [3] = { .written = 4096 }, [5] = { .offline = true } };
	struct zone_geometry geometry = {
		.model = ZONE_MODEL_HOST_MANAGED,
		.size = 8 << 16,
		.zone_size = 1 << 16,
		.zone_capacity = 48 << 10,
		.conventional = 2,
		.max_open = 2,
		.max_active = 3,
		.max_append = 16384,
		.block_size = 512,
	};
	size_t head = (size_t)zone_format_head(&geometry);
	struct bytes file = zeros(1 + head + sizeof(operations));
	uint8_t *bytes = file.data + 1;
	file.data[0] = 1;
	for (unsigned i = 0; i < ZONE_SUPERBLOCKS; i++)
		zone_format_super(bytes + i * ZONE_PAGE_SIZE, &geometry, 7);
	for (unsigned i = 0; i < 2; i++)
		zone_format_page(bytes + zone_format_page_off(0, i), 7, 0, i + 1, records, ARRAY_SIZE(records));
	memcpy(bytes + head, operations, sizeof(operations));
	write_seed("zoned", file);
}

static const struct {
	const char *fuzzer;
	void (*write)(void);
} seeds[] = {
	{ "fuzz_bzimage", seed_bzimage }, { "fuzz_elf", seed_elf },       { "fuzz_arm64_image", seed_arm64_image },
	{ "fuzz_zboot", seed_zboot },     { "fuzz_unpack", seed_unpack }, { "fuzz_identify", seed_identify },
	{ "fuzz_kernel", seed_kernel },   { "fuzz_place", seed_place },
	{ "fuzz_zone_file", seed_zone_file },
};

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: seeds FUZZER DIR\n");
		return 2;
	}
	dir = argv[2];
	for (size_t i = 0; i < ARRAY_SIZE(seeds); i++)
		if (strcmp(argv[1], seeds[i].fuzzer) == 0)
			seeds[i].write();
	return 0;
}
