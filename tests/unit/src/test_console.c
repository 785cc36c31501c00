// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "src/base/util.h"
#include "src/console.h"

/* ---- the device's side, and the VM's ----------------------------------------------------------------------------- */

static struct loop *loop;
static struct console *console;
static struct config config;
static struct cvmm_error failure;
static pthread_mutex_t dev_lock = PTHREAD_MUTEX_INITIALIZER;
static char input[16 << 10];
static size_t input_len, input_room_left;
static unsigned writable_calls;
static char escapes[16];
static size_t escape_count;

static size_t dev_input_room(void *opaque)
{
	assert_int_equal(pthread_mutex_trylock(&dev_lock), EBUSY);
	return MIN(input_room_left, sizeof(input) - input_len);
}

static void dev_input(void *opaque, const uint8_t *buf, size_t len)
{
	assert_true(len <= dev_input_room(NULL));
	memcpy(input + input_len, buf, len);
	input_len += len;
	input_room_left -= len;
}

static void dev_writable(void *opaque)
{
	writable_calls++;
}

static void console_failed(void *opaque, const struct cvmm_error *error)
{
	failure = *error;
}

static void on_escape(void *opaque, char key)
{
	escapes[escape_count++] = key;
}

static void open_console(const char *kind, unsigned char escape_key)
{
	struct console_escape escape = { .key = escape_key, .fn = on_escape };
	struct cvmm_error err = { 0 };
	if (kind) {
		free(config.console);
		config.console = strdup(kind);
	}
	int ret = console_open(&console, &config, &escape, loop, (struct console_owner){ .failed = console_failed },
	                       &err);
	if (ret < 0)
		fail_msg("%s", err.msg);
	console_chardev(console)->client = (struct chardev_client){
		.lock = &dev_lock, .input_room = dev_input_room, .input = dev_input, .writable = dev_writable
	};
	assert_int_equal(console_start(console, NULL), 0);
}

static size_t dev_send(const void *buf, size_t len)
{
	pthread_mutex_lock(&dev_lock);
	size_t took = chardev_write(console_chardev(console), buf, len);
	pthread_mutex_unlock(&dev_lock);
	return took;
}

static void dev_has_room(size_t room)
{
	pthread_mutex_lock(&dev_lock);
	input_room_left = room;
	chardev_accept_input(console_chardev(console));
	pthread_mutex_unlock(&dev_lock);
}

/* Turn until nothing is ready any more. */
static void settle(void)
{
	for (int quiet = 0; quiet < 3;)
		quiet = loop_turn(loop, 2) ? 0 : quiet + 1;
}

static int setup(void **state)
{
	config = (struct config){ .console_in_fd = -1, .console_out_fd = -1 };
	failure = (struct cvmm_error){ 0 };
	input_len = escape_count = writable_calls = 0;
	input_room_left = sizeof(input);
	console = NULL;
	loop = loop_new(&clock_host, NULL);
	return !loop;
}

static int teardown(void **state)
{
	console_free(console);
	loop_free(loop);
	free(config.console);
	return 0;
}

/* ---- tests ------------------------------------------------------------------------------------------------------ */

static int pipes[2][2]; /* to the console, from it */

static void open_pipes(unsigned char escape)
{
	assert_int_equal(pipe2(pipes[0], O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes[1], O_CLOEXEC | O_NONBLOCK), 0);
	fcntl(pipes[1][1], F_SETFL, 0);
	config.console_fds = true;
	config.console_in_fd = pipes[0][0];
	config.console_out_fd = pipes[1][1];
	open_console(NULL, escape);
}

static void close_pipes(void)
{
	for (int i = 0; i < 4; i++)
		if (pipes[i / 2][i % 2] >= 0)
			close(pipes[i / 2][i % 2]);
}

