/* SPDX-License-Identifier: Apache-2.0 */
/* A small byte queue inside a device's saved state, and how a UART empties one into its chardev. */
#ifndef CVMM_DEVICES_FIFO_H
#define CVMM_DEVICES_FIFO_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/chardev.h"

enum { FIFO_SIZE = 32 }; /* a power of two; a model may use less of it */

struct fifo {
	uint8_t bytes[FIFO_SIZE];
	uint8_t head, count; /* the oldest byte; how many there are */
};

static inline void fifo_clear(struct fifo *fifo)
{
	fifo->head = fifo->count = 0;
}

/* Loaded state is to be trusted only after this: the indices are inside, at most @limit bytes are queued. */
static inline bool fifo_valid(const struct fifo *fifo, unsigned limit)
{
	return fifo->head < FIFO_SIZE && fifo->count <= limit && limit <= FIFO_SIZE;
}

/* False: @limit bytes (at most FIFO_SIZE) are queued already, this one is lost. */
static inline bool fifo_push(struct fifo *fifo, unsigned limit, uint8_t byte)
{
	if (fifo->count >= limit)
		return false;
	fifo->bytes[(fifo->head + fifo->count++) % FIFO_SIZE] = byte;
	return true;
}

/* The oldest byte; 0 if there is none. */
static inline uint8_t fifo_pop(struct fifo *fifo)
{
	if (!fifo->count)
		return 0;
	uint8_t byte = fifo->bytes[fifo->head];
	fifo->head = (fifo->head + 1) % FIFO_SIZE;
	fifo->count--;
	return byte;
}

/*
 * A UART sends @byte: straight to @chr, or behind what @held keeps already while @chr is full. False: @limit bytes are
 * held, this one is lost.
 */
bool fifo_send(struct fifo *held, unsigned limit, struct chardev *chr, uint8_t byte);

/* Send what is held, as much as @chr takes. */
void fifo_drain(struct fifo *held, struct chardev *chr);

#endif
