// SPDX-License-Identifier: Apache-2.0
/* Values of the options in options.c, from text and from JSON (RFC 8259, by jansson), checked as they come in. */
#include "src/config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/error.h"
#include "src/base/util.h"

enum { CONFIG_FILE_MAX = 1 << 20, SHOWN_MAX = 60, NAME_LEN_MAX = 32 };

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const struct cvmm_option *option_find(const char *name)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

static void *field_of(const struct config *config, const struct cvmm_option *option)
{
	return (char *)config + option->field;
}

static bool is_text(const struct cvmm_option *option)
{
	return option->type == CVMM_OPTION_STRING || option->type == CVMM_OPTION_PATH;
}

/* May JSON give it as a list of words? */
static bool is_cmdline(const struct cvmm_option *option)
{
	return option->field == offsetof(struct config, cmdline) ||
	       option->field == offsetof(struct config, cmdline_only);
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

/* The option that @name was probably meant to be; NULL: none is near. */
static const struct cvmm_option *option_near(const char *name)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count), *best = NULL;
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

struct words {
	char text[192];
};

/* Foreign text in quotes, cut short. */
static const char *quoted(struct words *words, const char *text)
{
	size_t len = strnlen(text, SHOWN_MAX);
	snprintf(words->text, sizeof(words->text), "\"%.*s%s\"", (int)len, text, text[len] ? "..." : "");
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

static const char *expected_text(struct words *words, const struct cvmm_option *option, bool json)
{
	if (option->choices)
		return list_choices(words, option->choices);
	if (is_cmdline(option) && json)
		return "text or a list of texts, without control characters";
	if (!option->max)
		return "text without control characters";
	snprintf(words->text, sizeof(words->text),
	         "text of %" PRIu64 " to %" PRIu64 " bytes without control characters", option->min, option->max);
	return words->text;
}

/* What a value of @option looks like. */
static const char *expected(struct words *words, const struct cvmm_option *option, bool json)
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
		break;
	}
	return expected_text(words, option, json);
}

static int not_a_value(int code, const struct cvmm_option *option, const char *value, struct cvmm_error *err)
{
	struct words want, found;
	return err_set(err, code, "%s: expected %s, found %s", option->name, expected(&want, option, false),
	               quoted(&found, value));
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

static int store_text(char **field, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

/* -ENOMEM, -EINVAL, -ERANGE, then @field is as it was. */
static int parse_into(const struct cvmm_option *option, void *field, const char *value)
{
	uint64_t number = 0;
	bool flag = false;
	int ret = -EINVAL;
	switch (option->type) {
	case CVMM_OPTION_STRING:
	case CVMM_OPTION_PATH:
		ret = check_text(option, value);
		return ret < 0 ? ret : store_text(field, value);
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
	}
	if (ret == 0)
		*(uint64_t *)field = number;
	return ret;
}

static int set_option(struct config *config, const struct cvmm_option *option, const char *value,
                      struct cvmm_error *err)
{
	int ret = parse_into(option, field_of(config, option), value);
	if (ret == -ENOMEM)
		return err_set(err, ret, "%s: out of memory", option->name);
	return ret < 0 ? not_a_value(ret, option, value, err) : 0;
}

static int unknown_option(int code, const char *name, struct cvmm_error *err)
{
	struct words shown;
	const struct cvmm_option *near = option_near(name);
	if (near)
		return err_set(err, code, "%s: no such option, did you mean \"%s\"?", quoted(&shown, name), near->name);
	return err_set(err, code, "%s: no such option", quoted(&shown, name));
}

int config_set(struct config *config, const char *name, const char *value, struct cvmm_error *err)
{
	const struct cvmm_option *option = option_find(name);
	return option ? set_option(config, option, value, err) : unknown_option(-ENOENT, name, err);
}

int config_set_number(struct config *config, const char *name, uint64_t value, struct cvmm_error *err)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return config_set(config, name, text, err);
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

static const char *value_text(struct words *words, const struct cvmm_option *option, const void *field)
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
		break;
	}
	const char *text = *(char *const *)field;
	return text ? text : "";
}

