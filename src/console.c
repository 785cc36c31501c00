// SPDX-License-Identifier: Apache-2.0
/*
 * Locks: the device's, then console->lock (the rings). The endpoint's descriptors belong to the I/O thread alone.
 *
 * An endpoint may be unable to take part in epoll (a regular file, /dev/null): it is always ready, then, and pumped by a
 * posted call instead of an event.
 */
#include "src/console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "src/base/log.h"
#include "src/base/util.h"
#include "src/console_endpoint.h"

enum {
	OUT_RING = 64 << 10,      /* power of two */
	IN_RING = 4 << 10,        /* likewise */
	FLUSH_DELAY_NS = 1000000, /* bytes that come one by one are written together */
	POLL_NS = 200 * 1000000,  /* how often is asked what no event tells */
	INPUT_CHUNK = 256,
};

/* head and tail run freely; the difference is what waits */
struct ring {
	uint8_t *bytes;
	uint32_t size, head, tail;
};

struct console {
	struct chardev chr;
	struct endpoint end;
	struct loop *loop; /* not owned */
	struct console_owner owner;
	struct console_escape escape;

	pthread_mutex_t lock; /* the rings and the flags below */
	struct ring out, in;
	bool device_waits; /* its write() was cut short */
	bool in_open;      /* input may still come */

	/* the I/O thread's own */
	struct loop_fd in_fd, out_fd, listen_fd;
	uint32_t out_events; /* what out_fd is watched for; 0: parked */
	bool in_always;      /* cannot be watched, so is always ready */
	struct loop_timer flush_timer;
	struct loop_timer attach_timer; /* has somebody opened the pty? may clients be accepted again? */
	struct loop_timer input_timer;  /* is our job in the foreground again? */
	struct loop_call flush_call, input_call;
	bool escaped; /* the byte before was the escape character */
	bool failed;
	bool started;
};

/* ---- rings ------------------------------------------------------------------------------------------------------ */

static uint32_t ring_used(const struct ring *ring)
{
	return ring->head - ring->tail;
}

static uint32_t ring_room(const struct ring *ring)
{
	return ring->size - ring_used(ring);
}

static void ring_put(struct ring *ring, const uint8_t *buf, uint32_t len)
{
	uint32_t at = ring->head & (ring->size - 1);
	uint32_t first = MIN(len, ring->size - at);
	memcpy(ring->bytes + at, buf, first);
	memcpy(ring->bytes, buf + first, len - first);
	ring->head += len;
}

/* The longest run of waiting bytes that lies together. */
static uint32_t ring_run(const struct ring *ring, const uint8_t **run)
{
	uint32_t at = ring->tail & (ring->size - 1);
	*run = ring->bytes + at;
	return MIN(ring_used(ring), ring->size - at);
}

/* ---- output ----------------------------------------------------------------------------------------------------- */

static bool console_attached(const struct console *console)
{
	return console->end.out.fd >= 0;
}

/* A vCPU's thread, the device's lock held. */
static size_t console_write(struct chardev *chr, const uint8_t *buf, size_t len)
{
	struct console *console = container_of(chr, struct console, chr);
	pthread_mutex_lock(&console->lock);
	uint32_t before = ring_used(&console->out);
	if (console->end.keeps_newest && len <= OUT_RING && ring_room(&console->out) < len)
		console->out.tail = console->out.head - (OUT_RING - (uint32_t)len);
	uint32_t take = (uint32_t)MIN(len, ring_room(&console->out));
	ring_put(&console->out, buf, take);
	if (take < len)
		console->device_waits = true;
	bool urgent = before < OUT_RING / 2 && before + take >= OUT_RING / 2;
	pthread_mutex_unlock(&console->lock);
	if (urgent)
		loop_post(console->loop, &console->flush_call);
	else if (!before)
		loop_timer_set(&console->flush_timer, FLUSH_DELAY_NS);
	return take;
}

/* Let a device go on that found the ring full. No lock held. */
static void console_tell_device(struct console *console)
{
	const struct chardev_client *client = &console->chr.client;
	pthread_mutex_lock(&console->lock);
	bool tell = console->device_waits && ring_room(&console->out);
	if (tell)
		console->device_waits = false;
	pthread_mutex_unlock(&console->lock);
	if (!tell || !client->lock)
		return;
	pthread_mutex_lock(client->lock);
	client->writable(client->opaque);
	pthread_mutex_unlock(client->lock);
}

static void console_set_keeps_newest(struct console *console, bool keeps)
{
	pthread_mutex_lock(&console->lock);
	console->end.keeps_newest = keeps;
	pthread_mutex_unlock(&console->lock);
}

static void console_watch_out(struct console *console, uint32_t events)
{
	if (console->out_fd.loop && console->out_events != events && loop_fd_change(&console->out_fd, events) == 0)
		console->out_events = events;
}

