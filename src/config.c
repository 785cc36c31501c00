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
#include "src/option.h"

enum { CONFIG_FILE_MAX = 1 << 20, DEVICES_MAX = 64 };

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const struct cvmm_option *find(const char *name)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	return option_find(options, count, name);
}

/* May JSON give it as a list of words? */
static bool is_cmdline(const struct cvmm_option *option)
{
	return !strcmp(option->name, "cmdline") || !strcmp(option->name, "cmdline-only");
}

/* ---- values as text ---------------------------------------------------------------------------------------------- */

static int set_option(struct config *config, const struct cvmm_option *option, const char *value,
                      struct cvmm_error *err)
{
	int ret = option_parse(option, option_field(config, option), value);
	if (ret == -ENOMEM)
		return err_set(err, ret, "%s: out of memory", option->name);
	return ret < 0 ? option_wrong_value(ret, option, value, err) : 0;
}

static int unknown_option(int code, const char *name, struct cvmm_error *err)
{
	struct words shown;
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	const struct cvmm_option *near = option_near(options, count, name);
	if (near)
		return err_set(err, code, "%s: no such option, did you mean \"%s\"?", option_quote(&shown, name),
		               near->name);
	return err_set(err, code, "%s: no such option", option_quote(&shown, name));
}

int config_set(struct config *config, const char *name, const char *value, struct cvmm_error *err)
{
	const struct cvmm_option *option = find(name);
	return option ? set_option(config, option, value, err) : unknown_option(-ENOENT, name, err);
}

int config_set_number(struct config *config, const char *name, uint64_t value, struct cvmm_error *err)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return config_set(config, name, text, err);
}

/* ---- and back ---------------------------------------------------------------------------------------------------- */

int config_get(const struct config *config, const char *name, char *buf, size_t size)
{
	struct words words;
	const struct cvmm_option *option = find(name);
	return option ? snprintf(buf, size, "%s", option_text(&words, option, option_field(config, option))) : -ENOENT;
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
	options_disown(options, count, config);
	for (size_t i = 0; i < ARRAY_SIZE(fd_fields); i++)
		*fd_at(config, i) = -1;
	config->devices = NULL;
	config->device_count = 0;
}

int config_init(struct config *config)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	*config = (struct config){ 0 };
	disown(config);
	int ret = options_preset(options, count, config);
	if (ret < 0)
		config_fini(config);
	return ret;
}

void config_fini(struct config *config)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	options_free_texts(options, count, config);
	for (size_t i = 0; i < ARRAY_SIZE(fd_fields); i++)
		cleanup_close(fd_at(config, i));
	while (config->device_count)
		devconf_fini(&config->devices[--config->device_count]);
	free(config->devices);
	disown(config);
}

static int copy_devices(struct config *to, const struct config *from)
{
	int ret = 0;
	to->devices = calloc(MAX(from->device_count, 1), sizeof(*to->devices));
	if (!to->devices)
		return -ENOMEM;
	while (ret == 0 && to->device_count < from->device_count) {
		size_t i = to->device_count++;
		ret = devconf_copy(&to->devices[i], &from->devices[i]);
	}
	return ret;
}