int config_get(const struct config *config, const char *name, char *buf, size_t size)
{
	struct words words;
	const struct cvmm_option *option = option_find(name);
	return option ? snprintf(buf, size, "%s", value_text(&words, option, field_of(config, option))) : -ENOENT;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static const size_t fd_fields[] = { offsetof(struct config, kernel_fd), offsetof(struct config, initrd_fd),
	                            offsetof(struct config, kvm_fd), offsetof(struct config, console_in_fd),
	                            offsetof(struct config, console_out_fd) };

static int *fd_at(const struct config *config, size_t i)
{
	return (int *)((char *)config + fd_fields[i]);
}

/* Forget what @config points to, without giving it back. */
static void disown(struct config *config)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	for (size_t i = 0; i < count; i++)
		if (is_text(&options[i]))
			*(char **)field_of(config, &options[i]) = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(fd_fields); i++)
		*fd_at(config, i) = -1;
}

int config_init(struct config *config)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	*config = (struct config){ 0 };
	disown(config);
	for (size_t i = 0; i < count; i++)
		if (options[i].preset && set_option(config, &options[i], options[i].preset, NULL) < 0) {
			config_fini(config);
			return -ENOMEM;
		}
	return 0;
}

void config_fini(struct config *config)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	for (size_t i = 0; i < count; i++)
		if (is_text(&options[i]))
			free(*(char **)field_of(config, &options[i]));
	for (size_t i = 0; i < ARRAY_SIZE(fd_fields); i++)
		cleanup_close(fd_at(config, i));
	disown(config);
}

