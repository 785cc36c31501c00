/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of options: from text, back to text, and what is wrong with one in words. An option is a line of a table
 * (options.c); where its value is kept is an offset in the struct that the table is about.
 */
#ifndef CVMM_SRC_OPTION_H
#define CVMM_SRC_OPTION_H

#include <cvmm.h>

/* Room for words of a message. */
struct words {
	char text[192];
};

/* By its name; NULL: none. The second: what @name was probably meant to be; NULL: none is near. */
const struct cvmm_option *option_find(const struct cvmm_option *options, size_t count, const char *name);
const struct cvmm_option *option_near(const struct cvmm_option *options, size_t count, const char *name);

/* Where the struct at @base keeps the value. */
static inline void *option_field(const void *base, const struct cvmm_option *option)
{
	return (char *)base + option->field;
}

/* Is the value an owned string? */
static inline bool option_is_text(const struct cvmm_option *option)
{
	return option->type == CVMM_OPTION_STRING || option->type == CVMM_OPTION_PATH;
}

/* -ENOMEM, -EINVAL, -ERANGE, then @field is as it was. */
int option_parse(const struct cvmm_option *option, void *field, const char *value);
/* @field's string becomes a copy of @value. 0 or -ENOMEM. */
int option_store_text(char **field, const char *value);
/* The value as text that option_parse() would take. */
const char *option_text(struct words *words, const struct cvmm_option *option, const void *field);

/* Foreign text in quotes, cut short, on one line whatever is in it. */
const char *option_quote(struct words *words, const char *text);
/* What a value of @option looks like, as text or in JSON. */
const char *option_expected(struct words *words, const struct cvmm_option *option, bool json);
/* "name: expected this, found that"; returns @code. */
int option_wrong_value(int code, const struct cvmm_option *option, const char *value, struct cvmm_error *err);

/*
 * All options of the struct at @base. disown: forget its strings without freeing them; preset: the defaults; copy_texts:
 * @to owns no strings before, and copies of @from's after. 0 or -ENOMEM, and then free_texts() is still to be called.
 */
void options_disown(const struct cvmm_option *options, size_t count, void *base);
int options_preset(const struct cvmm_option *options, size_t count, void *base);
int options_copy_texts(const struct cvmm_option *options, size_t count, void *to, const void *from);
void options_free_texts(const struct cvmm_option *options, size_t count, void *base);

#endif
