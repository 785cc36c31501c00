// SPDX-License-Identifier: Apache-2.0
/*
 * Build tool: fills in a template of the man page or of a shell's completion from the tables. A line of the template
 * that reads "@insert@" or "@insert command@" is replaced by what the insert prints for that command.
 */
#include "src/cli/cli.h"

#include <stdio.h>
#include <string.h>

/* ---- man page, mdoc(7) ------------------------------------------------------------------------------------------- */

/* Each sentence on a line of its own: roff sets the space between. */
static void print_roff(const char *text)
{
	for (; *text; text++)
		if (!strncmp(text, ". ", 2)) {
			printf(".\n");
			text++;
		} else if (*text == '\\')
			printf("\\e");
		else if (*text == '-')
			printf("\\-"); /* a minus that can be copied, not a hyphen */
		else
			putchar(*text);
}

static void man_options(const struct cli_command *command)
{
	struct cli_option options[CLI_OPTIONS_MAX];
	char text[CLI_DESCRIPTION_MAX];
	size_t count = cli_options(command, options);
	printf(".Bl -tag -width Ds\n");
	for (size_t i = 0; i < count; i++) {
		const struct cvmm_option *option = &options[i].option;
		cli_describe(option, text, sizeof(text));
		printf(".It ");
		if (options[i].letter)
			printf("Fl %c , ", options[i].letter);
		printf("Fl Fl %s%s%s\n", option->name, option->metavar ? " Ar " : "",
		       option->metavar ? option->metavar : "");
		print_roff(text);
		printf(".\n");
	}
	printf(".El\n");
}

/* The keys of each kind of device. */
static void man_keys(const struct cli_command *command)
{
	char text[CLI_DESCRIPTION_MAX];
	size_t kind_count, count;
	const struct cvmm_option *kinds = cvmm_device_kinds(&kind_count);
	for (size_t i = 0; i < kind_count; i++) {
		const struct cvmm_option *keys = cvmm_device_options(kinds[i].name, &count);
		printf(".Ss Keys of Fl Fl %s\n.Bl -tag -width Ds\n", kinds[i].name);
		for (size_t j = 0; j < count; j++) {
			cli_describe(&keys[j], text, sizeof(text));
			printf(".It Cm %s Ns = Ns Ar %s\n", keys[j].name, keys[j].metavar);
			print_roff(text);
			printf(".\n");
		}
		printf(".El\n");
	}
}

static void man_about(const struct cli_command *command)
{
	print_roff(command->summary);
	printf(".\n");
	if (command->about) {
		print_roff(command->about);
		putchar('\n');
	}
}

static void man_exit_codes(const struct cli_command *command)
{
	printf(".Bl -tag -width Ds\n");
	for (const struct cli_exit_code *exit = cli_exit_codes; exit->meaning; exit++) {
		printf(".It %d\n", exit->code);
		print_roff(exit->meaning);
		printf(".\n");
	}
	printf(".El\n");
}

static void man_examples(const struct cli_command *command)
{
	for (const struct cli_example *example = command->examples; example->command; example++) {
		print_roff(example->what);
		printf(":\n.Pp\n.Dl ");
		print_roff(example->command);
		printf("\n.Pp\n");
	}
}

/* ---- completion: what the shells have in common ------------------------------------------------------------------ */

/* What a list of a device's keys may begin with. */
static void print_keys(const char *kind)
{
	size_t count;
	const struct cvmm_option *keys = cvmm_device_options(kind, &count);
	for (size_t i = 0; i < count; i++)
		printf("%s%s%s", i ? " " : "", keys[i].name, keys[i].type == CVMM_OPTION_BOOL ? "" : "=");
}

/* The words a value can be, apart by spaces; "file=PATH" ends at the sign. Nothing where any text will do. */
static void print_words(const struct cvmm_option *option)
{
	if (option->type == CVMM_OPTION_DEVICE) {
		print_keys(option->name);
		return;
	}
	const char *at = option->type == CVMM_OPTION_BOOL ? "on|off" : option->choices ? option->choices : "";
	while (*at) {
		size_t len = strcspn(at, "|"), equals = strcspn(at, "=|");
		printf("%.*s", (int)(equals < len ? equals + 1 : len), at);
		at += len;
		if (*at++ != '|')
			return;
		putchar(' ');
	}
}

static bool has_words(const struct cvmm_option *option)
{
	return option->metavar &&
	       (option->choices || option->type == CVMM_OPTION_BOOL || option->type == CVMM_OPTION_DEVICE);
}

