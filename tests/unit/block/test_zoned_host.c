// SPDX-License-Identifier: Apache-2.0
/* A zoned device of the host, played here: a state machine over memory that says EIO where a device would. */
#include "tests/unit/unit.h"

#include <string.h>
#include <unistd.h>

#include "src/base/util.h"
#include "src/block/zoned_host.h"

enum { ZONE = 64 << 10, ZONES = 70, BLOCK = 4096 };

static const struct zone_geometry geometry = {
	.model = ZONE_MODEL_HOST_MANAGED,
	.size = ZONES * (uint64_t)ZONE - 32768, /* the last one is a small one */
	.zone_size = ZONE,
	.zone_capacity = ZONE,
	.max_open = 2,
	.max_active = 3,
	.max_append = 32 << 10,
	.block_size = BLOCK,
};

/* ---- the device: the worker is there, too ------------------------------------------------------------------------- */

static struct host {
	struct block block;
	struct zones zones;
	uint8_t bytes[ZONES * ZONE];
	pthread_mutex_t lock;
	unsigned writes, in_flight, reports;
	bool fail_write, fail_report, hold;
	struct block_request *held[8];
	unsigned held_count;
} host;

static int errno_of(int ret)
{
	return ret == ZONE_OPEN_RESOURCE || ret == ZONE_ACTIVE_RESOURCE || ret == 0 ? ret : -EIO;
}

static int host_transfer(struct block_request *request)
{
	uint8_t *at = host.bytes + request->off;
	uint64_t data;
	int ret;
	if (request->op == BLOCK_READ)
		ret = zones_read(&host.zones, request->off, request->len, &data);
	else
		ret = zones_begin_write(&host.zones, request->off, request->len);
	if (ret < 0)
		return errno_of(ret);
	for (unsigned i = 0; i < request->iov_count; at += request->iov[i++].iov_len)
		if (request->op == BLOCK_READ)
			memcpy(request->iov[i].iov_base, at, request->iov[i].iov_len);
		else
			memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
	if (request->op == BLOCK_WRITE)
		zones_end_write(&host.zones, request->off, request->len, !host.fail_write);
	return host.fail_write && request->op == BLOCK_WRITE ? -EIO : 0;
}

static void host_serve(struct block_request *request)
{
	pthread_mutex_lock(&host.lock);
	int ret = request->op == BLOCK_FLUSH ? 0 : host_transfer(request);
	host.writes += request->op == BLOCK_WRITE;
	pthread_mutex_unlock(&host.lock);
	request->done(request, ret);
}

static void host_submit(struct block *block, struct block_request *request)
{
	if (host.hold)
		host.held[host.held_count++] = request;
	else
		host_serve(request);
}

static void host_free(struct block *block)
{
	zones_fini(&host.zones);
}

static int host_report(int fd, uint64_t off, struct zone_info *infos, unsigned *count)
{
	pthread_mutex_lock(&host.lock);
	unsigned room = *count;
	uint32_t first = zones_index(&host.zones, off);
	host.reports++;
	for (*count = 0; *count < room && first + *count < host.zones.count; ++*count)
		zones_info(&host.zones, first + *count, &infos[*count]);
	int ret = host.fail_report ? -EIO : 0;
	pthread_mutex_unlock(&host.lock);
	return ret;
}

static int host_manage(int fd, enum zone_op op, uint64_t off, uint64_t len)
{
	int ret = 0;
	pthread_mutex_lock(&host.lock);
	if (len == geometry.size) {
		for (uint32_t i = 0; i < host.zones.count; i++)
			if (zones_has_to_reset(&host.zones, i))
				zones_manage(&host.zones, op, zones_start(&host.zones, i));
	} else {
		assert_int_equal(len, zones_len(&host.zones, zones_index(&host.zones, off)));
		ret = errno_of(zones_manage(&host.zones, op, off));
	}
	pthread_mutex_unlock(&host.lock);
	return ret;
}

