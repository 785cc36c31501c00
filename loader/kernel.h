/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel images, recognised by content. Pure: bytes in, a description out; everything in the bytes is hostile. The
 * description points into the bytes given (or into unpacked bytes that it owns) and says what goes where; placing it is
 * the business of src/boot.c and arch/.
 */
#ifndef CVMM_LOADER_KERNEL_H
#define CVMM_LOADER_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/error.h"

enum kernel_arch { KERNEL_X86_64, KERNEL_AARCH64 };

enum kernel_format {
	KERNEL_BZIMAGE,     /* Linux/x86 boot protocol >= 2.12 with the 64-bit entry */
	KERNEL_ELF,         /* vmlinux: 64-bit entry and, with its note, PVH */
	KERNEL_ARM64_IMAGE, /* Linux arm64 Image */
};

enum {
	KERNEL_SEGMENTS_MAX = 16,
	KERNEL_UNPACKED_MAX = 512 << 20, /* bytes a packed kernel may unpack to */
};

struct kernel_segment {
	uint64_t gpa;        /* where it goes; for images that can go anywhere, relative to the load address */
	const uint8_t *data; /* not owned */
	uint64_t file_len;   /* bytes of data */
	uint64_t mem_len;    /* >= file_len; the rest is zero */
};

struct kernel_image {
	enum kernel_arch arch;
	enum kernel_format format;
	const char *packing; /* the outermost wrapping: "gzip", "zstd", ..., "EFI zboot, gzip"; NULL: none */
	struct kernel_segment segments[KERNEL_SEGMENTS_MAX]; /* disjoint, checked: gpa + mem_len does not wrap */
	unsigned segment_count;
	uint64_t entry; /* ELF: e_entry as a physical address. bzImage, Image: offset from the load address */
	/* ELF */
	bool has_pvh;
	uint32_t pvh_entry; /* XEN_ELFNOTE_PHYS32_ENTRY, physical */
	/* bzImage: segments[0] is the protected-mode kernel, at gpa 0 relative to the load address */
	const uint8_t *setup_header; /* file offset 0x1f1 on */
	size_t setup_header_len;     /* up to 0x202 + byte[0x201] - 0x1f1, at most 0x7f */
	uint64_t pref_address, init_size;
	uint32_t kernel_alignment, cmdline_size;
	bool relocatable;
	/* arm64 Image: segments[0] is the image, mem_len covers image_size */
	uint64_t text_offset; /* from a 2 MiB aligned base */
	uint64_t image_flags;
	/* unpacked bytes; owned */
	uint8_t *owned;
	size_t owned_len;
};

/*
 * Recognise and describe @data, unpacking it if it is wrapped. @want: the architecture this machine boots; an image of
 * another one is refused by name. On success finish @image with kernel_image_fini().
 * -ENOEXEC: malformed, truncated, unknown or of another architecture, and @err says what the file is and what was
 * expected, in one line without the file's name; -ENOMEM. @data must stay in place while @image is used.
 */
int kernel_image_parse(const uint8_t *data, size_t len, enum kernel_arch want, struct kernel_image *image,
                       struct cvmm_error *err);
void kernel_image_fini(struct kernel_image *image); /* zeroed and finished ones are welcome */

/* How to say it in logs: "bzImage", "ELF vmlinux (zstd)", ...; into @buf. */
const char *kernel_image_describe(const struct kernel_image *image, char *buf, size_t size);

#endif