/* @to owns nothing yet. */
static int copy_owned(struct config *to, const struct config *from)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	for (size_t i = 0; i < count; i++) {
		const char *text = is_text(&options[i]) ? *(char **)field_of(from, &options[i]) : NULL;
		if (text && store_text(field_of(to, &options[i]), text) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fd_fields); i++) {
		int fd = *fd_at(from, i);
		if (fd >= 0 && (*fd_at(to, i) = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
			return -errno;
	}
	return 0;
}

/* On failure @to is empty. */
int config_copy(struct config *to, const struct config *from, struct cvmm_error *err)
{
	*to = *from;
	disown(to);
	int ret = copy_owned(to, from);
	if (ret < 0) {
		config_fini(to);
		errno = -ret;
		return err_set(err, ret, "cannot copy the configuration: %m");
	}
	return 0;
}

int config_check(const struct config *config, struct cvmm_error *err)
{
	if (!config->kernel && config->kernel_fd < 0)
		return err_set(err, -EINVAL, "no kernel given: the option \"kernel\" names its file");
	if (config->cmdline && config->cmdline_only)
		return err_set(err, -EINVAL, "cmdline and cmdline-only exclude each other: give one of them");
	return 0;
}

/* ---- JSON -------------------------------------------------------------------------------------------------------- */

static void json_release(json_t **json)
{
	json_decref(*json);
}
#define CLEANUP_JSON __attribute__((cleanup(json_release)))

static const char *describe_json(struct words *words, const json_t *value)
{
	struct words inner;
	char number[32] = ""; /* 4.0 is to be told from 4 */
	switch (json_typeof(value)) {
	case JSON_STRING:
		stpcpy(stpcpy(words->text, "the string "), quoted(&inner, json_string_value(value)));
		return words->text;
	case JSON_INTEGER:
		snprintf(words->text, sizeof(words->text), "the number %" JSON_INTEGER_FORMAT,
		         json_integer_value(value));
		return words->text;
	case JSON_REAL:
		json_dumpb(value, number, sizeof(number) - 1, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
		snprintf(words->text, sizeof(words->text), "the number %s", number);
		return words->text;
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		break;
	}
	return "null";
}

static int wrong_json(int code, const struct cvmm_option *option, const json_t *value, struct cvmm_error *err)
{
	struct words want, found;
	return err_set(err, code, "\"%s\": expected %s, found %s", option->name, expected(&want, option, true),
	               describe_json(&found, value));
}

/* ["a", "b"] as "a b", to be freed. */
static int join_words(const struct cvmm_option *option, const json_t *list, char **joined, struct cvmm_error *err)
{
	struct words found;
	size_t i, size = 1;
	json_t *word;
	json_array_foreach(list, i, word)
	{
		if (!json_is_string(word))
			return err_set(err, -EINVAL, "\"%s\"[%zu]: expected text, found %s", option->name, i,
			               describe_json(&found, word));
		size += json_string_length(word) + 1;
	}
	char *to = *joined = malloc(size);
	if (!to)
		return 0;
	*to = '\0';
	json_array_foreach(list, i, word) to = stpcpy(stpcpy(to, i ? " " : ""), json_string_value(word));
	return 0;
}

static char *integer_text(const json_t *value)
{
	char *text;
	return asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) < 0 ? NULL : text;
}

/* The text, to be freed, that config_set() would take for a JSON value of the right type; NULL: out of memory. */
static int json_to_text(const struct cvmm_option *option, const json_t *value, char **text, struct cvmm_error *err)
{
	bool number = option->type == CVMM_OPTION_NUMBER || option->type == CVMM_OPTION_SIZE;
	bool string = option->type != CVMM_OPTION_NUMBER && option->type != CVMM_OPTION_BOOL;
	if (is_cmdline(option) && json_is_array(value))
		return join_words(option, value, text, err);
	if (number && json_is_integer(value))
		*text = integer_text(value);
	else if (option->type == CVMM_OPTION_BOOL && json_is_boolean(value))
		*text = strdup(json_is_true(value) ? "on" : "off");
	else if (string && json_is_string(value))
		*text = strdup(json_string_value(value));
	else
		return wrong_json(-EINVAL, option, value, err);
	return 0;
}

static int set_json(struct config *config, const char *key, const json_t *value, struct cvmm_error *err)
{
	CLEANUP_FREE char *text = NULL;
	const struct cvmm_option *option = option_find(key);
	if (!option)
		return unknown_option(-EINVAL, key, err);
	int ret = json_to_text(option, value, &text, err);
	if (ret < 0)
		return ret;
	ret = text ? parse_into(option, field_of(config, option), text) : -ENOMEM;
	if (ret == -ENOMEM)
		return err_set(err, ret, "\"%s\": out of memory", key);
	return ret < 0 ? wrong_json(ret, option, value, err) : 0;
}

static int set_object(struct config *config, json_t *object, struct cvmm_error *err)
{
	const char *key;
	json_t *value;
	json_object_foreach(object, key, value)
	{
		int ret = set_json(config, key, value, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int parse_object(const char *text, size_t len, json_t **object, struct cvmm_error *err)
{
	struct words shown;
	json_error_t where;
	if (len == 0)
		return err_set(err, -EINVAL, "empty: expected a JSON object of options");
	*object = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
	if (!*object)
		return err_set(err, -EINVAL, "line %d, column %d: %s", where.line, where.column, where.text);
	if (!json_is_object(*object))
		return err_set(err, -EINVAL, "expected an object of options, found %s", describe_json(&shown, *object));
	return 0;
}

int config_load_text(struct config *config, const char *text, size_t len, struct cvmm_error *err)
{
	CLEANUP_JSON json_t *object = NULL;
	struct config changed;
	int ret = parse_object(text, len, &object, err);
	if (ret == 0)
		ret = config_copy(&changed, config, err);
	if (ret < 0)
		return ret;
	ret = set_object(&changed, object, err);
	if (ret == 0) {
		struct config before = *config;
		*config = changed;
		changed = before;
	}
	config_fini(&changed);
	return ret;
}

/* The whole of @fd, which may be a pipe, if it is no longer than @max. Returns the length. */
static ssize_t read_whole(int fd, char *buf, size_t max)
{
	size_t len = 0;
	ssize_t got;
	do {
		got = read(fd, buf + len, max + 1 - len);
		if (got > 0)
			len += (size_t)got;
	} while ((got > 0 && len <= max) || (got < 0 && errno == EINTR));
	if (got < 0)
		return -errno;
	return len <= max ? (ssize_t)len : -EFBIG;
}

int config_load_file(struct config *config, const char *path, struct cvmm_error *err)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_set(err, -errno, "%s: %m", path);
	CLEANUP_FREE char *text = malloc(CONFIG_FILE_MAX + 1);
	if (!text)
		return err_set(err, -ENOMEM, "%s: out of memory", path);
	ssize_t len = read_whole(fd, text, CONFIG_FILE_MAX);
	if (len == -EFBIG)
		return err_set(err, -EFBIG, "%s: larger than 1 MiB: not a configuration", path);
	if (len < 0)
		return err_set(err, (int)len, "%s: %m", path);
	int ret = config_load_text(config, text, (size_t)len, err);
	return ret < 0 ? err_prefix(err, ret, "%s", path) : 0;
}
