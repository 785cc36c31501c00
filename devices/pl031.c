// SPDX-License-Identifier: Apache-2.0
/*
 * Arm PrimeCell real time clock PL031 (Arm DDI 0224C, chapter 3). Counts host wall-clock seconds, started or not, as if
 * it had never lost power; a guest that sets the time moves only its own offset. The host's clock may be set, too: an
 * alarm that would then ring early is wound again, one that it jumped over rings late.
 */
#include "devices/rtc.h"

#include <errno.h>

#include "src/base/util.h"

enum {
	RTCDR = 0x00,
	RTCMR = 0x04,
	RTCLR = 0x08,
	RTCCR = 0x0c,
	RTCIMSC = 0x10,
	RTCRIS = 0x14,
	RTCMIS = 0x18,
	RTCICR = 0x1c,
	RTCPeriphID0 = 0xfe0,
};

/* RTCPeriphID0-3: part 031, Arm; RTCPCellID0-3. */
static const uint8_t pl031_ids[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

struct pl031_state {
	uint64_t alarm_at; /* host seconds at which RTCDR next equals RTCMR; only while armed */
	uint32_t offset;   /* RTCDR = host seconds + offset, modulo 2^32 */
	uint32_t match, load;
	uint8_t pending, enabled, started; /* bit 0 of RTCRIS, RTCIMSC, RTCCR */
	uint8_t armed;                     /* the match is yet to come */
};

struct pl031 {
	struct device dev;
	struct irq_level irq;
	const struct clock *clock; /* not owned */
	struct loop_timer alarm;
	struct pl031_state state;
};

static uint32_t pl031_now(const struct pl031 *rtc)
{
	return (uint32_t)clock_wall_seconds(rtc->clock) + rtc->state.offset;
}

static void pl031_settle(struct pl031 *rtc)
{
	irq_level_set(&rtc->irq, rtc->state.pending && rtc->state.enabled);
}

/* Until the second begins in which the alarm is due; 0: it has. */
static uint64_t pl031_wait_ns(const struct pl031 *rtc)
{
	uint64_t now_ns = rtc->clock->wall_ns(rtc->clock);
	uint64_t due_ns;
	if (__builtin_mul_overflow(rtc->state.alarm_at, NSEC_PER_SEC, &due_ns))
		due_ns = UINT64_MAX;
	return due_ns > now_ns ? due_ns - now_ns : 0;
}

/* RTCMR or RTCLR moved: ring when the counter next equals RTCMR; if it does now, on the loop's next turn. */
static void pl031_arm(struct pl031 *rtc, uint64_t host_seconds)
{
	uint32_t now = (uint32_t)host_seconds + rtc->state.offset;
	rtc->state.alarm_at = host_seconds + (uint32_t)(rtc->state.match - now); /* wraps as the counter does */
	rtc->state.armed = true;
	loop_timer_set(&rtc->alarm, pl031_wait_ns(rtc));
}

/* The counter comes round again in 136 years: once it rang, the alarm rests until it is set. */
static void pl031_ring(struct loop_timer *timer)
{
	struct pl031 *rtc = container_of(timer, struct pl031, alarm);
	uint64_t wait_ns = pl031_wait_ns(rtc);
	if (wait_ns) {
		loop_timer_set(&rtc->alarm, wait_ns);
		return;
	}
	rtc->state.armed = false;
	rtc->state.pending = true;
	pl031_settle(rtc);
}

static uint64_t pl031_read(struct device *dev, uint64_t off, unsigned size)
{
	const struct pl031 *rtc = container_of(dev, struct pl031, dev);
	const struct pl031_state *s = &rtc->state;
	switch (off) {
	case RTCDR:
		return pl031_now(rtc);
	case RTCMR:
		return s->match;
	case RTCLR:
		return s->load;
	case RTCCR:
		return s->started;
	case RTCIMSC:
		return s->enabled;
	case RTCRIS:
		return s->pending;
	case RTCMIS:
		return s->pending && s->enabled;
	}
	if (off >= RTCPeriphID0 && off % 4 == 0)
		return pl031_ids[(off - RTCPeriphID0) / 4];
	return 0; /* write-only or reserved */
}

static void pl031_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pl031 *rtc = container_of(dev, struct pl031, dev);
	struct pl031_state *s = &rtc->state;
	uint64_t host_seconds = clock_wall_seconds(rtc->clock); /* one look: it may tick meanwhile */
	switch (off) {
	case RTCMR:
		s->match = (uint32_t)val;
		pl031_arm(rtc, host_seconds);
		break;
	case RTCLR:
		s->load = (uint32_t)val;
		s->offset = s->load - (uint32_t)host_seconds;
		pl031_arm(rtc, host_seconds);
		break;
	case RTCCR:
		s->started |= val & 1; /* 3.3.4: only a reset stops it */
		break;
	case RTCIMSC:
		s->enabled = val & 1;
		break;
	case RTCICR:
		if (val & 1)
			s->pending = false;
		break;
	} /* the rest is read-only or reserved */
	pl031_settle(rtc);
}

static void pl031_reset(struct device *dev)
{
	struct pl031 *rtc = container_of(dev, struct pl031, dev);
	loop_timer_cancel(&rtc->alarm);
	rtc->state = (struct pl031_state){ 0 };
	pl031_settle(rtc);
}

static void pl031_save(const struct device *dev, void *state)
{
	const struct pl031 *rtc = container_of(dev, struct pl031, dev);
	memcpy(state, &rtc->state, sizeof(rtc->state));
}

static int pl031_load(struct device *dev, const void *state)
{
	struct pl031 *rtc = container_of(dev, struct pl031, dev);
	struct pl031_state loaded;
	memcpy(&loaded, state, sizeof(loaded));
	if (loaded.pending > 1 || loaded.enabled > 1 || loaded.started > 1 || loaded.armed > 1)
		return -EINVAL;
	rtc->state = loaded;
	loop_timer_cancel(&rtc->alarm);
	if (loaded.armed) /* an alarm that was due while the guest lay saved rings now */
		loop_timer_set(&rtc->alarm, pl031_wait_ns(rtc));
	irq_level_sync(&rtc->irq, loaded.pending && loaded.enabled);
	return 0;
}

static void pl031_free(struct device *dev)
{
	struct pl031 *rtc = container_of(dev, struct pl031, dev);
	loop_timer_cancel(&rtc->alarm);
	device_fini(dev);
	free(rtc);
}

static const struct device_ops pl031_ops = {
	.name = "pl031",
	.widths = 4,
	.read = pl031_read,
	.write = pl031_write,
	.reset = pl031_reset,
	.free = pl031_free,
	.state_size = sizeof(struct pl031_state),
	.save = pl031_save,
	.load = pl031_load,
};

struct device *pl031_new(struct irq_line irq, const struct clock *clock, struct loop *loop)
{
	struct pl031 *rtc = calloc(1, sizeof(*rtc));
	if (!rtc)
		return NULL;
	device_init(&rtc->dev, &pl031_ops);
	rtc->irq.line = irq;
	rtc->clock = clock;
	loop_timer_init(&rtc->alarm, loop, &rtc->dev.lock, pl031_ring);
	return &rtc->dev;
}
