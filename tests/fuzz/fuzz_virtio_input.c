// SPDX-License-Identifier: Apache-2.0
/*
 * The virtio power key: registers, configuration space and rings from the fuzzer's bytes, which are read as a list of
 * steps. Some steps do what a proper driver does, so that the others meet a device that is live.
 */
#include "tests/fuzz/virtio.h"

static void step_kick(struct input *in)
{
	reg_write(VIRTIO_MMIO_QUEUE_NOTIFY, next8(in) % 3);
}

/* Ring @queue: descriptors, avail at +0x400, used at +0x800, all in a page. */
static uint64_t ring_gpa(unsigned queue)
{
	return RING * (1 + queue);
}

/* Put a chain of up to two buffers at the avail ring's next place. */
static void step_offer(struct input *in)
{
	uint64_t gpa = ring_gpa(next8(in) % 2);
	uint8_t *desc = guest_at(&mem, gpa, RING), *avail = desc + 0x400;
	uint16_t head = next8(in) % 64, idx = load_le16(avail + 2);
	next(in, desc + head * 16u, MIN(32u, (64u - head) * 16));
	store_le16(avail + 4 + idx % 64 * 2, head);
	store_le16(avail + 2, idx + 1);
}

static void step_go_live(struct input *in)
{
	uint32_t features = next8(in) & 3; /* INDIRECT_DESC, EVENT_IDX */
	reg_write(VIRTIO_MMIO_STATUS, 0);
	reg_write(VIRTIO_MMIO_STATUS, 3);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, 1);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	reg_write(VIRTIO_MMIO_DRIVER_FEATURES, features << 28);
	reg_write(VIRTIO_MMIO_STATUS, 11);
	for (unsigned queue = 0; queue < 2; queue++) {
		reg_write(VIRTIO_MMIO_QUEUE_SEL, queue);
		reg_write(VIRTIO_MMIO_QUEUE_NUM, 1u << (next8(in) & 7));
		reg_write(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)ring_gpa(queue));
		reg_write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)ring_gpa(queue) + 0x400);
		reg_write(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)ring_gpa(queue) + 0x800);
		reg_write(VIRTIO_MMIO_QUEUE_READY, 1);
	}
	reg_write(VIRTIO_MMIO_STATUS, 15);
	FUZZ_CHECK(reg_read(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
}

static void step_press(struct input *in)
{
	virtio_power_key_press(dev);
}

static void (*const steps[])(struct input *) = {
	step_access,  step_register, step_kick,  step_memory,        step_offer,
	step_go_live, step_press,    step_reset, step_save_and_load, step_load,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	fuzz_memory();
	fuzz_device(virtio_power_key_new((struct irq_line){ .set = irq_record }, &mem));
	fuzz_steps(steps, ARRAY_SIZE(steps), data, len);
	device_free(dev);
	return 0;
}
