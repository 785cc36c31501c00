// SPDX-License-Identifier: Apache-2.0
#include "src/devconf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/util.h"
#include "src/option.h"

enum { KEYS_MAX = 32 };

/* ---- tables ------------------------------------------------------------------------------------------------------ */

const char *devconf_kind_name(enum devconf_kind kind)
{
	size_t count;
	return cvmm_device_kinds(&count)[kind].name;
}

int devconf_kind(const char *name)
{
	size_t count;
	const struct cvmm_option *kinds = cvmm_device_kinds(&count), *kind = option_find(kinds, count, name);
	return kind ? (int)(kind - kinds) : -ENOENT;
}

static const struct cvmm_option *keys_of(enum devconf_kind kind, size_t *count)
{
	return cvmm_device_options(devconf_kind_name(kind), count);
}

/* "path, memory, ...", for who asked for another one. */
static void list_keys(struct words *words, const struct cvmm_option *keys, size_t count)
{
	size_t len = 0;
	words->text[0] = '\0';
	for (size_t i = 0; i < count && len < sizeof(words->text); i++)
		len += (size_t)snprintf(words->text + len, sizeof(words->text) - len, "%s%s", i ? ", " : "",
		                        keys[i].name);
}

/* Is @name the key's, whichever of '-' and '_' its words are joined with? */
static bool is_name_of(const struct cvmm_option *key, const char *name)
{
	const char *at = key->name;
	for (; *at && (*name == *at || (*name == '_' && *at == '-')); at++)
		name++;
	return !*at && !*name;
}

const struct cvmm_option *devconf_key(enum devconf_kind kind, const char *name, struct cvmm_error *err)
{
	struct words shown, list;
	size_t count;
	const struct cvmm_option *keys = keys_of(kind, &count);
	for (size_t i = 0; i < count; i++)
		if (is_name_of(&keys[i], name))
			return &keys[i];
	const struct cvmm_option *near = option_near(keys, count, name);
	list_keys(&list, keys, count);
	if (near)
		err_set(err, -EINVAL, "%s: no such key, did you mean \"%s\"?", option_quote(&shown, name), near->name);
	else
		err_set(err, -EINVAL, "%s: no such key; there are %s", option_quote(&shown, name), list.text);
	return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int devconf_init(struct device_config *dev, enum devconf_kind kind, struct cvmm_error *err)
{
	size_t count;
	const struct cvmm_option *keys = keys_of(kind, &count);
	*dev = (struct device_config){ .kind = kind, .slot = DEVCONF_ANY, .iothread = DEVCONF_ANY };
	int ret = options_preset(keys, count, dev);
	return ret < 0 ? err_set(err, ret, "out of memory") : 0;
}

void devconf_fini(struct device_config *dev)
{
	size_t count;
	const struct cvmm_option *keys = keys_of(dev->kind, &count);
	options_free_texts(keys, count, dev);
}

int devconf_copy(struct device_config *to, const struct device_config *from)
{
	size_t count;
	const struct cvmm_option *keys = keys_of(from->kind, &count);
	*to = *from;
	options_disown(keys, count, to);
	int ret = options_copy_texts(keys, count, to, from);
	if (ret < 0)
		devconf_fini(to);
	return ret;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* The text up to the next single comma, in which two stand for one; moves @text behind it, or to NULL at the end. */
static void take_item(const char **text, char *item)
{
	const char *at = *text;
	while (*at && (*at != ',' || at[1] == ',')) {
		at += *at == ',';
		*item++ = *at++;
	}
	*item = '\0';
	*text = *at ? at + 1 : NULL;
}

static int set_key(struct device_config *dev, const struct cvmm_option *key, const char *value, struct cvmm_error *err)
{
	if (!value && key->type == CVMM_OPTION_BOOL)
		value = "on";
	if (!value)
		return err_set(err, -EINVAL, "%s: needs a value: %s", key->name, key->metavar);
	int ret = option_parse(key, option_field(dev, key), value);
	if (ret == -ENOMEM)
		return err_set(err, ret, "%s: out of memory", key->name);
	return ret < 0 ? option_wrong_value(ret, key, value, err) : 0;
}

/* One "key=value". @given: by each key, whether it was there before. */
static int set_item(struct device_config *dev, char *item, bool given[KEYS_MAX], struct cvmm_error *err)
{
	size_t count;
	const struct cvmm_option *keys = keys_of(dev->kind, &count);
	char *value = strchr(item, '=');
	if (value)
		*value++ = '\0';
	const struct cvmm_option *key = devconf_key(dev->kind, item, err);
	if (!key)
		return -EINVAL;
	if (given[key - keys])
		return err_set(err, -EINVAL, "%s: given twice", key->name);
	given[key - keys] = true;
	return set_key(dev, key, value, err);
}

int devconf_parse(struct device_config *dev, enum devconf_kind kind, const char *text, struct cvmm_error *err)
{
	bool given[KEYS_MAX] = { false };
	CLEANUP_FREE char *item = malloc(strlen(text) + 1);
	if (!item)
		return err_set(err, -ENOMEM, "out of memory");
	int ret = devconf_init(dev, kind, err);
	if (!*text)
		text = NULL;
	while (ret == 0 && text) {
		take_item(&text, item);
		ret = set_item(dev, item, given, err);
	}
	if (ret < 0)
		devconf_fini(dev);
	return ret;
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static int check_disk(const struct disk_config *disk, struct cvmm_error *err)
{
	if (!disk->path && !disk->memory_mib)
		return err_set(err, -EINVAL, "neither path nor memory is given");
	if (disk->path && disk->memory_mib)
		return err_set(err, -EINVAL, "path and memory exclude each other: give one of them");
	if (disk->memory_mib && (disk->direct || disk->share))
		return err_set(err, -EINVAL, "direct and share are for files, not for memory");
	if (disk->memory_mib && disk->zoned)
		return err_set(err, -EINVAL, "zoned is for files and devices, not for memory");
	if (disk->block_size && disk->block_size != 512 && disk->block_size != 4096)
		return err_set(err, -EINVAL, "block-size: expected 512 or 4096, found %" PRIu64, disk->block_size);
	return 0;
}

int devconf_check(const struct device_config *dev, struct cvmm_error *err)
{
	if (!is_power_of_two(dev->virtio.queue_size))
		return err_set(err, -EINVAL, "queue-size: expected a power of two, found %" PRIu64,
		               dev->virtio.queue_size);
	return dev->kind == DEVCONF_DISK ? check_disk(&dev->disk, err) : 0;
}
