// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/text.h"

static void test_pieces(void **state)
{
	char buf[8] = "garbage";
	struct text text;
	text_init(&text, buf, sizeof(buf));
	assert_string_equal(buf, "");
	text_add(&text, "%d,", 12);
	text_add(&text, "%s", "");
	assert_string_equal(buf, "12,");
	assert_int_equal(text.len, 3);
	text_add(&text, "%s", "345678");
	assert_string_equal(buf, "12,3456"); /* cut */
	assert_int_equal(text.len, 7);
	text_add(&text, "9");
	assert_string_equal(buf, "12,3456");
	text_init(&text, buf, 1); /* room for the NUL alone */
	text_add(&text, "1");
	assert_string_equal(buf, "");
	assert_int_equal(text.len, 0);
}

static void test_errors_are_one_line(void **state)
{
	struct cvmm_error err;
	errno = ENOENT;
	assert_int_equal(err_set(&err, -ENOENT, "kernel %s: %m", "a\nb\x1b[2J\x7f\xc3\xa4"), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.msg, "kernel a?b?[2J?\xc3\xa4: No such file or directory");
	assert_int_equal(err_prefix(&err, -EIO, "vm\r%d", 1), -EIO);
	assert_int_equal(err.code, -EIO);
	assert_string_equal(err.msg, "vm?1: kernel a?b?[2J?\xc3\xa4: No such file or directory");
	assert_int_equal(err_set(NULL, -EPERM, "nobody asks"), -EPERM);
	assert_int_equal(err_prefix(NULL, -EPERM, "nobody asks"), -EPERM);
}

static void test_long_errors_are_cut(void **state)
{
	struct cvmm_error err;
	char name[400];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	err_set(&err, -EINVAL, "cause");
	err_prefix(&err, -EINVAL, "%s", name);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	err_set(&err, -EINVAL, "%s", name);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

static char spoken[2000];
static unsigned lines;

static void hear(void *opaque, enum cvmm_log_level level, const char *line)
{
	strncat(spoken, line, sizeof(spoken) - strlen(spoken) - 1);
	lines++;
}

static void test_log(void **state)
{
	struct log log = { .level = CVMM_LOG_INFO, .fn = hear };
	log_error("nobody hears this");
	struct log *before = log_use(&log);
	log_warn("a\nb %d", 1);
	log_debug("too quiet");
	log_guest("too quiet");
	assert_string_equal(spoken, "a?b 1");
	log.name = "web\t1";
	log_info("up");
	assert_string_equal(spoken, "a?b 1web?1: up");
	log.level = CVMM_LOG_DEBUG;
	lines = 0;
	for (int i = 0; i < 100000; i++)
		log_guest("the guest is noisy");
	assert_in_range(lines, 10, 1000); /* ten a second */
	lines = 0;
	for (int i = 0; i < 100000; i++)
		log_limited(CVMM_LOG_INFO, "it resets for ever");
	assert_in_range(lines, 0, 1000);
	assert_ptr_equal(log_use(before), &log);
	assert_null(before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_errors_are_one_line),
		cmocka_unit_test(test_long_errors_are_cut),
		cmocka_unit_test(test_log),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
