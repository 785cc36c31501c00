/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line's own facts and helpers. Commands, options, exit codes and examples are tables (tables.c) that
 * parsing, help, man page and completion all read. Of libcvmm it includes <cvmm.h> alone.
 */
#ifndef CVMM_SRC_CLI_CLI_H
#define CVMM_SRC_CLI_CLI_H

#include <getopt.h>

#include <cvmm.h>

/* ---- tables.c ---------------------------------------------------------------------------------------------------- */

enum cli_exit { CLI_OK, CLI_ERROR, CLI_USAGE, CLI_RESET, CLI_CRASH, CLI_STOPPED };

struct cli_exit_code {
	int code;
	const char *meaning;
};
extern const struct cli_exit_code cli_exit_codes[]; /* ends with meaning NULL */

struct cli_option {
	struct cvmm_option option; /* metavar NULL: it takes no value */
	char letter;               /* -v; 0: none */
};

struct cli_example {
	const char *what, *command;
};

struct cli_command {
	const char *name;                   /* NULL: cvmm itself */
	const char *synopsis;               /* what follows the name */
	const char *summary;                /* one sentence, no full stop */
	const char *about;                  /* paragraphs, or NULL */
	bool machine_options;               /* it takes cvmm_options() and cvmm_device_kinds() too */
	const struct cli_option *options;   /* its own; ends with name NULL */
	const struct cli_example *examples; /* ends with command NULL; or NULL */
};

enum { CLI_RUN, CLI_ZONE, CLI_DOCTOR, CLI_HELP, CLI_COMMANDS };
extern const struct cli_command cli_commands[CLI_COMMANDS];
extern const struct cli_command cli_top; /* cvmm itself */

enum { CLI_OPTIONS_MAX = 48 };
/* All options of @command, the machine's and its devices' first, into @list; returns how many. */
size_t cli_options(const struct cli_command *command, struct cli_option list[CLI_OPTIONS_MAX]);

enum { CLI_DESCRIPTION_MAX = 256 };
/* "Number of virtual CPUs, 1 to 254 (default 1)" */
void cli_describe(const struct cvmm_option *option, char *buf, size_t size);

/* ---- args.c ------------------------------------------------------------------------------------------------------ */

enum { CLI_GO_ON = -1 }; /* beside exit codes: nothing to leave for yet */

struct cli_args {
	const struct cli_command *command;
	char title[24]; /* "cvmm run" */
	struct cli_option options[CLI_OPTIONS_MAX];
	struct option longs[CLI_OPTIONS_MAX + 1];
	char letters[2 + 2 * CLI_OPTIONS_MAX + 1];
	int argc;
	char **argv; /* not owned; [0] is the command's name */
};

void cli_args_init(struct cli_args *args, const struct cli_command *command, int argc, char **argv);

/* Call @fn on each option in its order. Ends with the first answer that is not CLI_GO_ON, with CLI_OK when help was
 * asked for and printed, with CLI_USAGE after a complaint; @fn NULL: only check. @rest: where operands begin. */
int cli_args_each(struct cli_args *args, int (*fn)(void *opaque, const struct cli_option *given, const char *value),
                  void *opaque, int *rest);

/* May @option stand without its value? */
bool cli_value_is_optional(const struct cvmm_option *option);

/* Complain about operands that @args' command does not take. */
int cli_args_no_operands(const struct cli_args *args, int rest);

/* The value of an option of the command line's own that is a number. CLI_GO_ON, or CLI_USAGE after a complaint. */
int cli_number(const struct cli_option *given, const char *value, unsigned *number);

/* ---- help.c ------------------------------------------------------------------------------------------------------ */

/* One line on stderr, "cvmm: " in front, whatever is in it. Returns @code. */
int cli_complain(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void cli_print_help(const struct cli_command *command);

/* The keys of --@kind. */
void cli_print_keys(const char *kind);

/* ---- the commands ------------------------------------------------------------------------------------------------ */

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_zone(int argc, char **argv);

#endif