static const struct block_ops host_ops = { .submit = host_submit, .free = host_free };
static const struct zoned_host_calls calls = { .report = host_report, .manage = host_manage };

static struct loop *loop;
static struct block *block;

static int setup(void **test)
{
	memset(&host, 0, sizeof(host));
	struct zone_geometry own = geometry;
	own.conventional = 1;
	pthread_mutex_init(&host.lock, NULL);
	host.block = (struct block){ .ops = &host_ops, .size = own.size, .logical_block = 512, .memory_align = 1 };
	if (zones_init(&host.zones, &own, NULL) < 0)
		return -1;
	loop = loop_new(&clock_host, NULL);
	block = zoned_host_new(&host.block, dup(0), &calls, &geometry, NULL);
	return !loop || !block;
}

static int teardown(void **test)
{
	block_free(block);
	loop_free(loop);
	return 0;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static uint8_t buf[4 * ZONE];

struct call {
	struct block_request request;
	struct iovec iov;
	bool done;
	int result;
};

static void call_done(struct block_request *request, int result)
{
	struct call *call = container_of(request, struct call, request);
	assert_false(call->done);
	call->done = true;
	call->result = result;
}

static struct zone_info infos[ZONES];
static unsigned reported, report_max;

static bool keep_info(struct block_request *request, const struct zone_info *info)
{
	infos[reported++] = *info;
	return reported < report_max;
}

static void begin(struct call *call, enum block_op op, uint64_t off, uint64_t len)
{
	*call = (struct call){ .iov = { buf, len } };
	call->request = (struct block_request){ .done = call_done,
		                                .loop = loop,
		                                .op = op,
		                                .off = off,
		                                .len = len,
		                                .iov = &call->iov,
		                                .iov_count = 1,
		                                .report = keep_info };
	block_submit(block, &call->request);
}

static void end(struct call *call)
{
	while (!call->done)
		loop_turn(loop, 1000);
}

static int run(enum block_op op, uint64_t off, uint64_t len)
{
	struct call call;
	begin(&call, op, off, len);
	end(&call);
	return call.result;
}

static uint64_t start(uint32_t zone)
{
	return zone * (uint64_t)ZONE;
}

static unsigned report(uint64_t off, unsigned max)
{
	reported = 0;
	report_max = max;
	assert_int_equal(run(BLOCK_ZONE_REPORT, off, 0), 0);
	return reported;
}

static struct zone_info info_of(uint32_t zone)
{
	assert_int_equal(report(start(zone), 1), 1);
	return infos[0];
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_report(void **test)
{
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), 0);
	assert_int_equal(report(0, ZONES), ZONES); /* more than one call gives */
	for (unsigned i = 0; i < ZONES; i++)
		assert_int_equal(infos[i].start, start(i));
	assert_int_equal(infos[0].state, ZONE_NOT_WP);
	assert_int_equal(infos[3].wp, start(3) + BLOCK);
	assert_int_equal(infos[ZONES - 1].len, 32768);
	assert_int_equal(report(start(5) + 512, 2), 2);
	assert_int_equal(infos[0].start, start(5));
	assert_int_equal(report(geometry.size, 2), 0);
	host.fail_report = true;
	assert_int_equal(run(BLOCK_ZONE_REPORT, 0, 0), -EIO);
}

static void test_writes(void **test)
{
	memset(buf, 'w', sizeof(buf));
	assert_int_equal(run(BLOCK_WRITE, start(3), 2 * BLOCK), 0);
	unsigned writes = host.writes;
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), ZONE_UNALIGNED);
	assert_int_equal(run(BLOCK_WRITE, start(3) + 2 * BLOCK, 512), ZONE_UNALIGNED);
	assert_int_equal(run(BLOCK_WRITE, start(4) - BLOCK, 2 * BLOCK), ZONE_INVALID);
	assert_int_equal(run(BLOCK_READ, start(4) - BLOCK, 2 * BLOCK), ZONE_INVALID);
	assert_int_equal(host.writes, writes);               /* the device was not troubled */
	assert_int_equal(run(BLOCK_WRITE, BLOCK, BLOCK), 0); /* conventional */
	assert_int_equal(run(BLOCK_WRITE, start(3) + 2 * BLOCK, ZONE - 2 * BLOCK), 0);
	assert_int_equal(info_of(3).state, ZONE_FULL);
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), ZONE_INVALID);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(run(BLOCK_READ, start(3), ZONE), 0);
	assert_int_equal(buf[ZONE - 1], 'w');
	assert_int_equal(run(BLOCK_DISCARD, 0, BLOCK), -EOPNOTSUPP);
	assert_int_equal(run(BLOCK_FLUSH, 0, 0), 0);
}