static void console_detach(struct console *console);

static void console_fail(struct console *console, const struct cvmm_error *error)
{
	if (console->failed)
		return;
	console->failed = true;
	loop_fd_remove(&console->out_fd); /* which is ready for ever now */
	if (console->owner.failed)
		console->owner.failed(console->owner.opaque, error);
}

/* What could not be written was refused for good. */
static void console_write_failed(struct console *console, int code)
{
	struct cvmm_error error;
	bool hung_up = endpoint_hung_up(&console->end, code);
	if (hung_up) /* its user left, perhaps without meaning to end the guest: SIGHUP tells who has to know */
		log_warn("console %s: the terminal is gone, output is dropped", console->end.name);
	if (hung_up || console->end.reattaches) {
		console_detach(console);
		return;
	}
	err_set(&error, code, "console %s: write: %s", console->end.name, strerror(-code));
	console_fail(console, &error);
}

/* Write some of what waits. Returns bytes written; 0: nothing waits; negative errno. */
static ssize_t console_flush_some(struct console *console)
{
	const uint8_t *run;
	pthread_mutex_lock(&console->lock);
	uint32_t len = ring_run(&console->out, &run);
	uint32_t tail = console->out.tail;
	pthread_mutex_unlock(&console->lock);
	if (!len)
		return 0;
	/* the run stays in place: others only add, or, where the newest is kept, nobody is attached */
	ssize_t wrote = endpoint_write(&console->end, run, len);
	if (wrote <= 0)
		return wrote;
	pthread_mutex_lock(&console->lock);
	if (console->out.tail == tail)
		console->out.tail += (uint32_t)wrote;
	pthread_mutex_unlock(&console->lock);
	return wrote;
}

static void console_flush(struct console *console)
{
	if (!console_attached(console) || console->failed)
		return;
	ssize_t wrote;
	do
		wrote = console_flush_some(console);
	while (wrote > 0);
	if (wrote < 0 && wrote != -EAGAIN) {
		console_write_failed(console, (int)wrote);
		return;
	}
	console_watch_out(console, wrote == -EAGAIN ? EPOLLOUT : 0);
	if (wrote == -EAGAIN && !console->out_fd.loop)
		loop_timer_set(&console->flush_timer, 10 * FLUSH_DELAY_NS);
	console_tell_device(console);
}

static void console_flush_timer(struct loop_timer *timer)
{
	console_flush(container_of(timer, struct console, flush_timer));
}

static void console_flush_call(struct loop_call *call)
{
	console_flush(container_of(call, struct console, flush_call));
}

static void console_out_event(struct loop_fd *source, uint32_t events)
{
	struct console *console = container_of(source, struct console, out_fd);
	if (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLOUT))
		loop_fd_remove(source); /* the next write says what is wrong */
	console_flush(console);
}

/* ---- input ------------------------------------------------------------------------------------------------------ */

/* Give the device what it has room for. */
static void console_feed(struct console *console)
{
	const struct chardev_client *client = &console->chr.client;
	if (!client->lock)
		return;
	pthread_mutex_lock(client->lock);
	for (;;) {
		const uint8_t *run;
		size_t room = client->input_room(client->opaque);
		pthread_mutex_lock(&console->lock);
		uint32_t len = (uint32_t)MIN(ring_run(&console->in, &run), room);
		pthread_mutex_unlock(&console->lock);
		if (!len)
			break;
		client->input(client->opaque, run, len); /* only this thread takes from the ring */
		pthread_mutex_lock(&console->lock);
		console->in.tail += len;
		pthread_mutex_unlock(&console->lock);
	}
	pthread_mutex_unlock(client->lock);
}

/* Take escapes out of what was typed; the rest waits for the device. What does not fit is lost, as on a real line. */
static void console_take_input(struct console *console, const uint8_t *buf, size_t len)
{
	const struct console_escape *escape = &console->escape;
	for (size_t i = 0; i < len; i++) {
		uint8_t byte = buf[i];
		if (console->escaped && byte != escape->key) {
			console->escaped = false;
			escape->fn(escape->opaque, (char)byte);
			continue;
		}
		if (escape->key && byte == escape->key && !console->escaped) {
			console->escaped = true;
			continue;
		}
		console->escaped = false;
		pthread_mutex_lock(&console->lock);
		if (ring_room(&console->in))
			ring_put(&console->in, &byte, 1);
		pthread_mutex_unlock(&console->lock);
	}
}

/* How much to read: where escapes are watched for, reading never stops (but a file without end has nobody behind it). */
static size_t console_input_wanted(struct console *console)
{
	if (console->escape.key && !console->in_always)
		return INPUT_CHUNK;
	pthread_mutex_lock(&console->lock);
	size_t room = ring_room(&console->in);
	pthread_mutex_unlock(&console->lock);
	return MIN(room, (size_t)INPUT_CHUNK);
}

