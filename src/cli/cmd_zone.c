// SPDX-License-Identifier: Apache-2.0
/* cvmm zone: zoned disks in files, for people, or as JSON for programs. */
#include "src/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the options said. Those that are needed, or for one action alone, are looked at afterwards. */
struct zone_args {
	struct cvmm_zone_layout layout;
	const char *file;
	bool force, json;
	bool has_zone, has_count, has_state, has_capacity, has_append, for_format;
	unsigned zone, count;
	enum cvmm_zone_state state; /* NOT_WP: back to normal */
};

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* "64M"; a bare number is MiB. */
static int parse_size(const struct cli_option *given, const char *value, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	size_t digits = strspn(value, "0123456789");
	uint64_t number = strtoull(value, NULL, 10); /* ULLONG_MAX if too large */
	const char *suffix = value[digits] ? strchr(suffixes, value[digits]) : suffixes + 1;
	unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
	*size = number << shift;
	if (digits && suffix && (!value[digits] || !value[digits + 1]) && number <= (uint64_t)INT64_MAX >> shift)
		return CLI_GO_ON;
	return cli_complain(CLI_USAGE, "--%s: expected a size such as 64M or 2G, found \"%s\"", given->option.name,
	                    value);
}

/* Which of the option's choices, counted from 0. */
static int parse_choice(const struct cli_option *given, const char *value, unsigned *choice)
{
	const char *at = given->option.choices;
	for (*choice = 0;; ++*choice) {
		size_t len = strcspn(at, "|");
		if (len == strlen(value) && !strncmp(at, value, len))
			return CLI_GO_ON;
		if (!at[len])
			return cli_complain(CLI_USAGE, "--%s: expected one of %s, found \"%s\"", given->option.name,
			                    given->option.choices, value);
		at += len + 1;
	}
}

static int set_format_number(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	unsigned number;
	int status = cli_number(given, value, &number);
	if (status != CLI_GO_ON)
		return status;
	if (!strcmp(given->option.name, "conventional"))
		zone->layout.conventional = number;
	else if (!strcmp(given->option.name, "max-open"))
		zone->layout.max_open = number;
	else
		zone->layout.max_active = number;
	return CLI_GO_ON;
}

static int set_format_size(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	const char *name = given->option.name;
	uint64_t size;
	int status = parse_size(given, value, &size);
	if (status != CLI_GO_ON)
		return status;
	if (!strcmp(name, "max-append") && size > UINT32_MAX / 2)
		return cli_complain(CLI_USAGE, "--max-append: expected less than 2G, found \"%s\"", value);
	if (!strcmp(name, "size"))
		zone->layout.size = size;
	else if (!strcmp(name, "zone-size"))
		zone->layout.zone_size = size;
	else if (!strcmp(name, "zone-capacity"))
		zone->layout.zone_capacity = size;
	else
		zone->layout.max_append = (uint32_t)size;
	zone->has_capacity |= !strcmp(name, "zone-capacity");
	zone->has_append |= !strcmp(name, "max-append");
	return CLI_GO_ON;
}

static int set_format_choice(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	unsigned choice;
	int status = parse_choice(given, value, &choice);
	if (status != CLI_GO_ON)
		return status;
	if (!strcmp(given->option.name, "model"))
		zone->layout.model = choice ? CVMM_ZONE_HOST_AWARE : CVMM_ZONE_HOST_MANAGED;
	else
		zone->layout.block_size = choice ? 4096 : 512;
	return CLI_GO_ON;
}

static int set_force(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	zone->force = true;
	return CLI_GO_ON;
}

static int set_json(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	zone->json = true;
	return CLI_GO_ON;
}

static int set_zone(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	zone->has_zone = true;
	return cli_number(given, value, &zone->zone);
}

static int set_count(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	zone->has_count = true;
	return cli_number(given, value, &zone->count);
}

static int set_state(struct zone_args *zone, const struct cli_option *given, const char *value)
{
	static const enum cvmm_zone_state states[] = { CVMM_ZONE_READ_ONLY, CVMM_ZONE_OFFLINE, CVMM_ZONE_NOT_WP };
	unsigned choice;
	int status = parse_choice(given, value, &choice);
	if (status != CLI_GO_ON)
		return status;
	zone->has_state = true;
	zone->state = states[choice];
	return CLI_GO_ON;
}

static const struct {
	const char *name;
	bool for_format;
	int (*set)(struct zone_args *zone, const struct cli_option *given, const char *value);
} setters[] = {
	{ "size", true, set_format_size },
	{ "zone-size", true, set_format_size },
	{ "zone-capacity", true, set_format_size },
	{ "max-append", true, set_format_size },
	{ "conventional", true, set_format_number },
	{ "max-open", true, set_format_number },
	{ "max-active", true, set_format_number },
	{ "block-size", true, set_format_choice },
	{ "model", true, set_format_choice },
	{ "force", true, set_force },
	{ "zone", false, set_zone },
	{ "count", false, set_count },
	{ "state", false, set_state },
	{ "json", false, set_json },
};

