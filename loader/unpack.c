// SPDX-License-Identifier: Apache-2.0
/*
 * gzip, zstd, lz4 (the frame format and the legacy one, which Linux packs with), xz and lzma: each library behind the
 * same three functions, and one loop that drives them. What a packed file says of its unpacked size is not asked: the
 * output doubles as it fills (for large buffers realloc() moves pages, not bytes), up to the caller's limit.
 */
#include "loader/formats.h"

#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "src/base/util.h"

enum {
	OUT_MIN = 64 * 1024,
	DICTIONARY_MAX = 256 << 20, /* of xz and lzma; kernel makefiles ask for 128 MiB. zstd's own limit is 128 MiB */
	LZ4_LEGACY_BLOCK = 8 << 20, /* what each block of a legacy stream unpacks to, but for the last */
	GZIP_WINDOW_BITS = 16 + 15, /* zlib: a gzip header, the largest window */
	STREAMS_MAX = 16384,        /* one after the other; parallel packers make one of each 64 KiB or more */
};

/* What a step returns besides -ENOMEM; unpack() puts them in words. */
enum {
	MORE = 0,
	DONE = 1, /* the end of the stream */
	CORRUPT = -EBADMSG,
	TRUNCATED = -ENODATA,
	TOO_GREEDY = -ENOSPC,
	TOO_LARGE = -EFBIG,
	TOO_MANY = -E2BIG,
};

struct unpacker {
	const uint8_t *in;
	size_t in_left;
	uint8_t *out; /* owned */
	size_t out_len, out_cap, out_max;
	union {
		z_stream zlib;
		ZSTD_DStream *zstd;
		LZ4F_dctx *lz4;
		lzma_stream lzma;
	};
};

struct packing {
	const char *name;
	uint8_t magic[6];
	uint8_t magic_len;
	bool concatenates; /* streams may follow each other */
	size_t room;       /* that a step wants in the output */
	int (*begin)(struct unpacker *u);
	int (*step)(struct unpacker *u);
	void (*end)(struct unpacker *u);
};

static size_t out_room(const struct unpacker *u)
{
	return u->out_cap - u->out_len;
}

static void took(struct unpacker *u, size_t in, size_t out)
{
	u->in += in;
	u->in_left -= in;
	u->out_len += out;
}

static int gzip_begin(struct unpacker *u)
{
	u->zlib = (z_stream){ 0 };
	return inflateInit2(&u->zlib, GZIP_WINDOW_BITS) == Z_OK ? 0 : -ENOMEM;
}

static int gzip_step(struct unpacker *u)
{
	z_stream *zlib = &u->zlib;
	uInt in = MIN(u->in_left, UINT_MAX), out = MIN(out_room(u), UINT_MAX);
	zlib->next_in = (Bytef *)u->in; /* zlib only reads it */
	zlib->avail_in = in;
	zlib->next_out = u->out + u->out_len;
	zlib->avail_out = out;
	int ret = inflate(zlib, Z_NO_FLUSH);
	took(u, in - zlib->avail_in, out - zlib->avail_out);
	switch (ret) {
	case Z_OK:
	case Z_BUF_ERROR: /* nothing could be done: the loop sees that too */
		return MORE;
	case Z_STREAM_END:
		return DONE;
	case Z_MEM_ERROR:
		return -ENOMEM;
	default:
		return CORRUPT;
	}
}

static void gzip_end(struct unpacker *u)
{
	inflateEnd(&u->zlib);
}

static int zstd_begin(struct unpacker *u)
{
	u->zstd = ZSTD_createDStream();
	return u->zstd ? 0 : -ENOMEM;
}

static int zstd_step(struct unpacker *u)
{
	ZSTD_inBuffer in = { u->in, u->in_left, 0 };
	ZSTD_outBuffer out = { u->out + u->out_len, out_room(u), 0 };
	size_t ret = ZSTD_decompressStream(u->zstd, &out, &in);
	took(u, in.pos, out.pos);
	switch (ZSTD_getErrorCode(ret)) {
	case ZSTD_error_no_error:
		return ret == 0 ? DONE : MORE;
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		return TOO_GREEDY;
	default:
		return CORRUPT;
	}
}

static void zstd_end(struct unpacker *u)
{
	ZSTD_freeDStream(u->zstd);
}