static void console_set_input_open(struct console *console, bool open)
{
	pthread_mutex_lock(&console->lock);
	console->in_open = open;
	pthread_mutex_unlock(&console->lock);
}

/* A hang-up is reported even to those who asked for nothing: while its input has to wait, do not watch at all. */
static int console_watch_in(struct console *console, bool wanted)
{
	if (console->in_always || console->end.in.fd < 0 || wanted == !!console->in_fd.loop)
		return 0;
	if (wanted)
		return loop_fd_add(console->loop, &console->in_fd, EPOLLIN);
	loop_fd_remove(&console->in_fd);
	return 0;
}

static void console_input_ended(struct console *console)
{
	console_watch_in(console, false);
	console_set_input_open(console, false);
	console->in_always = false;
	if (console->end.reattaches)
		console_detach(console);
}

/* Read once. Returns whether more may be read at once. */
static bool console_read(struct console *console)
{
	uint8_t buf[INPUT_CHUNK];
	size_t want = console_input_wanted(console);
	if (!want) { /* the device is slow: do not watch until it takes some */
		console_watch_in(console, false);
		return false;
	}
	ssize_t got = endpoint_read(&console->end, buf, want);
	if (got == -EAGAIN)
		return false;
	if (got == -EIO && endpoint_in_background(&console->end)) { /* what is typed is not for us: ask again later */
		console_watch_in(console, false);
		loop_timer_set(&console->input_timer, POLL_NS);
		return false;
	}
	if (got <= 0) {
		console_input_ended(console);
		return false;
	}
	console_take_input(console, buf, (size_t)got);
	console_feed(console);
	return true;
}

/* An endpoint that cannot be watched is read until the rings are full. */
static void console_pump_always(struct console *console)
{
	while (console->in_always && console_read(console))
		;
}

static void console_input_call(struct loop_call *call)
{
	struct console *console = container_of(call, struct console, input_call);
	console_feed(console);
	if (console->in_open && console_input_wanted(console))
		console_watch_in(console, true);
	console_pump_always(console);
}

/* A vCPU's thread, the device's lock held. */
static void console_accept_input(struct chardev *chr)
{
	struct console *console = container_of(chr, struct console, chr);
	pthread_mutex_lock(&console->lock);
	bool waits = ring_used(&console->in) || console->in_open;
	pthread_mutex_unlock(&console->lock);
	if (waits)
		loop_post(console->loop, &console->input_call);
}

static void console_input_timer(struct loop_timer *timer)
{
	struct console *console = container_of(timer, struct console, input_timer);
	if (console->in_open)
		console_watch_in(console, true);
}

static void console_in_event(struct loop_fd *source, uint32_t events)
{
	struct console *console = container_of(source, struct console, in_fd);
	if (events & EPOLLIN)
		console_read(console);
	else if (events & (EPOLLHUP | EPOLLERR))
		console_input_ended(console);
}

/* ---- attaching: a socket's client, a pty's user ------------------------------------------------------------------ */

static int console_watch(struct console *console)
{
	console->in_fd = (struct loop_fd){ .fd = console->end.in.fd, .fn = console_in_event };
	console->out_fd = (struct loop_fd){ .fd = console->end.out.fd, .fn = console_out_event };
	console->out_events = 0;
	console_set_input_open(console, console->end.in.fd >= 0);
	int ret = console_watch_in(console, true);
	if (ret == -EPERM) {
		console->in_always = true;
		ret = 0;
		loop_post(console->loop, &console->input_call);
	}
	if (ret == 0 && console->end.out.fd >= 0)
		ret = loop_fd_add(console->loop, &console->out_fd, 0);
	return ret == -EPERM ? 0 : ret; /* a file: always ready */
}

static void console_attach(struct console *console)
{
	console_set_keeps_newest(console, false);
	if (console_watch(console) < 0)
		log_warn("console %s: cannot be watched", console->end.name);
	console_flush(console);
}

static void console_detach(struct console *console)
{
	console_watch_in(console, false);
	console_set_input_open(console, false);
	loop_fd_remove(&console->out_fd);
	endpoint_detach(&console->end);
	console_set_keeps_newest(console, true);
	console_tell_device(console);
	if (endpoint_needs_polling(&console->end))
		loop_timer_set(&console->attach_timer, POLL_NS);
}

static int console_listen(struct console *console)
{
	return loop_fd_add(console->loop, &console->listen_fd, EPOLLIN);
}

/* Whether somebody was attached, or a negative errno. */
static int console_try_attach(struct console *console)
{
	int ret = endpoint_try_attach(&console->end);
	if (ret > 0)
		console_attach(console);
	return ret;
}

