// SPDX-License-Identifier: Apache-2.0
/* Options of a command, by getopt_long() over the tables. */
#include "src/cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* getopt_long() returns this plus the index for a long option; letters are below it. */
enum { LONG_OPTION = 256 };

void cli_args_init(struct cli_args *args, const struct cli_command *command, int argc, char **argv)
{
	*args = (struct cli_args){ .command = command, .argc = argc, .argv = argv };
	snprintf(args->title, sizeof(args->title), "cvmm%s%s", command->name ? " " : "",
	         command->name ? command->name : "");
	size_t count = cli_options(command, args->options);
	char *letter = stpcpy(args->letters, "+:"); /* operands end the options; ':' tells a missing value apart */
	for (size_t i = 0; i < count; i++) {
		const struct cli_option *option = &args->options[i];
		bool takes_value = option->option.metavar != NULL;
		int has_arg = cli_value_is_optional(&option->option) ? optional_argument
		              : takes_value                          ? required_argument
		                                                     : no_argument;
		args->longs[i] =
			(struct option){ .name = option->option.name, .has_arg = has_arg, .val = LONG_OPTION + (int)i };
		if (option->letter)
			*letter++ = option->letter;
		if (option->letter && takes_value)
			*letter++ = ':';
	}
	*letter = '\0';
}

bool cli_value_is_optional(const struct cvmm_option *option)
{
	return option->metavar && option->metavar[0] == '[';
}

static const struct cli_option *option_of(const struct cli_args *args, int val)
{
	if (val >= LONG_OPTION)
		return &args->options[val - LONG_OPTION];
	for (size_t i = 0; val && args->longs[i].name; i++)
		if (args->options[i].letter == val)
			return &args->options[i];
	return NULL;
}

/* What getopt_long() would have said, in one line. @problem: ':' or '?'. */
static int complain(const struct cli_args *args, int problem)
{
	const struct cli_option *option = option_of(args, optopt);
	if (problem == ':' && option)
		return cli_complain(CLI_USAGE, "option --%s needs a value: %s; see \"%s --help\"", option->option.name,
		                    option->option.metavar, args->title);
	if (option)
		return cli_complain(CLI_USAGE, "option --%s takes no value; see \"%s --help\"", option->option.name,
		                    args->title);
	if (optopt)
		return cli_complain(CLI_USAGE, "unknown option \"-%c\"; see \"%s --help\"", optopt, args->title);
	return cli_complain(CLI_USAGE, "unknown option \"%s\"; see \"%s --help\"", args->argv[optind - 1], args->title);
}

static int next_option(const struct cli_args *args)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): options are read before there is a second thread */
	return getopt_long(args->argc, args->argv, args->letters, args->longs, NULL);
}

/* The value of @option. One that may be left out can also be a word of its own, as any other's: commands with such options
 * take no operands that it could be mistaken for. */
static const char *take_value(const struct cli_args *args, const struct cli_option *option)
{
	if (optarg || !cli_value_is_optional(&option->option))
		return optarg;
	return optind < args->argc && args->argv[optind][0] != '-' ? args->argv[optind++] : "";
}

int cli_args_each(struct cli_args *args, int (*fn)(void *opaque, const struct cli_option *given, const char *value),
                  void *opaque, int *rest)
{
	int val, status = CLI_GO_ON;
	opterr = 0;
	optind = 0; /* from the start, also of another vector: GNU */
	while (status == CLI_GO_ON && (val = next_option(args)) != -1) {
		const struct cli_option *option = val == '?' || val == ':' ? NULL : option_of(args, val);
		if (!option) {
			status = complain(args, val);
		} else if (!strcmp(option->option.name, "help")) {
			cli_print_help(args->command);
			status = CLI_OK;
		} else {
			const char *value = take_value(args, option);
			status = fn ? fn(opaque, option, value) : CLI_GO_ON;
		}
	}
	if (rest)
		*rest = optind;
	return status;
}

int cli_args_no_operands(const struct cli_args *args, int rest)
{
	if (rest >= args->argc)
		return CLI_GO_ON;
	return cli_complain(CLI_USAGE, "unexpected argument \"%s\"; see \"%s --help\"", args->argv[rest], args->title);
}

int cli_number(const struct cli_option *given, const char *value, unsigned *number)
{
	const struct cvmm_option *option = &given->option;
	size_t digits = strspn(value, "0123456789");
	unsigned long parsed = strtoul(value, NULL, 10); /* ULONG_MAX if too large */
	if (!digits || value[digits] || parsed < option->min || parsed > option->max)
		return cli_complain(CLI_USAGE, "--%s: expected a number from %u to %u, found \"%s\"", option->name,
		                    (unsigned)option->min, (unsigned)option->max, value);
	*number = (unsigned)parsed;
	return CLI_GO_ON;
}