static int lz4_begin(struct unpacker *u)
{
	return LZ4F_isError(LZ4F_createDecompressionContext(&u->lz4, LZ4F_VERSION)) ? -ENOMEM : 0;
}

static int lz4_step(struct unpacker *u)
{
	size_t in = u->in_left, out = out_room(u);
	size_t ret = LZ4F_decompress(u->lz4, u->out + u->out_len, &out, u->in, &in, NULL);
	if (LZ4F_isError(ret))
		return CORRUPT;
	took(u, in, out);
	return ret == 0 ? DONE : MORE;
}

static void lz4_end(struct unpacker *u)
{
	LZ4F_freeDecompressionContext(u->lz4);
}

static int lz4_legacy_begin(struct unpacker *u)
{
	took(u, 4, 0); /* the magic number: blocks are all the rest */
	return u->in_left > 4 ? 0 : TRUNCATED;
}

/*
 * A block: its packed length in four bytes, then as many. The format has no end mark. A block that is not full is the
 * last, as is one followed by nothing, by what cannot be a block (Linux appends the unpacked size) or another stream.
 */
static int lz4_legacy_step(struct unpacker *u)
{
	uint32_t packed = load_le32(u->in);
	if (packed == 0 || packed > (uint32_t)LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK))
		return u->out_len ? DONE : CORRUPT;
	if (packed > u->in_left - 4)
		return TRUNCATED;
	int room = (int)MIN(out_room(u), (size_t)LZ4_LEGACY_BLOCK);
	int n = LZ4_decompress_safe((const char *)u->in + 4, (char *)u->out + u->out_len, (int)packed, room);
	if (n <= 0)
		return CORRUPT;
	took(u, 4 + packed, (size_t)n);
	return n < LZ4_LEGACY_BLOCK || u->in_left <= 4 ? DONE : MORE;
}

static void lz4_legacy_end(struct unpacker *u)
{
}

static int lzma_begin(struct unpacker *u, lzma_ret (*decoder)(lzma_stream *stream, uint64_t memlimit))
{
	u->lzma = (lzma_stream)LZMA_STREAM_INIT;
	return decoder(&u->lzma, DICTIONARY_MAX) == LZMA_OK ? 0 : -ENOMEM;
}

static lzma_ret xz_decoder(lzma_stream *stream, uint64_t memlimit)
{
	return lzma_stream_decoder(stream, memlimit, 0);
}

static int xz_begin(struct unpacker *u)
{
	return lzma_begin(u, xz_decoder);
}

static int lzma_alone_begin(struct unpacker *u)
{
	return lzma_begin(u, lzma_alone_decoder);
}

static int lzma_step(struct unpacker *u)
{
	lzma_stream *lzma = &u->lzma;
	size_t in = u->in_left, out = out_room(u);
	lzma->next_in = u->in;
	lzma->avail_in = in;
	lzma->next_out = u->out + u->out_len;
	lzma->avail_out = out;
	lzma_ret ret = lzma_code(lzma, LZMA_RUN);
	took(u, in - lzma->avail_in, out - lzma->avail_out);
	switch (ret) {
	case LZMA_OK:
	case LZMA_BUF_ERROR: /* nothing could be done: the loop sees that too */
		return MORE;
	case LZMA_STREAM_END:
		return DONE;
	case LZMA_MEM_ERROR:
		return -ENOMEM;
	case LZMA_MEMLIMIT_ERROR:
		return TOO_GREEDY;
	default:
		return CORRUPT;
	}
}

static void lzma_finish(struct unpacker *u)
{
	lzma_end(&u->lzma);
}

static const struct packing packings[] = {
	{ "gzip", { 0x1f, 0x8b, 0x08 }, 3, true, 1, gzip_begin, gzip_step, gzip_end },
	{ "zstd", { 0x28, 0xb5, 0x2f, 0xfd }, 4, true, 1, zstd_begin, zstd_step, zstd_end },
	{ "lz4", { 0x04, 0x22, 0x4d, 0x18 }, 4, true, 1, lz4_begin, lz4_step, lz4_end },
	{ "lz4",
	  { 0x02, 0x21, 0x4c, 0x18 },
	  4,
	  true,
	  LZ4_LEGACY_BLOCK,
	  lz4_legacy_begin,
	  lz4_legacy_step,
	  lz4_legacy_end },
	{ "xz", { 0xfd, '7', 'z', 'X', 'Z', 0x00 }, 6, true, 1, xz_begin, lzma_step, lzma_finish },
	{ "lzma", { 0x5d, 0x00, 0x00 }, 3, false, 1, lzma_alone_begin, lzma_step, lzma_finish },
};

