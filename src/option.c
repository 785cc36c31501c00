// SPDX-License-Identifier: Apache-2.0
#include "src/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/util.h"

enum { SHOWN_MAX = 60, NAME_LEN_MAX = 32 };

/* ---- the table --------------------------------------------------------------------------------------------------- */

const struct cvmm_option *option_find(const struct cvmm_option *options, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

/* How many letters to change, add or drop to get from @a to @b; names only, so small. */
static unsigned distance(const char *a, const char *b)
{
	size_t len = strlen(b);
	unsigned row[NAME_LEN_MAX + 1];
	if (len > NAME_LEN_MAX || strlen(a) > NAME_LEN_MAX)
		return NAME_LEN_MAX;
	for (unsigned j = 0; j <= len; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= len; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			row[j] = MIN(change, 1 + MIN(row[j], row[j - 1]));
		}
	}
	return row[len];
}

const struct cvmm_option *option_near(const struct cvmm_option *options, size_t count, const char *name)
{
	const struct cvmm_option *best = NULL;
	unsigned least = 3;
	for (size_t i = 0; i < count; i++) {
		unsigned far = distance(name, options[i].name);
		if (far < least && far < strlen(options[i].name)) {
			least = far;
			best = &options[i];
		}
	}
	return best;
}

/* ---- words for messages ------------------------------------------------------------------------------------------ */

const char *option_quote(struct words *words, const char *text)
{
	size_t len = strnlen(text, SHOWN_MAX);
	char *to = words->text;
	*to++ = '"';
	for (size_t i = 0; i < len; i++)
		*to++ = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
	stpcpy(to, text[len] ? "...\"" : "\"");
	return words->text;
}

static const char *size_words(struct words *words, uint64_t mib)
{
	static const char suffixes[] = "MGT";
	unsigned unit = 0;
	for (; mib && mib % 1024 == 0 && suffixes[unit + 1]; unit++)
		mib /= 1024;
	snprintf(words->text, sizeof(words->text), "%" PRIu64 "%c", mib, suffixes[unit]);
	return words->text;
}

/* "a|b|c" as "a, b or c" */
static const char *list_choices(struct words *words, const char *choices)
{
	char *to = words->text, *end = to + sizeof(words->text) - sizeof(" or ");
	for (; *choices && to < end; choices++) {
		if (*choices != '|')
			*to++ = *choices;
		else
			to = stpcpy(to, strchr(choices + 1, '|') ? ", " : " or ");
	}
	*to = '\0';
	return words->text;
}

static const char *expected_text(struct words *words, const struct cvmm_option *option)
{
	if (option->choices)
		return list_choices(words, option->choices);
	if (!option->max)
		return "text without control characters";
	snprintf(words->text, sizeof(words->text),
	         "text of %" PRIu64 " to %" PRIu64 " bytes without control characters", option->min, option->max);
	return words->text;
}

const char *option_expected(struct words *words, const struct cvmm_option *option, bool json)
{
	struct words min, max;
	switch (option->type) {
	case CVMM_OPTION_NUMBER:
		snprintf(words->text, sizeof(words->text), "a number from %" PRIu64 " to %" PRIu64, option->min,
		         option->max);
		return words->text;
	case CVMM_OPTION_SIZE:
		snprintf(words->text, sizeof(words->text), "a size in whole MiB from %s to %s, such as 512M or 2G",
		         size_words(&min, option->min), size_words(&max, option->max));
		return words->text;
	case CVMM_OPTION_BOOL:
		return json ? "true or false" : "on or off";
	case CVMM_OPTION_PATH:
		return "a file name";
	case CVMM_OPTION_STRING:
	case CVMM_OPTION_CHOICE:
	case CVMM_OPTION_DEVICE:
		break;
	}
	return expected_text(words, option);
}

int option_wrong_value(int code, const struct cvmm_option *option, const char *value, struct cvmm_error *err)
{
	struct words want, found;
	return err_set(err, code, "%s: expected %s, found %s", option->name, option_expected(&want, option, false),
	               option_quote(&found, value));
}

/* ---- one value from text ----------------------------------------------------------------------------------------- */

/* The decimal number at the start of @text; one too large for any range reads as UINT64_MAX. Returns what follows it,
 * NULL: no number is there. */
static const char *parse_decimal(const char *text, uint64_t *number)
{
	const char *at = text;
	for (*number = 0; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(*number, (uint64_t)10, number) ||
		    __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number) || *number == UINT64_MAX) {
			*number = UINT64_MAX;
			return at + strspn(at, "0123456789");
		}
	return at > text ? at : NULL;
}

/* -3 is a number, though no range here has room for it. */
static bool is_negative(const char *text)
{
	uint64_t number;
	const char *end = *text == '-' ? parse_decimal(text + 1, &number) : NULL;
	return end && !*end;
}

static bool is_in_range(const struct cvmm_option *option, uint64_t value)
{
	return value >= option->min && value <= option->max;
}

static int parse_number(const struct cvmm_option *option, const char *text, uint64_t *number)
{
	const char *end = parse_decimal(text, number);
	if (!end || *end)
		return is_negative(text) ? -ERANGE : -EINVAL;
	return is_in_range(option, *number) ? 0 : -ERANGE;
}

/* Sizes are kept in MiB, so K has to come out even. */
static int scale_to_mib(uint64_t number, char suffix, uint64_t *mib)
{
	static const char suffixes[] = "kKmMgGtT";
	const char *at = memchr(suffixes, suffix, sizeof(suffixes) - 1);
	if (!at)
		return -EINVAL;
	unsigned unit = (unsigned)(at - suffixes) / 2;
	if (unit == 0) {
		*mib = number / 1024;
		return number == UINT64_MAX || number % 1024 == 0 ? 0 : -EINVAL;
	}
	if (__builtin_mul_overflow(number, (uint64_t)1 << (10 * (unit - 1)), mib))
		*mib = UINT64_MAX;
	return 0;
}

