// SPDX-License-Identifier: Apache-2.0
#include "devices/fifo.h"

#include "src/base/util.h"

bool fifo_send(struct fifo *held, unsigned limit, struct chardev *chr, uint8_t byte)
{
	if (!held->count && chardev_write(chr, &byte, 1))
		return true;
	return fifo_push(held, limit, byte);
}

void fifo_drain(struct fifo *held, struct chardev *chr)
{
	while (held->count) { /* twice at most, where the queue wraps, unless the chardev takes it piecemeal */
		size_t run = MIN(held->count, FIFO_SIZE - held->head);
		size_t taken = chardev_write(chr, &held->bytes[held->head], run);
		if (!taken)
			return;
		held->head = (uint8_t)((held->head + taken) % FIFO_SIZE);
		held->count = (uint8_t)(held->count - taken);
	}
}
