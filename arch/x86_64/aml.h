/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer of AML (ACPI 6.5, chapter 20), enough for our DSDT. Terms are written in order; what encloses others is
 * opened and closed, and closing puts the length in front. Past the end of the buffer nothing is written and
 * `overflow` stays set: check it once, at the end.
 */
#ifndef CVMM_ARCH_X86_64_AML_H
#define CVMM_ARCH_X86_64_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf; /* not owned */
	size_t len, size;
	bool overflow;
};

/* Where something opened starts; given back to aml_close(). */
typedef size_t aml_mark;

/* Data. */
void aml_integer(struct aml *aml, uint64_t val);
void aml_string(struct aml *aml, const char *str);          /* ASCII */
void aml_eisa_id(struct aml *aml, const char id[static 7]); /* "PNP0501": three letters, four hex digits */

/* Names: "COM1", "_SB", "\\_SB.PWRB"; segments of at most four characters are padded. */
void aml_path(struct aml *aml, const char *path);
void aml_name(struct aml *aml, const char *path); /* Name (path, ...: the next term */

/* Enclosing terms. */
aml_mark aml_scope(struct aml *aml, const char *path);
aml_mark aml_device(struct aml *aml, const char *path);
aml_mark aml_method(struct aml *aml, const char *path, unsigned args); /* serialized */
aml_mark aml_package(struct aml *aml, uint8_t count);
aml_mark aml_if(struct aml *aml); /* the next term is the predicate */
void aml_close(struct aml *aml, aml_mark mark);

/* Inside methods. */
void aml_local0(struct aml *aml);
void aml_store_in_local0(struct aml *aml, const char *from);
void aml_local0_and(struct aml *aml, uint64_t mask); /* an expression */
void aml_notify(struct aml *aml, const char *path, uint8_t what);

/* A byte-wide register in I/O space, as a field of its own. */
void aml_io_byte(struct aml *aml, const char *region, const char *field, uint16_t port);

/* Name (_CRS, ResourceTemplate () {...}): open, any number of resources, close. */
aml_mark aml_crs(struct aml *aml);
void aml_crs_close(struct aml *aml, aml_mark mark);
void aml_io(struct aml *aml, uint16_t port, uint8_t len);
void aml_memory32(struct aml *aml, uint32_t base, uint32_t len);
enum aml_trigger { AML_LEVEL, AML_EDGE }; /* both active-high, exclusive */
void aml_interrupt(struct aml *aml, enum aml_trigger trigger, uint32_t gsi);

#endif