static void test_output_and_input(void **state)
{
	char buf[64] = "";
	open_pipes(0);
	assert_int_equal(fcntl(pipes[1][1], F_GETFL) & O_NONBLOCK, 0); /* others share it: left as it was */
	assert_int_equal(dev_send("hel", 3), 3);
	assert_int_equal(dev_send("lo\n", 3), 3);
	settle();
	assert_int_equal(read(pipes[1][0], buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "hello\n", 6);
	assert_int_equal(write(pipes[0][1], "\1xls\r", 5), 5); /* no escapes here */
	settle();
	assert_int_equal(input_len, 5);
	assert_memory_equal(input, "\1xls\r", 5);
	close_pipes();
}

static void test_a_slow_reader_stalls_the_device_and_loses_nothing(void **state)
{
	enum { TOTAL = 400000 };
	uint8_t *sent = malloc(TOTAL), *got = malloc(TOTAL);
	size_t out = 0, in = 0;
	for (size_t i = 0; i < TOTAL; i++)
		sent[i] = (uint8_t)(i * 7 ^ i >> 8);
	open_pipes(0);
	bool stalled = false;
	while (in < TOTAL) {
		size_t took = dev_send(sent + out, TOTAL - out);
		out += took;
		stalled |= out < TOTAL; /* it took less than it was offered */
		settle();
		ssize_t n = read(pipes[1][0], got + in, 5000);
		if (n > 0)
			in += (size_t)n;
	}
	assert_true(stalled);
	assert_true(writable_calls > 0);
	assert_memory_equal(sent, got, TOTAL);
	free(sent);
	free(got);
	close_pipes();
}

static void test_input_waits_for_the_device(void **state)
{
	char typed[9000];
	for (size_t i = 0; i < sizeof(typed); i++)
		typed[i] = (char)('a' + i % 26);
	open_pipes(0);
	input_room_left = 3;
	assert_int_equal(write(pipes[0][1], typed, sizeof(typed)), sizeof(typed));
	close(pipes[0][1]); /* end of input behind data that waits */
	pipes[0][1] = -1;
	settle();
	assert_int_equal(input_len, 3);
	while (input_len < sizeof(typed)) {
		size_t before = input_len;
		dev_has_room(700);
		settle();
		assert_true(input_len > before);
	}
	assert_memory_equal(input, typed, sizeof(typed));
	close_pipes();
}

static void test_escapes(void **state)
{
	open_pipes(1);
	assert_int_equal(write(pipes[0][1], "a\1xb\1\1c\1h", 9), 9);
	settle();
	assert_int_equal(escape_count, 2);
	assert_memory_equal(escapes, "xh", 2);
	assert_int_equal(input_len, 4);
	assert_memory_equal(input, "ab\1c", 4);
	/* a guest that reads nothing cannot keep the user from leaving */
	input_room_left = 0;
	char flood[8000];
	memset(flood, 'z', sizeof(flood));
	assert_int_equal(write(pipes[0][1], flood, sizeof(flood)), sizeof(flood));
	assert_int_equal(write(pipes[0][1], "\1x", 2), 2);
	settle();
	assert_int_equal(escape_count, 3);
	close_pipes();
}

static void test_a_reader_that_goes_away_is_a_failure(void **state)
{
	open_pipes(0);
	close(pipes[1][0]);
	pipes[1][0] = -1;
	dev_send("x", 1);
	settle();
	assert_int_equal(failure.code, -EPIPE);
	assert_non_null(strstr(failure.msg, "write: Broken pipe"));
	close_pipes();
}

static void fill(int fd)
{
	static const char zeros[4096];
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	fcntl(fd, F_SETFL, flags);
}

static void test_after_a_failure_the_loop_rests(void **state)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	config.console_fds = true;
	config.console_in_fd = -1;
	config.console_out_fd = ends[0];
	fill(ends[0]);
	open_console(NULL, 0);
	dev_send("x", 1);
	settle();
	assert_int_equal(failure.code, 0);
	close(ends[1]); /* while its writability is awaited, which now lasts */
	for (int i = 0; i < 5; i++)
		loop_turn(loop, 5);
	assert_int_equal(failure.code, -EPIPE);
	assert_int_equal(loop_turn(loop, 0), 0);
	close(ends[0]);
}