static void console_listen_event(struct loop_fd *source, uint32_t events)
{
	struct console *console = container_of(source, struct console, listen_fd);
	if (console_try_attach(console) >= 0)
		return;
	/* for want of descriptors, say, and the client waits on: not again at once */
	loop_fd_remove(source);
	loop_timer_set(&console->attach_timer, POLL_NS);
}

static void console_attach_timer(struct loop_timer *timer)
{
	struct console *console = container_of(timer, struct console, attach_timer);
	bool done =
		endpoint_needs_polling(&console->end) ? console_try_attach(console) > 0 : console_listen(console) == 0;
	if (!done)
		loop_timer_set(timer, POLL_NS);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static const struct chardev_ops console_ops = { .write = console_write, .accept_input = console_accept_input };

int console_open(struct console **slot, const struct config *config, const struct console_escape *escape,
                 struct loop *loop, struct console_owner owner, struct cvmm_error *err)
{
	*slot = NULL;
	struct endpoint end;
	int ret = endpoint_open(&end, config, err);
	if (ret < 0 || end.kind == ENDPOINT_NONE)
		return ret;
	struct console *console = calloc(1, sizeof(*console) + OUT_RING + IN_RING);
	if (!console) {
		endpoint_close(&end);
		return err_set(err, -ENOMEM, "console: out of memory");
	}
	uint8_t *bytes = (uint8_t *)(console + 1);
	console->chr.ops = &console_ops;
	console->end = end;
	console->loop = loop;
	console->owner = owner;
	console->escape = *escape;
	console->out = (struct ring){ .bytes = bytes, .size = OUT_RING };
	console->in = (struct ring){ .bytes = bytes + OUT_RING, .size = IN_RING };
	console->flush_call.fn = console_flush_call;
	console->input_call.fn = console_input_call;
	pthread_mutex_init(&console->lock, NULL);
	loop_timer_init(&console->flush_timer, loop, NULL, console_flush_timer);
	loop_timer_init(&console->attach_timer, loop, NULL, console_attach_timer);
	loop_timer_init(&console->input_timer, loop, NULL, console_input_timer);
	*slot = console;
	return 0;
}

int console_start(struct console *console, struct cvmm_error *err)
{
	if (!console || console->started)
		return 0;
	int ret = endpoint_start(&console->end, err);
	if (ret < 0)
		return ret;
	console->started = true;
	if (console->end.listen_fd >= 0) {
		console->listen_fd = (struct loop_fd){ .fd = console->end.listen_fd, .fn = console_listen_event };
		ret = console_listen(console);
	} else if (endpoint_needs_polling(&console->end)) {
		loop_timer_set(&console->attach_timer, 0);
	} else {
		ret = console_watch(console);
	}
	return ret < 0 ? err_set(err, ret, "console %s: %s", console->end.name, strerror(-ret)) : 0;
}

struct chardev *console_chardev(struct console *console)
{
	return console ? &console->chr : NULL;
}

const char *console_path(const struct console *console)
{
	return console && console->end.kind != ENDPOINT_FILE ? console->end.path : NULL;
}

void console_unplug(struct console *console)
{
	if (!console)
		return;
	console->chr.client = (struct chardev_client){ 0 };
	pthread_mutex_lock(&console->lock);
	console->device_waits = false;
	pthread_mutex_unlock(&console->lock);
}

/* Time is up: what still waits will not be written. */
static void console_lose(struct console *console, uint32_t waiting)
{
	struct cvmm_error error;
	err_set(&error, -ETIMEDOUT, "console %s: nobody takes the last %u bytes of output", console->end.name, waiting);
	if (console->end.reattaches) /* was anybody promised any? */
		log_info("%s", error.msg);
	else
		console_fail(console, &error);
}

void console_drain(struct console *console, int timeout_ms)
{
	if (!console)
		return;
	uint64_t end = clock_monotonic_ns(&clock_host) + (uint64_t)timeout_ms * NSEC_PER_MSEC;
	for (;;) {
		console_flush(console);
		if (!console_attached(console) || console->failed)
			return;
		pthread_mutex_lock(&console->lock);
		uint32_t waiting = ring_used(&console->out);
		pthread_mutex_unlock(&console->lock);
		if (!waiting)
			return;
		uint64_t now = clock_monotonic_ns(&clock_host);
		if (now >= end) {
			console_lose(console, waiting);
			return;
		}
		struct pollfd wait = { .fd = console->end.out.fd, .events = POLLOUT };
		poll(&wait, 1, (int)((end - now) / NSEC_PER_MSEC) + 1);
	}
}

void console_free(struct console *console)
{
	if (!console)
		return;
	loop_timer_cancel(&console->flush_timer);
	loop_timer_cancel(&console->attach_timer);
	loop_timer_cancel(&console->input_timer);
	endpoint_close(&console->end);
	pthread_mutex_destroy(&console->lock);
	free(console);
}
