// SPDX-License-Identifier: Apache-2.0
/* What the command line says: complaints on stderr, help on stdout. */
#include "src/cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_WIDTH = 80, OPTION_INDENT = 28, LIST_INDENT = 10 };

int cli_complain(int code, const char *fmt, ...)
{
	char line[1024];
	va_list args;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	for (char *at = line; *at; at++) /* it may cite what the user, or a file, said */
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	fprintf(stderr, "cvmm: %s\n", line);
	return code;
}

/* Words of @text from column @column on, further lines indented by @indent. Ends with a newline. */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
	while (*text) {
		size_t len = strcspn(text, " ");
		if (column > indent && column + 1 + len > LINE_WIDTH) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			column += (size_t)printf(" ");
		}
		column += (size_t)printf("%.*s", (int)len, text);
		text += len + (text[len] == ' ');
	}
	putchar('\n');
}

/* What @option is for, behind its name that ends in column @column. */
static void print_description(const struct cvmm_option *option, int column)
{
	char text[CLI_DESCRIPTION_MAX];
	if (column > OPTION_INDENT - 2)
		column = printf("\n") - 1;
	printf("%*s", OPTION_INDENT - column, "");
	cli_describe(option, text, sizeof(text));
	print_wrapped(text, OPTION_INDENT, OPTION_INDENT);
}

static void print_option(const struct cli_option *option)
{
	int column = option->letter ? printf("  -%c, ", option->letter) : printf("      ");
	column += printf("--%s", option->option.name);
	if (option->option.metavar)
		column += printf(" %s", option->option.metavar);
	print_description(&option->option, column);
}

static void print_options(const struct cli_command *command)
{
	struct cli_option options[CLI_OPTIONS_MAX];
	size_t count = cli_options(command, options);
	printf("\nOptions:\n");
	for (size_t i = 0; i < count; i++)
		print_option(&options[i]);
}

static void print_commands(void)
{
	printf("\nCommands:\n");
	for (size_t i = 0; i < CLI_COMMANDS; i++)
		printf("  %-*s%s\n", LIST_INDENT, cli_commands[i].name, cli_commands[i].summary);
}

static void print_exit_codes(void)
{
	printf("\nExit status:\n");
	for (const struct cli_exit_code *exit = cli_exit_codes; exit->meaning; exit++) {
		printf("  %-2d ", exit->code);
		print_wrapped(exit->meaning, 5, 5);
	}
}

static void print_examples(const struct cli_example *example)
{
	printf("\nExamples:\n");
	for (; example->command; example++)
		printf("  # %s\n  %s\n", example->what, example->command);
}

void cli_print_help(const struct cli_command *command)
{
	printf("Usage: cvmm %s%s%s\n\n", command->name ? command->name : "", command->name ? " " : "",
	       command->synopsis);
	printf("%s.\n", command->summary);
	if (command->about) {
		putchar('\n');
		print_wrapped(command->about, 0, 0);
	}
	if (command == &cli_top)
		print_commands();
	print_options(command);
	if (command == &cli_commands[CLI_RUN])
		print_exit_codes();
	if (command->examples)
		print_examples(command->examples);
	if (command == &cli_top)
		printf("\n\"cvmm COMMAND --help\" says more of each command, and cvmm(1) of all.\n");
}

void cli_print_keys(const char *kind)
{
	size_t count;
	const struct cvmm_option *keys = cvmm_device_options(kind, &count);
	printf("Keys of --%s, in a list with commas between them:\n", kind);
	for (size_t i = 0; i < count; i++)
		print_description(&keys[i], printf("  %s=%s", keys[i].name, keys[i].metavar));
}