static void test_output_that_nobody_takes_is_a_failure(void **state)
{
	open_pipes(0);
	fill(pipes[1][1]);
	dev_send("last words", 10);
	console_drain(console, 20);
	assert_int_equal(failure.code, -ETIMEDOUT);
	assert_string_equal(failure.msg, "console (descriptor): nobody takes the last 10 bytes of output");
	close_pipes();
}

/* The pipe is another user's, so cannot be opened again to be told not to block. */
static void test_a_reader_that_stalls_blocks_nobody(void **state)
{
	if (geteuid())
		skip();
	assert_int_equal(pipe2(pipes[0], O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes[1], O_CLOEXEC), 0);
	config.console_fds = true;
	config.console_in_fd = pipes[0][0];
	config.console_out_fd = pipes[1][1];
	assert_int_equal(seteuid(65534), 0);
	open_console(NULL, 0);
	assert_int_equal(seteuid(0), 0);
	uint8_t sent[300000], got[300000];
	size_t out = 0, in = 0;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i ^ i >> 9);
	while (in < sizeof(sent)) {
		out += dev_send(sent + out, sizeof(sent) - out);
		for (int i = 0; i < 5; i++)
			loop_turn(loop, 2); /* comes back, though nobody reads */
		ssize_t n = read(pipes[1][0], got + in, MIN(sizeof(got) - in, 5000));
		in += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(sent, got, sizeof(sent));
	assert_int_equal(write(pipes[0][1], "ls", 2), 2);
	settle();
	assert_int_equal(input_len, 2);
	close_pipes();
}