static bool has_magic(const struct packing *packing, const uint8_t *data, size_t len)
{
	return len >= packing->magic_len && memcmp(data, packing->magic, packing->magic_len) == 0;
}

const struct packing *packing_find(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++)
		if (has_magic(&packings[i], data, len))
			return &packings[i];
	return NULL;
}

const char *packing_name(const struct packing *packing)
{
	return packing->name;
}

/* Room for @want more bytes. Capacity may pass the limit by a step's room; length past it is found out after the step. */
static int out_reserve(struct unpacker *u, size_t want)
{
	if (out_room(u) >= want)
		return 0;
	size_t doubled = MIN(2 * u->out_cap, u->out_max + 1);
	size_t cap = MAX(MAX(doubled, u->out_len + want), (size_t)OUT_MIN);
	uint8_t *out = realloc(u->out, cap);
	if (!out)
		return -ENOMEM;
	u->out = out;
	u->out_cap = cap;
	return 0;
}

/* One step that gets somewhere. */
static int step(const struct packing *packing, struct unpacker *u)
{
	int ret = out_reserve(u, packing->room);
	if (ret < 0)
		return ret;
	size_t in_left = u->in_left, out_len = u->out_len;
	ret = packing->step(u);
	if (u->out_len > u->out_max)
		return TOO_LARGE;
	if (ret == MORE && u->in_left == in_left && u->out_len == out_len)
		return u->in_left ? CORRUPT : TRUNCATED;
	return ret;
}

static int unpack_stream(const struct packing *packing, struct unpacker *u)
{
	int ret = packing->begin(u);
	if (ret < 0)
		return ret;
	do
		ret = step(packing, u);
	while (ret == MORE);
	packing->end(u);
	return ret;
}

static int in_words(const struct packing *packing, int ret, const struct unpacker *u, size_t len,
                    struct cvmm_error *err)
{
	const char *name = packing->name;
	size_t at = len - u->in_left;
	switch (ret) {
	case TRUNCATED:
		return err_set(err, -ENOEXEC,
		               "truncated %s data: %zu bytes are there, more were expected (%zu unpacked)", name, len,
		               u->out_len);
	case TOO_LARGE:
		return err_set(err, -ENOEXEC, "%s data that unpack to more than %zu MiB", name, u->out_max >> 20);
	case TOO_MANY:
		return err_set(err, -ENOEXEC, "%s data in more than %d pieces", name, STREAMS_MAX);
	case TOO_GREEDY:
		return err_set(err, -ENOEXEC, "%s data that need too large a dictionary to unpack", name);
	case -ENOMEM:
		return err_set(err, -ENOMEM, "out of memory unpacking %s data (%zu bytes unpacked)", name, u->out_len);
	default:
		return err_set(err, -ENOEXEC, "corrupt %s data, near byte %zu of %zu", name, at, len);
	}
}

/* An empty stream takes nine bytes and a fresh decoder: without a limit, a small file could keep us for many minutes. */
static int unpack_streams(const struct packing *packing, struct unpacker *u)
{
	for (unsigned streams = 0; streams < STREAMS_MAX; streams++) {
		int ret = unpack_stream(packing, u);
		if (ret < 0 || !packing->concatenates || !has_magic(packing, u->in, u->in_left))
			return ret;
	}
	return TOO_MANY;
}

int unpack(const struct packing *packing, const uint8_t *data, size_t len, size_t max, uint8_t **out, size_t *out_len,
           struct cvmm_error *err)
{
	struct unpacker u = { .in = data, .in_left = len, .out_max = max };
	int ret = unpack_streams(packing, &u);
	if (ret < 0) {
		free(u.out);
		return in_words(packing, ret, &u, len, err);
	}
	*out = u.out;
	*out_len = u.out_len;
	return 0;
}