/* @to owns nothing yet. */
static int copy_owned(struct config *to, const struct config *from)
{
	size_t count;
	const struct cvmm_option *options = cvmm_options(&count);
	int ret = options_copy_texts(options, count, to, from);
	if (ret == 0)
		ret = copy_devices(to, from);
	for (size_t i = 0; i < ARRAY_SIZE(fd_fields) && ret == 0; i++) {
		int fd = *fd_at(from, i);
		if (fd >= 0 && (*fd_at(to, i) = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
			ret = -errno;
	}
	return ret;
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

/* ---- devices ----------------------------------------------------------------------------------------------------- */

/* @dev is taken, also on failure. */
static int add_device(struct config *config, struct device_config *dev, struct cvmm_error *err)
{
	struct device_config *devices = NULL;
	int ret = devconf_check(dev, err);
	if (ret == 0 && config->device_count == DEVICES_MAX)
		ret = err_set(err, -EINVAL, "more than %d devices", DEVICES_MAX);
	if (ret == 0)
		devices = realloc(config->devices, (config->device_count + 1) * sizeof(*devices));
	if (ret == 0 && !devices)
		ret = err_set(err, -ENOMEM, "out of memory");
	if (ret < 0) {
		devconf_fini(dev);
		return ret;
	}
	config->devices = devices;
	config->devices[config->device_count++] = *dev;
	return 0;
}

int config_add(struct config *config, const char *kind, const char *keys, struct cvmm_error *err)
{
	struct words shown;
	struct device_config dev;
	int index = devconf_kind(kind);
	if (index < 0)
		return err_set(err, index, "%s: no such kind of device", option_quote(&shown, kind));
	int ret = devconf_parse(&dev, (enum devconf_kind)index, keys, err);
	if (ret == 0)
		ret = add_device(config, &dev, err);
	return ret < 0 ? err_prefix(err, ret, "%s", kind) : 0;
}

/* How the @index-th device is called: the first disk is "disk 0". */
static const char *device_name(struct words *words, const struct config *config, size_t index)
{
	enum devconf_kind kind = config->devices[index].kind;
	unsigned nth = 0;
	for (size_t i = 0; i < index; i++)
		nth += config->devices[i].kind == kind;
	snprintf(words->text, sizeof(words->text), "%s %u", devconf_kind_name(kind), nth);
	return words->text;
}

static int check_slot(const struct config *config, size_t index, struct cvmm_error *err)
{
	struct words name, other;
	uint64_t slot = config->devices[index].slot;
	for (size_t i = 0; i < index && slot != DEVCONF_ANY; i++)
		if (config->devices[i].slot == slot)
			return err_set(err, -EINVAL, "%s: slot %" PRIu64 " is taken by %s already",
			               device_name(&name, config, index), slot, device_name(&other, config, i));
	return 0;
}

static int check_devices(const struct config *config, struct cvmm_error *err)
{
	struct words name;
	int ret = 0;
	for (size_t i = 0; i < config->device_count && ret == 0; i++) {
		uint64_t iothread = config->devices[i].iothread;
		ret = check_slot(config, i, err);
		if (ret == 0 && iothread != DEVCONF_ANY && iothread >= config->iothreads)
			ret = err_set(err, -EINVAL, "%s: iothread %" PRIu64 ": the last of %" PRIu64 " is %" PRIu64,
			              device_name(&name, config, i), iothread, config->iothreads,
			              config->iothreads - 1);
	}
	return ret;
}

int config_check(const struct config *config, struct cvmm_error *err)
{
	if (!config->kernel && config->kernel_fd < 0)
		return err_set(err, -EINVAL, "no kernel given: the option \"kernel\" names its file");
	if (config->cmdline && config->cmdline_only)
		return err_set(err, -EINVAL, "cmdline and cmdline-only exclude each other: give one of them");
	return check_devices(config, err);
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
		stpcpy(stpcpy(words->text, "the string "), option_quote(&inner, json_string_value(value)));
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
	const char *expected = is_cmdline(option) ? "text or a list of texts, without control characters"
	                                          : option_expected(&want, option, true);
	return err_set(err, code, "\"%s\": expected %s, found %s", option->name, expected,
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

/* @base: the struct that @option is about. */
static int set_json_value(void *base, const struct cvmm_option *option, const json_t *value, struct cvmm_error *err)
{
	CLEANUP_FREE char *text = NULL;
	int ret = json_to_text(option, value, &text, err);
	if (ret < 0)
		return ret;
	ret = text ? option_parse(option, option_field(base, option), text) : -ENOMEM;
	if (ret == -ENOMEM)
		return err_set(err, ret, "\"%s\": out of memory", option->name);
	return ret < 0 ? wrong_json(ret, option, value, err) : 0;
}

static int set_json_key(struct device_config *dev, const char *key, const json_t *value, struct cvmm_error *err)
{
	const struct cvmm_option *option = devconf_key(dev->kind, key, err);
	return option ? set_json_value(dev, option, value, err) : -EINVAL;
}

static int add_json_device(struct config *config, enum devconf_kind kind, json_t *keys, struct cvmm_error *err)
{
	struct words found;
	struct device_config dev;
	if (!json_is_object(keys))
		return err_set(err, -EINVAL, "expected an object of keys, found %s", describe_json(&found, keys));
	int ret = devconf_init(&dev, kind, err);
	for (void *at = json_object_iter(keys); ret == 0 && at; at = json_object_iter_next(keys, at))
		ret = set_json_key(&dev, json_object_iter_key(at), json_object_iter_value(at), err);
	if (ret == 0)
		return add_device(config, &dev, err);
	devconf_fini(&dev);
	return ret;
}

/* One object, or a list of them. */
static int add_json_devices(struct config *config, enum devconf_kind kind, json_t *value, struct cvmm_error *err)
{
	size_t i;
	json_t *keys;
	if (!json_is_array(value)) {
		int ret = add_json_device(config, kind, value, err);
		return ret < 0 ? err_prefix(err, ret, "\"%s\"", devconf_kind_name(kind)) : 0;
	}
	json_array_foreach(value, i, keys)
	{
		int ret = add_json_device(config, kind, keys, err);
		if (ret < 0)
			return err_prefix(err, ret, "\"%s\"[%zu]", devconf_kind_name(kind), i);
	}
	return 0;
}

static int set_json(struct config *config, const char *key, json_t *value, struct cvmm_error *err)
{
	const struct cvmm_option *option = find(key);
	int kind = devconf_kind(key);
	if (kind >= 0)
		return add_json_devices(config, (enum devconf_kind)kind, value, err);
	return option ? set_json_value(config, option, value, err) : unknown_option(-EINVAL, key, err);
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
	if (!*object) {
		for (char *at = where.text; *at; at++) /* it may cite the file */
			if ((unsigned char)*at < ' ' || *at == 0x7f)
				*at = '?';
		return err_set(err, -EINVAL, "line %d, column %d: %s", where.line, where.column, where.text);
	}
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