static void test_a_terminal_that_goes_away_is_none(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	int tty = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	config.console_fds = true;
	config.console_in_fd = config.console_out_fd = tty;
	open_console(NULL, 1);
	dev_send("hello", 5);
	settle();
	close(master);
	for (int i = 0; i < 1000; i++) { /* more than waits for anybody */
		assert_int_equal(
			dev_send("the guest is told by a signal, and shuts down in peace\n\n\n\n\n\n\n\n\n\n", 64), 64);
		if (i % 100 == 0)
			settle();
	}
	console_drain(console, 1000);
	assert_int_equal(failure.code, 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	close(tty);
}

static void test_a_full_disk_is_a_failure(void **state)
{
	open_console("file=/dev/full", 0);
	dev_send("x", 1);
	settle();
	assert_int_equal(failure.code, -ENOSPC);
	assert_string_equal(failure.msg, "console file=/dev/full: write: No space left on device");
}

static char temp_dir[] = "/tmp/cvmm-console-XXXXXX";
static char temp_path[64], temp_console[80];

static void make_temp(const char *kind)
{
	strcpy(temp_dir + sizeof(temp_dir) - 7, "XXXXXX");
	assert_non_null(mkdtemp(temp_dir));
	snprintf(temp_path, sizeof(temp_path), "%s/c", temp_dir);
	snprintf(temp_console, sizeof(temp_console), "%s=%s", kind, temp_path);
}

static off_t file_size(void)
{
	struct stat st;
	return stat(temp_path, &st) < 0 ? -1 : st.st_size;
}

static void test_a_file_is_truncated_only_when_the_vm_runs(void **state)
{
	make_temp("file");
	FILE *old = fopen(temp_path, "w");
	fputs("precious", old);
	fclose(old);
	struct console_escape no_escape = { 0 };
	config.console = strdup(temp_console);
	assert_int_equal(console_open(&console, &config, &no_escape, loop, (struct console_owner){ 0 }, NULL), 0);
	assert_int_equal(file_size(), 8);
	console_free(console); /* the VM was not made: nothing is lost */
	assert_int_equal(file_size(), 8);
	open_console(NULL, 0);
	dev_send("new", 3);
	console_drain(console, 1000);
	assert_int_equal(file_size(), 3);
	console_free(console);
	console = NULL;
	assert_int_equal(file_size(), 3);
	unlink(temp_path);
	/* a file that did not exist does not stay behind a start that failed */
	assert_int_equal(console_open(&console, &config, &no_escape, loop, (struct console_owner){ 0 }, NULL), 0);
	assert_int_equal(file_size(), 0);
	console_free(console);
	console = NULL;
	assert_int_equal(file_size(), -1);
	rmdir(temp_dir);
}

static int dial(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	strcpy(addr.sun_path, temp_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	settle();
	return fd;
}

static void test_a_socket_user_who_cannot_be_let_in_yet(void **state)
{
	char buf[8];
	int spare[4096], count = 0;
	if (under_valgrind()) /* it lets the kernel accept a connection beyond the limit, and then closes it */
		return;
	make_temp("unix");
	open_console(temp_console, 0);
	dev_send("hi", 2);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	strcpy(addr.sun_path, temp_path);
	int user = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct rlimit limit, few = { 64, 64 };
	getrlimit(RLIMIT_NOFILE, &limit);
	few.rlim_max = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	while (count < 4096 && (spare[count] = dup(0)) >= 0)
		count++;
	assert_int_equal(connect(user, (struct sockaddr *)&addr, sizeof(addr)), 0);
	int turns = 0;
	while (turns < 1000 && loop_turn(loop, 5))
		turns++;
	assert_in_range(turns, 1, 10); /* then it rests */
	while (count)
		close(spare[--count]);
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < 100 && read(user, buf, sizeof(buf)) != 2; i++)
		loop_turn(loop, 20);
	assert_memory_equal(buf, "hi", 2);
	close(user);
	console_free(console);
	console = NULL;
	rmdir(temp_dir);
}

static void test_socket_users_come_and_go(void **state)
{
	char buf[100];
	make_temp("unix");
	open_console(temp_console, 0);
	assert_string_equal(console_path(console), temp_path);
	dev_send("before anyone came\n", 19);
	settle();
	int user = dial();
	assert_int_equal(read(user, buf, sizeof(buf)), 19);
	int second = dial(); /* one at a time */
	assert_int_equal(read(second, buf, sizeof(buf)), 0);
	close(second);
	assert_int_equal(write(user, "in", 2), 2);
	settle();
	assert_int_equal(input_len, 2);
	close(user);
	settle();
	assert_int_equal(dev_send("alone\n", 6), 6);
	settle();
	user = dial();
	assert_int_equal(read(user, buf, sizeof(buf)), 6);
	close(user);
	assert_int_equal(failure.code, 0);
	console_free(console);
	console = NULL;
	assert_int_equal(file_size(), -1); /* the socket went with it */
	rmdir(temp_dir);
}

static void test_unattended_output_keeps_the_newest(void **state)
{
	static char buf[200000];
	make_temp("unix");
	open_console(temp_console, 0);
	for (int i = 0; i < 20000; i++) {
		char line[16];
		int len = snprintf(line, sizeof(line), "line %05d\n", i);
		assert_int_equal(dev_send(line, (size_t)len), len);
	}
	int user = dial();
	ssize_t got = 0, n;
	while ((n = read(user, buf + got, sizeof(buf) - (size_t)got)) > 0 ||
	       (settle(), n = read(user, buf + got, 1)) > 0)
		got += n;
	assert_in_range(got, 60000, 65536);
	assert_memory_equal(buf + got - 11, "line 19999\n", 11);
	close(user);
	console_free(console);
	console = NULL;
	rmdir(temp_dir);
}

static void test_socket_names_that_are_taken(void **state)
{
	struct console_escape none = { 0 };
	struct cvmm_error err = { 0 };
	char buf[16];
	make_temp("unix");
	config.console = strdup(temp_console);
	/* left from a killed run: replaced */
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	strcpy(addr.sun_path, temp_path);
	int stale = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(stale, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(stale);
	open_console(NULL, 0);
	/* in use: refused, and left alone */
	dev_send("mine", 4);
	struct console *other;
	assert_int_equal(console_open(&other, &config, &none, loop, (struct console_owner){ 0 }, &err), -EADDRINUSE);
	assert_null(other);
	settle();
	int user = dial();
	assert_int_equal(read(user, buf, sizeof(buf)), 4); /* the other has not taken it along */
	close(user);
	console_free(console);
	console = NULL;
	/* a file of somebody's: refused, and left alone */
	close(open(temp_path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(console_open(&other, &config, &none, loop, (struct console_owner){ 0 }, &err), -EEXIST);
	assert_int_equal(file_size(), 0);
	unlink(temp_path);
	rmdir(temp_dir);
}

static void test_pty(void **state)
{
	char buf[32];
	open_console("pty", 0);
	dev_send("early", 5);
	settle();
	int tty = open(console_path(console), O_RDWR | O_NOCTTY | O_NONBLOCK);
	assert_true(tty >= 0);
	for (int i = 0; i < 100 && read(tty, buf, 5) != 5; i++) /* found by asking every so often */
		loop_turn(loop, 20);
	assert_memory_equal(buf, "early", 5);
	assert_int_equal(write(tty, "ls\n", 3), 3);
	settle();
	assert_int_equal(input_len, 3);
	close(tty);
	settle();
	assert_int_equal(dev_send("nobody", 6), 6);
	assert_int_equal(failure.code, 0);
}

static void test_input_from_a_file_and_from_nothing(void **state)
{
	char name[] = "/tmp/cvmm-console-XXXXXX";
	int file = mkstemp(name);
	unlink(name);
	assert_int_equal(write(file, "typed before\n", 13), 13);
	lseek(file, 0, SEEK_SET);
	config.console_fds = true;
	config.console_in_fd = file;
	config.console_out_fd = -1;
	open_console(NULL, 0);
	settle();
	assert_int_equal(input_len, 13);
	close(file);
	console_free(console);
	config.console_in_fd = open("/dev/null", O_RDONLY);
	open_console(NULL, 0);
	settle();
	assert_int_equal(input_len, 13);
	close(config.console_in_fd);
}

static void test_input_without_end(void **state)
{
	config.console_fds = true;
	config.console_in_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	config.console_out_fd = -1;
	input_room_left = 100;
	open_console(NULL, 1);
	settle();
	assert_int_equal(input_len, 100);
	close(config.console_in_fd);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	signal(SIGPIPE, SIG_IGN); /* the library's threads block it; here the test is the thread */
	const struct CMUnitTest tests[] = {
		TEST(test_output_and_input),
		TEST(test_a_slow_reader_stalls_the_device_and_loses_nothing),
		TEST(test_input_waits_for_the_device),
		TEST(test_escapes),
		TEST(test_a_reader_that_goes_away_is_a_failure),
		TEST(test_after_a_failure_the_loop_rests),
		TEST(test_output_that_nobody_takes_is_a_failure),
		TEST(test_a_reader_that_stalls_blocks_nobody),
		TEST(test_a_terminal_that_goes_away_is_none),
		TEST(test_a_full_disk_is_a_failure),
		TEST(test_a_file_is_truncated_only_when_the_vm_runs),
		TEST(test_a_socket_user_who_cannot_be_let_in_yet),
		TEST(test_socket_users_come_and_go),
		TEST(test_unattended_output_keeps_the_newest),
		TEST(test_socket_names_that_are_taken),
		TEST(test_pty),
		TEST(test_input_from_a_file_and_from_nothing),
		TEST(test_input_without_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