static int set_option(void *opaque, const struct cli_option *given, const char *value)
{
	struct zone_args *zone = opaque;
	size_t i = 0;
	while (strcmp(setters[i].name, given->option.name) != 0) /* each option in the table has its setter */
		i++;
	zone->for_format |= setters[i].for_format;
	return setters[i].set(zone, given, value);
}

/* ---- what is printed --------------------------------------------------------------------------------------------- */

static int print_zone(void *opaque, const struct cvmm_zone *zone)
{
	const struct cvmm_zone_layout *layout = opaque;
	printf("%6" PRIu64 "  %-20s  %-13s  %16" PRIu64 "  %14" PRIu64 "  ", zone->start / layout->zone_size,
	       cvmm_zone_type_name(zone->type), cvmm_zone_state_name(zone->state), zone->start, zone->capacity);
	if (zone->state >= CVMM_ZONE_EMPTY && zone->state <= CVMM_ZONE_CLOSED)
		printf("%16" PRIu64 "\n", zone->wp);
	else
		printf("%16s\n", "-");
	return 0;
}

static int report_text(const struct zone_args *zone, unsigned first, unsigned count, struct cvmm_error *err)
{
	struct cvmm_zone_layout layout;
	int ret = cvmm_zone_report(zone->file, &layout, 0, 0, NULL, NULL, err);
	if (ret < 0)
		return ret;
	printf("%s, %" PRIu64 " bytes, blocks of %u; zones of %" PRIu64 ", capacity %" PRIu64 ", %u conventional\n",
	       cvmm_zone_model_name(layout.model), layout.size, layout.block_size, layout.zone_size,
	       layout.zone_capacity, layout.conventional);
	printf("at most %u open, %u active (0: any number); append at most %u bytes\n\n", layout.max_open,
	       layout.max_active, layout.max_append);
	printf("%6s  %-20s  %-13s  %16s  %14s  %16s\n", "zone", "type", "state", "start", "capacity", "write pointer");
	return cvmm_zone_report(zone->file, NULL, first, count, print_zone, &layout, err);
}

struct zone_list {
	struct cvmm_zone_layout layout;
	json_t *zones; /* owned */
};

/* NULL members, where memory ran out, make json_pack() fail. */
static int add_zone(void *opaque, const struct cvmm_zone *zone)
{
	struct zone_list *list = opaque;
	json_t *item = json_pack(
		"{s:I, s:s, s:s, s:I, s:I, s:I}", "zone", (json_int_t)(zone->start / list->layout.zone_size), "type",
		cvmm_zone_type_name(zone->type), "state", cvmm_zone_state_name(zone->state), "start",
		(json_int_t)zone->start, "length", (json_int_t)zone->len, "capacity", (json_int_t)zone->capacity);
	if (item && zone->state >= CVMM_ZONE_EMPTY && zone->state <= CVMM_ZONE_CLOSED)
		json_object_set_new(item, "wp", json_integer((json_int_t)zone->wp));
	return json_array_append_new(list->zones, item);
}

static int report_json(const struct zone_args *zone, unsigned first, unsigned count, struct cvmm_error *err)
{
	struct zone_list list = { .zones = json_array() };
	const struct cvmm_zone_layout *layout = &list.layout;
	int ret = cvmm_zone_report(zone->file, &list.layout, first, count, add_zone, &list, err);
	if (ret < 0) {
		json_decref(list.zones);
		return ret;
	}
	json_t *object = json_pack(
		"{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "model", cvmm_zone_model_name(layout->model),
		"size", (json_int_t)layout->size, "zone_size", (json_int_t)layout->zone_size, "zone_capacity",
		(json_int_t)layout->zone_capacity, "conventional", (json_int_t)layout->conventional, "max_open",
		(json_int_t)layout->max_open, "max_active", (json_int_t)layout->max_active, "max_append",
		(json_int_t)layout->max_append, "block_size", (json_int_t)layout->block_size, "zones", list.zones);
	char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
	json_decref(object);
	if (text)
		puts(text);
	free(text);
	return text ? 0 : -1;
}

static int report(const struct zone_args *zone, unsigned first, unsigned count)
{
	struct cvmm_error err = { .msg = "out of memory" };
	int ret = zone->json ? report_json(zone, first, count, &err) : report_text(zone, first, count, &err);
	return ret < 0 ? cli_complain(CLI_ERROR, "%s", err.msg) : CLI_OK;
}

/* ---- the actions ------------------------------------------------------------------------------------------------- */

/* As --count says; without, one, or all if no zone is named: 0. */
static unsigned count_of(const struct zone_args *zone)
{
	return zone->has_count ? zone->count : zone->has_zone ? 1 : 0;
}