/* ---- bash -------------------------------------------------------------------------------------------------------- */

static void bash_command_options(const struct cli_command *command)
{
	struct cli_option options[CLI_OPTIONS_MAX];
	size_t count = cli_options(command, options);
	printf("\t[%s]=\"", command->name ? command->name : "cvmm");
	for (size_t i = 0; i < count; i++)
		printf("%s--%s", i ? " " : "", options[i].option.name);
	printf("\"\n");
}

static void bash_options(const struct cli_command *command)
{
	bash_command_options(&cli_top);
	for (size_t i = 0; i < CLI_COMMANDS; i++)
		bash_command_options(&cli_commands[i]);
}

/* Options with a value: FILE for a file name, else the words, none where nothing can be offered. */
static void bash_values(const struct cli_command *command)
{
	struct cli_option options[CLI_OPTIONS_MAX];
	size_t count = cli_options(command, options);
	for (size_t i = 0; i < count; i++) {
		const struct cvmm_option *option = &options[i].option;
		if (!option->metavar)
			continue;
		printf("\t[--%s]=\"", option->name);
		if (option->type == CVMM_OPTION_PATH)
			printf("FILE");
		else if (option->type == CVMM_OPTION_DEVICE)
			printf("KEYS ");
		print_words(option);
		printf("\"\n");
		if (options[i].letter)
			printf("\t[-%c]=\"%s\"\n", options[i].letter, option->type == CVMM_OPTION_PATH ? "FILE" : "");
	}
}

/* "KEYS" marks a list of keys; the value of each stands beside it. */
static void bash_keys(const struct cli_command *command)
{
	size_t kind_count, count;
	const struct cvmm_option *kinds = cvmm_device_kinds(&kind_count);
	for (size_t i = 0; i < kind_count; i++) {
		const struct cvmm_option *keys = cvmm_device_options(kinds[i].name, &count);
		for (size_t j = 0; j < count; j++) {
			printf("\t[--%s %s]=\"", kinds[i].name, keys[j].name);
			if (keys[j].type == CVMM_OPTION_PATH)
				printf("FILE");
			else
				print_words(&keys[j]);
			printf("\"\n");
		}
	}
}

static void bash_commands(const struct cli_command *command)
{
	printf("_cvmm_commands=\"");
	for (size_t i = 0; i < CLI_COMMANDS; i++)
		printf("%s%s", i ? " " : "", cli_commands[i].name);
	printf("\"\n");
}

/* ---- zsh --------------------------------------------------------------------------------------------------------- */

/* In single quotes, and in the brackets of an _arguments specification. */
static void zsh_text(const char *text)
{
	for (; *text; text++)
		if (*text == '\'')
			printf("'\\''");
		else
			printf("%s%c", strchr("[]:\\", *text) ? "\\" : "", *text);
}

static void zsh_action(const struct cvmm_option *option)
{
	printf(":");
	zsh_text(option->metavar);
	printf(":");
	if (option->type == CVMM_OPTION_PATH)
		printf("_files");
	else if (option->type == CVMM_OPTION_DEVICE)
		printf("_cvmm_%s", option->name);
	else if (has_words(option)) {
		printf("(");
		print_words(option);
		printf(")");
	}
}

static void zsh_options(const struct cli_command *command)
{
	struct cli_option options[CLI_OPTIONS_MAX];
	size_t count = cli_options(command, options);
	for (size_t i = 0; i < count; i++) {
		const struct cvmm_option *option = &options[i].option;
		const char *sign = option->metavar ? "=" : "";
		printf("\t\t\t");
		if (options[i].letter)
			printf("{-%c%s,--%s%s}", options[i].letter, option->metavar ? "+" : "", option->name, sign);
		else
			printf("%s--%s%s", option->type == CVMM_OPTION_DEVICE ? "'*'" : "", option->name, sign);
		printf("'[");
		zsh_text(option->help);
		printf("]");
		if (option->metavar)
			zsh_action(option);
		printf("'%s\n", i + 1 < count ? " \\" : "");
	}
}