static int parse_size(const struct cvmm_option *option, const char *text, uint64_t *mib)
{
	uint64_t number;
	const char *end = parse_decimal(text, &number);
	if (!end || (*end && end[1]))
		return is_negative(text) ? -ERANGE : -EINVAL;
	int ret = scale_to_mib(number, *end ? *end : 'M', mib);
	if (ret < 0)
		return ret;
	return is_in_range(option, *mib) ? 0 : -ERANGE;
}

static int parse_bool(const char *text, bool *value)
{
	*value = !strcmp(text, "on");
	return *value || !strcmp(text, "off") ? 0 : -EINVAL;
}

/* Is @value the word [word, word + len), or where that ends with =PATH, the same with a path? */
static bool fits_form(const char *word, size_t len, const char *value)
{
	const char *equals = memchr(word, '=', len);
	if (!equals)
		return strlen(value) == len && !memcmp(word, value, len);
	size_t prefix = (size_t)(equals + 1 - word);
	return !strncmp(word, value, prefix) && value[prefix];
}

/* Which of "a|b=PATH|c" @value is; negative: none. */
static int choice_index(const char *choices, const char *value)
{
	for (int i = 0;; i++) {
		size_t len = strcspn(choices, "|");
		if (fits_form(choices, len, value))
			return i;
		if (!choices[len])
			return -EINVAL;
		choices += len + 1;
	}
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static int check_text(const struct cvmm_option *option, const char *value)
{
	if (option->type == CVMM_OPTION_PATH)
		return *value ? 0 : -EINVAL;
	if (has_control(value))
		return -EINVAL;
	if (option->choices)
		return choice_index(option->choices, value) < 0 ? -EINVAL : 0;
	return !option->max || is_in_range(option, strlen(value)) ? 0 : -ERANGE;
}

int option_store_text(char **field, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

int option_parse(const struct cvmm_option *option, void *field, const char *value)
{
	uint64_t number = 0;
	bool flag = false;
	int ret = -EINVAL;
	switch (option->type) {
	case CVMM_OPTION_STRING:
	case CVMM_OPTION_PATH:
		ret = check_text(option, value);
		return ret < 0 ? ret : option_store_text(field, value);
	case CVMM_OPTION_NUMBER:
		ret = parse_number(option, value, &number);
		break;
	case CVMM_OPTION_SIZE:
		ret = parse_size(option, value, &number);
		break;
	case CVMM_OPTION_BOOL:
		ret = parse_bool(value, &flag);
		if (ret == 0)
			*(bool *)field = flag;
		return ret;
	case CVMM_OPTION_CHOICE:
		ret = choice_index(option->choices, value);
		if (ret >= 0)
			*(unsigned *)field = (unsigned)ret; /* the enum's constants stand in the order of choices */
		return MIN(ret, 0);
	case CVMM_OPTION_DEVICE:
		break;
	}
	if (ret == 0)
		*(uint64_t *)field = number;
	return ret;
}

/* ---- and back ---------------------------------------------------------------------------------------------------- */

/* The @index-th of "a|b|c", into @words. */
static const char *choice_word(struct words *words, const char *choices, unsigned index)
{
	while (index--)
		choices += strcspn(choices, "|") + 1;
	snprintf(words->text, sizeof(words->text), "%.*s", (int)strcspn(choices, "|"), choices);
	return words->text;
}

const char *option_text(struct words *words, const struct cvmm_option *option, const void *field)
{
	switch (option->type) {
	case CVMM_OPTION_NUMBER:
		snprintf(words->text, sizeof(words->text), "%" PRIu64, *(const uint64_t *)field);
		return words->text;
	case CVMM_OPTION_SIZE:
		return size_words(words, *(const uint64_t *)field);
	case CVMM_OPTION_BOOL:
		return *(const bool *)field ? "on" : "off";
	case CVMM_OPTION_CHOICE:
		return choice_word(words, option->choices, *(const unsigned *)field);
	case CVMM_OPTION_STRING:
	case CVMM_OPTION_PATH:
	case CVMM_OPTION_DEVICE:
		break;
	}
	const char *text = *(char *const *)field;
	return text ? text : "";
}

/* ---- all options of a struct ------------------------------------------------------------------------------------- */

void options_disown(const struct cvmm_option *options, size_t count, void *base)
{
	for (size_t i = 0; i < count; i++)
		if (option_is_text(&options[i]))
			*(char **)option_field(base, &options[i]) = NULL;
}

int options_preset(const struct cvmm_option *options, size_t count, void *base)
{
	int ret = 0;
	for (size_t i = 0; i < count && ret == 0; i++)
		if (options[i].preset)
			ret = option_parse(&options[i], option_field(base, &options[i]), options[i].preset);
	return ret;
}

int options_copy_texts(const struct cvmm_option *options, size_t count, void *to, const void *from)
{
	int ret = 0;
	for (size_t i = 0; i < count && ret == 0; i++) {
		const char *text = option_is_text(&options[i]) ? *(char **)option_field(from, &options[i]) : NULL;
		if (text)
			ret = option_store_text(option_field(to, &options[i]), text);
	}
	return ret;
}

void options_free_texts(const struct cvmm_option *options, size_t count, void *base)
{
	for (size_t i = 0; i < count; i++)
		if (option_is_text(&options[i]))
			free(*(char **)option_field(base, &options[i]));
	options_disown(options, count, base);
}
