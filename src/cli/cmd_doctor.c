// SPDX-License-Identifier: Apache-2.0
/* cvmm doctor: the library's findings for people, or as JSON for programs. */
#include "src/cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_words[] = {
	[CVMM_CHECK_OK] = "ok",
	[CVMM_CHECK_NOTE] = "note",
	[CVMM_CHECK_FAIL] = "fail",
};

static const char *const speed_words[] = {
	[CVMM_KVM_UNKNOWN] = "unknown",
	[CVMM_KVM_NATIVE] = "native",
	[CVMM_KVM_EMULATED] = "emulated",
};

static const struct cvmm_check *first_failure(const struct cvmm_doctor *doctor)
{
	for (size_t i = 0; i < doctor->count; i++)
		if (doctor->checks[i].status == CVMM_CHECK_FAIL)
			return &doctor->checks[i];
	return NULL;
}

static int widest_name(const struct cvmm_doctor *doctor)
{
	size_t widest = 0;
	for (size_t i = 0; i < doctor->count; i++)
		if (strlen(doctor->checks[i].name) > widest)
			widest = strlen(doctor->checks[i].name);
	return (int)widest;
}

static int print_text(const struct cvmm_doctor *doctor)
{
	int width = widest_name(doctor);
	for (size_t i = 0; i < doctor->count; i++) {
		const struct cvmm_check *check = &doctor->checks[i];
		printf("%-4s  %-8s  %-*s  %s\n", status_words[check->status], check->kind, width, check->name,
		       check->message);
	}
	const struct cvmm_check *failure = first_failure(doctor);
	if (doctor->good)
		printf("\nA Linux guest can be expected to boot well on this host.\n");
	else
		printf("\nA Linux guest cannot be expected to boot well on this host (%s): %s.\n",
		       failure ? failure->name : "nothing measured",
		       failure ? failure->message : "KVM's speed could not be found out");
	return CLI_OK;
}

/* NULL members, where memory ran out, make json_pack() fail, so that one check at the end will do. */
static json_t *doctor_json(const struct cvmm_doctor *doctor)
{
	json_t *checks = json_array();
	for (size_t i = 0; i < doctor->count; i++) {
		const struct cvmm_check *check = &doctor->checks[i];
		json_t *item = json_pack("{s:s, s:s, s:s, s:s}", "name", check->name, "kind", check->kind, "status",
		                         status_words[check->status], "message", check->message);
		if (json_array_append_new(checks, item) < 0) {
			json_decref(checks);
			return NULL;
		}
	}
	return json_pack("{s:s, s:s, s:b, s:s, s:I, s:o}", "version", cvmm_version(), "arch", cvmm_arch(), "good",
	                 doctor->good, "speed", speed_words[doctor->speed], "kernel_instructions_per_second",
	                 (json_int_t)doctor->kernel_ips, "checks", checks);
}

static int print_json(const struct cvmm_doctor *doctor)
{
	json_t *object = doctor_json(doctor);
	char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
	json_decref(object);
	if (!text)
		return cli_complain(CLI_ERROR, "out of memory");
	puts(text);
	free(text);
	return CLI_OK;
}

static int set_option(void *opaque, const struct cli_option *given, const char *value)
{
	*(bool *)opaque = true; /* --json is the only one */
	return CLI_GO_ON;
}

int cmd_doctor(int argc, char **argv)
{
	struct cli_args args;
	struct cvmm_doctor doctor;
	struct cvmm_error err;
	bool json = false;
	int rest;
	cli_args_init(&args, &cli_commands[CLI_DOCTOR], argc, argv);
	int status = cli_args_each(&args, set_option, &json, &rest);
	if (status == CLI_GO_ON)
		status = cli_args_no_operands(&args, rest);
	if (status != CLI_GO_ON)
		return status;
	if (cvmm_doctor_examine(&doctor, &err) < 0)
		return cli_complain(CLI_ERROR, "%s", err.msg);
	status = json ? print_json(&doctor) : print_text(&doctor);
	return status == CLI_OK && !doctor.good ? CLI_ERROR : status;
}