/* A function for each kind of device. */
static void zsh_keys(const struct cli_command *command)
{
	size_t kind_count, count;
	const struct cvmm_option *kinds = cvmm_device_kinds(&kind_count);
	for (size_t i = 0; i < kind_count; i++) {
		const struct cvmm_option *keys = cvmm_device_options(kinds[i].name, &count);
		printf("_cvmm_%s()\n{\n\t_values -s , 'keys of --%s'", kinds[i].name, kinds[i].name);
		for (size_t j = 0; j < count; j++) {
			printf(" \\\n\t\t'%s[", keys[j].name);
			zsh_text(keys[j].help);
			printf("]%s", keys[j].type == CVMM_OPTION_BOOL ? ":" : "");
			zsh_action(&keys[j]);
			printf("'");
		}
		printf("\n}\n\n");
	}
}

static void zsh_commands(const struct cli_command *command)
{
	for (size_t i = 0; i < CLI_COMMANDS; i++) {
		printf("\t\t\t'%s:", cli_commands[i].name);
		zsh_text(cli_commands[i].summary);
		printf("'\n");
	}
}

/* ---- fish -------------------------------------------------------------------------------------------------------- */

/* "complete" where @command was given, or where none was. */
static void fish_complete(const struct cli_command *command)
{
	if (command->name)
		printf("complete -c cvmm -n '__fish_seen_subcommand_from %s'", command->name);
	else
		printf("complete -c cvmm -n __fish_use_subcommand");
}

static void fish_text(const char *text)
{
	printf(" -d '");
	for (; *text; text++)
		printf("%s%c", *text == '\'' || *text == '\\' ? "\\" : "", *text);
	printf("'\n");
}

static void fish_options(const struct cli_command *command)
{
	struct cli_option options[CLI_OPTIONS_MAX];
	size_t count = cli_options(command, options);
	for (size_t i = 0; i < count; i++) {
		const struct cvmm_option *option = &options[i].option;
		fish_complete(command);
		if (options[i].letter)
			printf(" -s %c", options[i].letter);
		printf(" -l %s", option->name);
		if (option->metavar)
			printf(option->type == CVMM_OPTION_PATH ? " -r -F" : " -x");
		if (has_words(option)) {
			bool list = option->type == CVMM_OPTION_DEVICE;
			printf(" -a '%s", list ? "(__fish_append , " : "");
			print_words(option);
			printf("%s'", list ? ")" : "");
		}
		fish_text(option->help);
	}
}

static void fish_commands(const struct cli_command *command)
{
	for (size_t i = 0; i < CLI_COMMANDS; i++) {
		fish_complete(command);
		printf(" -a %s", cli_commands[i].name);
		fish_text(cli_commands[i].summary);
	}
}

/* ---- the template ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	void (*print)(const struct cli_command *command);
} inserts[] = {
	{ "man-about", man_about },       { "man-options", man_options },     { "man-exit-codes", man_exit_codes },
	{ "man-examples", man_examples }, { "man-keys", man_keys },           { "bash-options", bash_options },
	{ "bash-values", bash_values },   { "bash-keys", bash_keys },         { "bash-commands", bash_commands },
	{ "zsh-options", zsh_options },   { "zsh-keys", zsh_keys },           { "zsh-commands", zsh_commands },
	{ "fish-options", fish_options }, { "fish-commands", fish_commands },
};

static const struct cli_command *find_command(const char *name)
{
	for (size_t i = 0; i < CLI_COMMANDS; i++)
		if (!strcmp(cli_commands[i].name, name))
			return &cli_commands[i];
	return *name ? NULL : &cli_top;
}

/* Print what @line asks for, or @line itself. An insert that nobody knows is a mistake in the template. */
static bool expand(const char *line)
{
	char name[32], command_name[32] = "";
	char end = 0;
	if (sscanf(line, "@%31[a-z-]%c", name, &end) != 2 ||
	    (end == ' ' && sscanf(line, "@%*[a-z-] %31[a-z]%c", command_name, &end) != 2) || end != '@') {
		fputs(line, stdout);
		return true;
	}
	const struct cli_command *command = find_command(command_name);
	for (size_t i = 0; command && i < sizeof(inserts) / sizeof(inserts[0]); i++)
		if (!strcmp(inserts[i].name, name)) {
			inserts[i].print(command);
			return true;
		}
	fprintf(stderr, "generate: unknown insert: %s", line);
	return false;
}

int main(int argc, char **argv)
{
	char line[1024];
	bool good = true;
	FILE *template = argc == 2 ? fopen(argv[1], "re") : NULL;
	if (!template) {
		fprintf(stderr, "usage: generate TEMPLATE > RESULT\n");
		return 2;
	}
	while (good && fgets(line, sizeof(line), template))
		good = expand(line);
	fclose(template);
	return !good || fflush(stdout) || ferror(stdout);
}