static void test_append(void **test)
{
	struct call call[4];
	for (unsigned i = 0; i < 4; i++)
		begin(&call[i], BLOCK_ZONE_APPEND, start(5), BLOCK);
	for (unsigned i = 0; i < 4; i++) {
		end(&call[i]);
		assert_int_equal(call[i].result, 0);
		assert_int_equal(call[i].request.off, start(5) + i * BLOCK);
	}
	assert_int_equal(run(BLOCK_ZONE_APPEND, start(5) + BLOCK, BLOCK), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_APPEND, 0, BLOCK), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_APPEND, start(5), 36 << 10), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_APPEND, start(5), 512), ZONE_UNALIGNED);
	assert_int_equal(run(BLOCK_ZONE_APPEND, geometry.size, BLOCK), ZONE_INVALID);
}

/* The kernel keeps no order among several writes: it gets one. */
static void test_one_write_in_flight(void **test)
{
	struct call call[3], other;
	host.hold = true;
	for (unsigned i = 0; i < 3; i++)
		begin(&call[i], i == 1 ? BLOCK_ZONE_APPEND : BLOCK_WRITE, start(5) + (i == 1 ? 0 : i * BLOCK), BLOCK);
	begin(&other, BLOCK_WRITE, start(6), BLOCK);
	assert_int_equal(host.held_count, 2);
	host.hold = false;
	host_serve(host.held[1]);
	host_serve(host.held[0]);
	for (unsigned i = 0; i < 3; i++) {
		end(&call[i]);
		assert_int_equal(call[i].result, 0);
		assert_int_equal(call[i].request.off, start(5) + i * BLOCK);
	}
	assert_int_equal(other.result, 0);
}

/* Somebody else, or an error, moved the write pointer: the device is asked before anybody is told. */
static void test_table_is_read_again(void **test)
{
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), 0);
	assert_int_equal(zones_begin_write(&host.zones, start(3) + BLOCK, BLOCK), 0);
	zones_end_write(&host.zones, start(3) + BLOCK, BLOCK, true);
	assert_int_equal(run(BLOCK_WRITE, start(3) + 2 * BLOCK, BLOCK), 0); /* not where the table says */
	zones_manage(&host.zones, ZONE_OP_RESET, start(3));
	assert_int_equal(run(BLOCK_WRITE, start(3) + 3 * BLOCK, BLOCK),
	                 ZONE_UNALIGNED); /* where it said, and was wrong */
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), 0);
	struct call append;
	zones_manage(&host.zones, ZONE_OP_RESET, start(3));
	begin(&append, BLOCK_ZONE_APPEND, start(3), BLOCK);
	end(&append);
	assert_int_equal(append.result, ZONE_UNALIGNED);
	begin(&append, BLOCK_ZONE_APPEND, start(3), BLOCK);
	end(&append);
	assert_int_equal(append.result, 0);
	assert_int_equal(append.request.off, start(3));
	host.fail_write = true;
	assert_int_equal(run(BLOCK_WRITE, start(3) + BLOCK, BLOCK), -EIO);
	host.fail_write = false;
	assert_int_equal(run(BLOCK_WRITE, start(3) + BLOCK, BLOCK), 0);
	zones_force(&host.zones, 3, ZONE_READ_ONLY);
	assert_int_equal(run(BLOCK_WRITE, start(3) + 2 * BLOCK, BLOCK), ZONE_INVALID);
	zones_force(&host.zones, 4, ZONE_OFFLINE);
	assert_int_equal(run(BLOCK_READ, start(4), BLOCK), -EIO); /* nothing is known of it yet */
	assert_int_equal(run(BLOCK_WRITE, start(4), BLOCK), ZONE_INVALID);
	assert_int_equal(run(BLOCK_READ, start(4), BLOCK), ZONE_INVALID);
}