/* After a change: the zones concerned, for programs; people are told in a word. */
static int tell(const struct zone_args *zone, unsigned count, const char *what)
{
	if (zone->json)
		return report(zone, zone->zone, count ? count : UINT32_MAX);
	printf("%s: %s\n", zone->file, what);
	return CLI_OK;
}

static int failed(const struct cvmm_error *err)
{
	return cli_complain(CLI_ERROR, "%s", err->msg);
}

static int zone_format(struct zone_args *zone)
{
	struct cvmm_zone_layout *layout = &zone->layout;
	struct cvmm_error err;
	if (!layout->size)
		return cli_complain(CLI_USAGE, "format needs --size; see \"cvmm zone --help\"");
	if (!zone->has_capacity)
		layout->zone_capacity = layout->zone_size;
	if (!zone->has_append)
		layout->max_append = layout->model == CVMM_ZONE_HOST_AWARE ? 0
		                     : layout->zone_capacity < 1 << 20     ? (uint32_t)layout->zone_capacity
		                                                           : 1 << 20;
	int ret = cvmm_zone_format(zone->file, layout, zone->force, &err);
	return ret < 0 ? failed(&err) : tell(zone, 0, "formatted, all zones are empty");
}

static int zone_report(struct zone_args *zone)
{
	return report(zone, zone->zone, zone->has_count || zone->has_zone ? count_of(zone) : UINT32_MAX);
}

static int zone_reset(struct zone_args *zone)
{
	struct cvmm_error err;
	int ret = cvmm_zone_reset(zone->file, zone->zone, count_of(zone), &err);
	return ret < 0 ? failed(&err) : tell(zone, count_of(zone), "reset");
}

static int zone_set_state(struct zone_args *zone)
{
	struct cvmm_error err;
	if (!zone->has_zone)
		return cli_complain(CLI_USAGE, "set-state needs --zone; see \"cvmm zone --help\"");
	int ret = cvmm_zone_set_state(zone->file, zone->zone, count_of(zone), zone->state, &err);
	return ret < 0 ? failed(&err) : tell(zone, count_of(zone), "state set");
}

static const struct action {
	const char *name;
	int (*run)(struct zone_args *zone);
	bool zones, state; /* --zone and --count, --state are for it */
} actions[] = {
	{ "format", zone_format, false, false },
	{ "report", zone_report, true, false },
	{ "reset", zone_reset, true, false },
	{ "set-state", zone_set_state, true, true },
};

static const struct action *find_action(const char *name)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (!strcmp(actions[i].name, name))
			return &actions[i];
	cli_complain(CLI_USAGE, "unknown action \"%s\"; see \"cvmm zone --help\"", name);
	return NULL;
}

/* Better a complaint than an option that did nothing. */
static int check_options(const struct zone_args *zone, const struct action *action)
{
	const char *stray = zone->for_format && action->zones                       ? "an option of format"
	                    : (zone->has_zone || zone->has_count) && !action->zones ? "--zone or --count"
	                    : zone->has_state && !action->state                     ? "--state"
	                                                                            : NULL;
	if (!stray)
		return CLI_GO_ON;
	return cli_complain(CLI_USAGE, "%s does not take %s; see \"cvmm zone --help\"", action->name, stray);
}

/* Options up to the next operand; then @argv begins there. */
static int parse_options(struct zone_args *zone, int *argc, char ***argv)
{
	struct cli_args args;
	int rest;
	cli_args_init(&args, &cli_commands[CLI_ZONE], *argc, *argv);
	int status = cli_args_each(&args, set_option, zone, &rest);
	*argc -= rest;
	*argv += rest;
	return status;
}

int cmd_zone(int argc, char **argv)
{
	struct zone_args zone = {
		.layout = { .model = CVMM_ZONE_HOST_MANAGED, .zone_size = 256 << 20, .block_size = 4096 }
	};
	int status = parse_options(&zone, &argc, &argv);
	if (status != CLI_GO_ON)
		return status;
	if (!argc)
		return cli_complain(CLI_USAGE, "zone: no action given: format, report, reset or set-state");
	const struct action *action = find_action(argv[0]);
	if (!action)
		return CLI_USAGE;
	status = parse_options(&zone, &argc, &argv);
	if (status != CLI_GO_ON)
		return status;
	if (!argc)
		return cli_complain(CLI_USAGE, "zone %s: no file given; see \"cvmm zone --help\"", action->name);
	zone.file = argv[0];
	status = parse_options(&zone, &argc, &argv);
	if (status == CLI_GO_ON && argc)
		status = cli_complain(CLI_USAGE, "unexpected argument \"%s\"; see \"cvmm zone --help\"", argv[0]);
	if (status == CLI_GO_ON)
		status = check_options(&zone, action);
	return status == CLI_GO_ON ? action->run(&zone) : status;
}