static void test_operations(void **test)
{
	assert_int_equal(run(BLOCK_ZONE_CLOSE, start(4), 0), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_OPEN, start(4), 0), 0);
	assert_int_equal(info_of(4).state, ZONE_EXPLICIT_OPEN);
	assert_int_equal(run(BLOCK_WRITE, start(4), BLOCK), 0);
	assert_int_equal(run(BLOCK_ZONE_CLOSE, start(4), 0), 0);
	assert_int_equal(run(BLOCK_ZONE_FINISH, start(4), 0), 0);
	assert_int_equal(run(BLOCK_ZONE_OPEN, start(4), 0), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_RESET, start(4), 0), 0);
	assert_int_equal(run(BLOCK_WRITE, start(4), BLOCK), 0);          /* the table knows */
	assert_int_equal(run(BLOCK_ZONE_RESET, start(ZONES - 1), 0), 0); /* the small one */
	assert_int_equal(run(BLOCK_ZONE_RESET, start(4) + BLOCK, 0), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_RESET, 0, 0), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_RESET, geometry.size, 0), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_RESET, UINT64_MAX, 0), ZONE_INVALID);
	assert_int_equal(run(BLOCK_ZONE_RESET_ALL, 0, 0), 0);
	assert_int_equal(run(BLOCK_WRITE, start(4), BLOCK), 0);
}

static void test_limits(void **test)
{
	assert_int_equal(run(BLOCK_ZONE_OPEN, start(1), 0), 0);
	assert_int_equal(run(BLOCK_ZONE_OPEN, start(2), 0), 0);
	assert_int_equal(run(BLOCK_ZONE_OPEN, start(3), 0), ZONE_OPEN_RESOURCE);
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), ZONE_OPEN_RESOURCE);
	assert_int_equal(run(BLOCK_WRITE, start(1), BLOCK), 0);
	assert_int_equal(run(BLOCK_ZONE_CLOSE, start(1), 0), 0);
	assert_int_equal(run(BLOCK_WRITE, start(3), BLOCK), 0);
	assert_int_equal(run(BLOCK_WRITE, start(4), BLOCK), ZONE_ACTIVE_RESOURCE);
}

/* An operation waits for the writes before it, and the writes after it for it. */
static void test_order(void **test)
{
	struct call first, reset, second;
	host.hold = true;
	begin(&first, BLOCK_WRITE, start(5), BLOCK);
	begin(&reset, BLOCK_ZONE_RESET, start(5), 0);
	begin(&second, BLOCK_WRITE, start(5), BLOCK);
	assert_int_equal(host.held_count, 1);
	host.hold = false;
	host_serve(host.held[0]);
	end(&second);
	assert_true(first.done && reset.done);
	assert_int_equal(first.result, 0);
	assert_int_equal(reset.result, 0);
	assert_int_equal(second.result, 0);
	assert_int_equal(info_of(5).wp, start(5) + BLOCK);
}

/* A device whose zones are not those that it announced is not taken. */
static void test_strange_device(void **test)
{
	struct zone_geometry other = geometry;
	struct cvmm_error err;
	block_free(block);
	assert_int_equal(zones_init(&host.zones, &geometry, NULL), 0);
	other.zone_size = other.zone_capacity = 2 * ZONE;
	assert_null(zoned_host_new(&host.block, dup(0), &calls, &other, &err));
	assert_int_equal(err.code, -EIO);
	loop_free(loop);
	assert_int_equal(setup(test), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_report, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_append, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_write_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_table_is_read_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_operations, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strange_device, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
