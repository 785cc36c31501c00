// SPDX-License-Identifier: Apache-2.0
/*
 * A disk in a regular file or on a block device of the host, by asynchronous operations of the submitter's loop. Whatever
 * the host answers goes to the guest as an error of that request and nothing else; the VMM goes on.
 *
 *   READ, WRITE    readv, writev; what comes back short is gone on with. FUA: RWF_DSYNC
 *   FLUSH          fdatasync; unsafe: nothing
 *   DISCARD        punch a hole, so that a sparse file shrinks
 *   WRITE_ZEROES   a hole if the guest admits it, else a zeroed range, else zeroes are written
 */
#include "src/block/block.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include "src/base/log.h"
#include "src/base/util.h"

enum { ZEROES_SIZE = 1 << 20 };

struct block_file {
	struct block block;
	int fd;            /* owned */
	bool device;       /* a block device */
	bool direct;       /* O_DIRECT */
	bool unsafe;       /* flushes do nothing */
	uint8_t *zeroes;   /* ZEROES_SIZE of them, to write; owned */
	uint32_t io_align; /* direct: of the length of each segment */

	/* What was learnt on the way, on any loop's thread: relaxed atomics, and no matter who is first. */
	bool no_punch, no_zero_range;
	int flush_error;
};

static struct block_file *file_of(struct block *block)
{
	return container_of(block, struct block_file, block);
}

static struct block_request *request_of(struct loop_io *io)
{
	return container_of(io, struct block_request, io);
}

#define LEARNT(flag) __atomic_load_n(&(flag), __ATOMIC_RELAXED)
#define LEARN(flag, value) __atomic_store_n(&(flag), value, __ATOMIC_RELAXED)

static bool worth_retrying(int result)
{
	return result == -EINTR || result == -EAGAIN;
}

static bool unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -ENOSYS;
}

/* After a failed flush (or write that was to be stable) the host counts pages as clean though the disk never got them: the
 * next flush would succeed, and what was lost stays lost. So no flush of this file succeeds any more. With O_DIRECT there
 * are no such pages. */
static void file_lost_pages(struct block_file *file, int result)
{
	if (result < 0 && !file->direct)
		LEARN(file->flush_error, result);
}

/* --- reads and writes; of zeroes, too --- */

static void file_transfer(struct block_request *request);

static void file_transfer_done(struct block_request *request, int result)
{
	struct block_request *next = block_bounce_holds(request) ? block_bounce_leave(request) : NULL;
	block_done(request, result);
	if (next)
		file_transfer(next);
}

static void iov_copy(const struct iovec *iov, uint8_t *buf, size_t len, bool into_iov)
{
	for (; len; iov++) {
		size_t step = MIN(len, iov->iov_len);
		if (into_iov)
			memcpy(iov->iov_base, buf, step);
		else
			memcpy(buf, iov->iov_base, step);
		buf += step;
		len -= step;
	}
}

/*
 * Nothing read: the file ends before its size, somebody cut it off. Nothing written: no reason given.
 * O_DIRECT goes on at a whole block only.
 */
static void file_transferred(struct loop_io *io, int result)
{
	struct block_request *request = request_of(io);
	const struct block_file *file = file_of(request->block);
	if (file->direct && result > 0)
		result = (int)align_down((uint64_t)result, file->io_align);
	if (worth_retrying(result)) {
		file_transfer(request);
		return;
	}
	if (result <= 0) {
		if (request->flags & BLOCK_FUA && result == -EIO && request->op != BLOCK_READ)
			file_lost_pages(file_of(request->block), result);
		file_transfer_done(request, result ? result : -EIO);
		return;
	}
	if (request->op == BLOCK_READ && block_bounce_holds(request))
		iov_copy(request->iov, request->bounce->buf, (size_t)result, true);
	if (request->op != BLOCK_WRITE_ZEROES)
		block_consume(request, (uint64_t)result);
	request->progress += (uint64_t)result;
	if (request->progress < request->len)
		file_transfer(request);
	else
		file_transfer_done(request, 0);
}

/* The next piece: of the guest's memory, of the bounce buffer, or zeroes. */
static const struct iovec *file_piece(struct block_request *request, unsigned *count)
{
	const struct block_file *file = file_of(request->block);
	uint64_t left = request->len - request->progress;
	*count = 1;
	if (request->op == BLOCK_WRITE_ZEROES) {
		request->own_iov = (struct iovec){ file->zeroes, MIN(left, ZEROES_SIZE) };
	} else if (block_bounce_holds(request)) {
		request->own_iov = (struct iovec){ request->bounce->buf, MIN(left, BLOCK_BOUNCE_SIZE) };
		if (request->op == BLOCK_WRITE)
			iov_copy(request->iov, request->bounce->buf, request->own_iov.iov_len, false);
	} else {
		*count = MIN(request->iov_count, IOV_MAX);
		return request->iov;
	}
	return &request->own_iov;
}

static void file_transfer(struct block_request *request)
{
	const struct block_file *file = file_of(request->block);
	unsigned count;
	const struct iovec *iov = file_piece(request, &count);
	uint64_t off = request->off + request->progress;
	bool sync = request->flags & BLOCK_FUA && !file->unsafe;
	request->io.fn = file_transferred;
	if (request->op == BLOCK_READ)
		loop_readv(request->loop, &request->io, file->fd, iov, count, off);
	else
		loop_writev(request->loop, &request->io, file->fd, iov, count, off, sync ? RWF_DSYNC : 0);
}

static bool file_needs_bounce(const struct block_file *file, const struct block_request *request)
{
	if (!file->direct)
		return false;
	if (request->iov_count > IOV_MAX)
		return true;
	for (unsigned i = 0; i < request->iov_count; i++)
		if ((uintptr_t)request->iov[i].iov_base % file->block.memory_align ||
		    request->iov[i].iov_len % file->io_align)
			return true;
	return false;
}

static void file_begin_transfer(struct block_request *request)
{
	if (!file_needs_bounce(file_of(request->block), request))
		file_transfer(request);
	else if (!request->bounce || !request->bounce->buf)
		block_done(request, -EINVAL);
	else if (block_bounce_enter(request))
		file_transfer(request);
}

/* --- flushes --- */

static void file_flush(struct block_request *request);

static void file_flushed(struct loop_io *io, int result)
{
	struct block_request *request = request_of(io);
	struct block_file *file = file_of(request->block);
	if (worth_retrying(result)) {
		file_flush(request);
		return;
	}
	file_lost_pages(file, result);
	block_done(request, MIN(result, 0));
}

static void file_flush(struct block_request *request)
{
	const struct block_file *file = file_of(request->block);
	int error = LEARNT(file->flush_error);
	request->io.fn = file_flushed;
	if (file->unsafe || file->block.read_only || error)
		block_done(request, file->unsafe || file->block.read_only ? 0 : error);
	else
		loop_fdatasync(request->loop, &request->io, file->fd);
}

/* --- holes and zeroed ranges --- */

static void file_punch(struct block_request *request);
static void file_zero_range(struct block_request *request);

static void file_range_done(struct block_request *request, int result)
{
	if (result < 0 || !(request->flags & BLOCK_FUA))
		block_done(request, MIN(result, 0));
	else
		file_flush(request);
}

static void file_range_zeroed(struct loop_io *io, int result)
{
	struct block_request *request = request_of(io);
	struct block_file *file = file_of(request->block);
	if (unsupported(result))
		LEARN(file->no_zero_range, true);
	if (worth_retrying(result) || unsupported(result))
		file_zero_range(request);
	else
		file_range_done(request, result);
}

static void file_zero_range(struct block_request *request)
{
	const struct block_file *file = file_of(request->block);
	if (LEARNT(file->no_zero_range)) {
		file_transfer(request);
		return;
	}
	request->io.fn = file_range_zeroed;
	loop_fallocate(request->loop, &request->io, file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, request->off,
	               request->len);
}

static void file_punched(struct loop_io *io, int result)
{
	struct block_request *request = request_of(io);
	struct block_file *file = file_of(request->block);
	if (unsupported(result))
		LEARN(file->no_punch, true);
	if (worth_retrying(result) || unsupported(result))
		file_punch(request);
	else
		file_range_done(request, result);
}

static void file_punch(struct block_request *request)
{
	const struct block_file *file = file_of(request->block);
	if (!LEARNT(file->no_punch)) {
		request->io.fn = file_punched;
		loop_fallocate(request->loop, &request->io, file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		               request->off, request->len);
	} else if (request->op == BLOCK_DISCARD) {
		block_done(request, -EOPNOTSUPP);
	} else {
		file_zero_range(request);
	}
}

static void file_submit(struct block *block, struct block_request *request)
{
	switch (request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		file_begin_transfer(request);
		break;
	case BLOCK_FLUSH:
		file_flush(request);
		break;
	case BLOCK_DISCARD:
		file_punch(request);
		break;
	case BLOCK_WRITE_ZEROES:
		if (request->flags & BLOCK_MAY_UNMAP)
			file_punch(request);
		else
			file_zero_range(request);
		break;
	default: /* for zones: does not come here */
		block_done(request, -EOPNOTSUPP);
		break;
	}
}

/* --- size --- */

static int file_get_size(const struct block_file *file, uint64_t *size, struct cvmm_error *err)
{
	struct stat st;
	if (file->device && ioctl(file->fd, BLKGETSIZE64, size) < 0)
		return err_set(err, -errno, "its size: %m");
	if (file->device)
		return 0;
	if (fstat(file->fd, &st) < 0)
		return err_set(err, -errno, "its size: %m");
	*size = (uint64_t)st.st_size;
	return 0;
}

static int file_take_size(struct block_file *file, struct cvmm_error *err)
{
	uint64_t size = 0;
	int ret = file_get_size(file, &size, err);
	if (ret == 0)
		ret = block_check_size(size, file->block.logical_block, err);
	if (ret == 0)
		__atomic_store_n(&file->block.size, size, __ATOMIC_RELAXED);
	return ret;
}

/* Shrinking: no new request may reach what is cut off, so the size is changed first. */
static int file_resize(struct block *block, uint64_t size, struct cvmm_error *err)
{
	struct block_file *file = file_of(block);
	if (size && file->device)
		return err_set(err, -EINVAL, "a block device has the size it has");
	if (size && size < block->size)
		__atomic_store_n(&block->size, size, __ATOMIC_RELAXED);
	int ret = size && ftruncate(file->fd, (off_t)size) < 0 ? -errno : 0;
	if (ret < 0) {
		err_set(err, ret, "to %llu bytes: %s", (unsigned long long)size, strerror(-ret));
		file_take_size(file, NULL);
		return ret;
	}
	return file_take_size(file, err);
}

/* --- opening --- */

/* Now, not when the kernel gets round to it: io_uring may hold the file some time longer than its owner did. */
static void file_unlock(const struct block_file *file)
{
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	fcntl(file->fd, F_OFD_SETLK, &lock);
}

static void file_free(struct block *block)
{
	struct block_file *file = file_of(block);
	if (file->zeroes)
		munmap(file->zeroes, ZEROES_SIZE);
	if (file->fd >= 0) {
		file_unlock(file);
		close(file->fd);
	}
	free(file);
}

static const struct block_ops file_ops = { .submit = file_submit, .resize = file_resize, .free = file_free };

static int file_check_type(const struct stat *st, struct cvmm_error *err)
{
	if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
		return 0;
	return err_set(err, -EINVAL, "is neither a file nor a block device");
}

/* The type is looked at first: opening a FIFO blocks. A block device in use by the host (mounted) is busy. */
static int file_open_path(struct block_file *file, const struct block_file_options *options, struct cvmm_error *err)
{
	struct stat st;
	if (stat(options->path, &st) < 0)
		return err_set(err, -errno, "%m");
	int ret = file_check_type(&st, err);
	if (ret < 0)
		return ret;
	int flags = (options->read_only ? O_RDONLY : O_RDWR) | (file->direct ? O_DIRECT : 0) | O_CLOEXEC | O_NOCTTY;
	if (S_ISBLK(st.st_mode) && !options->read_only && !options->share)
		flags |= O_EXCL;
	file->fd = open(options->path, flags);
	if (file->fd < 0 && errno == EINVAL && file->direct)
		return err_set(err, -EINVAL, "its file system has no direct access (O_DIRECT)");
	if (file->fd < 0 && errno == EROFS)
		return err_set(err, -EROFS, "%m; readonly=on opens it");
	return file->fd < 0 ? err_set(err, -errno, "%m") : 0;
}

/* The descriptor's flags are common to all its duplicates; whoever handed it in has handed that over, too. */
static int file_take_fd(struct block_file *file, const struct block_file_options *options, struct cvmm_error *err)
{
	file->fd = fcntl(options->fd, F_DUPFD_CLOEXEC, 3);
	int flags = file->fd < 0 ? -1 : fcntl(file->fd, F_GETFL);
	if (flags < 0)
		return err_set(err, -errno, "%m");
	int mode = flags & O_ACCMODE;
	if (mode == O_WRONLY || (mode == O_RDONLY && !options->read_only) || flags & (O_APPEND | O_PATH))
		return err_set(err, -EBADF, "is not open for %s",
		               options->read_only ? "reading" : "reading and writing");
	if (file->direct && !(flags & O_DIRECT) && fcntl(file->fd, F_SETFL, flags | O_DIRECT) < 0)
		return err_set(err, -errno, "has no direct access (O_DIRECT): %m");
	file->direct |= flags & O_DIRECT;
	return 0;
}

/* Readers share, a writer is alone. */
static int file_lock(const struct block_file *file, struct cvmm_error *err)
{
	struct flock lock = { .l_type = file->block.read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, -EWOULDBLOCK, "is in use by another process (share=on opens it nevertheless)");
	return err_set(err, -errno, "cannot be locked: %m (share=on opens it without a lock)");
}

/* A number from the queue directory of a block device, or of the disk that a partition is on. 0: not known. */
static uint64_t sysfs_queue(dev_t dev, const char *name)
{
	static const char *const up[] = { "", "../" };
	char path[128], text[32];
	for (unsigned i = 0; i < ARRAY_SIZE(up); i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(dev), minor(dev), up[i], name);
		CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		if (len > 0) {
			text[len] = 0;
			return strtoull(text, NULL, 10);
		}
	}
	return 0;
}

/* Does the file system punch holes? Beyond the file's end there is nothing to lose. */
static bool file_can_punch(const struct block_file *file, const struct stat *st)
{
	off_t end = (off_t)align_up((uint64_t)st->st_size, 4096);
	if (file->block.read_only)
		return false;
	return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0;
}

static bool valid_block(uint64_t size)
{
	return size == 512 || size == 4096;
}

/* What O_DIRECT wants on this file: asked where the kernel tells (6.1), else tried out, on the safe side. */
static int file_direct_align(struct block_file *file, struct cvmm_error *err)
{
#ifdef STATX_DIOALIGN
	struct statx stx;
	if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && stx.stx_mask & STATX_DIOALIGN &&
	    stx.stx_dio_offset_align && stx.stx_dio_mem_align) {
		file->io_align = MAX(stx.stx_dio_offset_align, 512);
		file->block.memory_align = MAX(stx.stx_dio_mem_align, 2); /* 1 would say that nothing bounces */
		return 0;
	}
#endif
	void *buf = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		return err_set(err, -ENOMEM, "%m");
	file->io_align = pread(file->fd, buf, 512, 0) >= 0 ? 512 : 4096;
	file->block.memory_align = file->io_align;
	munmap(buf, 4096);
	return 0;
}

static int file_describe_device(struct block_file *file, dev_t dev, struct cvmm_error *err)
{
	struct block *block = &file->block;
	int logical = 0;
	unsigned physical = 0, optimal = 0;
	if (ioctl(file->fd, BLKSSZGET, &logical) < 0)
		return err_set(err, -errno, "its block size: %m");
	ioctl(file->fd, BLKPBSZGET, &physical);
	ioctl(file->fd, BLKIOOPT, &optimal);
	if (!block->logical_block)
		block->logical_block = (uint32_t)logical;
	if (block->logical_block < (unsigned)logical)
		return err_set(err, -EINVAL, "has blocks of %d bytes, not of %u", logical, block->logical_block);
	block->physical_block = physical;
	block->optimal_io = optimal;
	if (!block->read_only && sysfs_queue(dev, "discard_max_bytes"))
		block->discard_granularity = sysfs_queue(dev, "discard_granularity");
	return 0;
}

static int file_describe(struct block_file *file, const struct stat *st, struct cvmm_error *err)
{
	struct block *block = &file->block;
	block->memory_align = 1;
	int ret = file->direct ? file_direct_align(file, err) : 0;
	if (ret == 0 && file->device)
		ret = file_describe_device(file, st->st_rdev, err);
	if (ret < 0)
		return ret;
	if (!block->logical_block)
		block->logical_block = MAX(512, file->io_align);
	if (!valid_block(block->logical_block))
		return err_set(err, -EINVAL, "blocks of %u bytes: 512 and 4096 can be had", block->logical_block);
	if (block->logical_block < file->io_align)
		return err_set(err, -EINVAL, "direct access is by %u bytes, not by %u", file->io_align,
		               block->logical_block);
	if (!file->device) {
		block->physical_block = 4096;
		if (file_can_punch(file, st))
			block->discard_granularity = MAX((uint64_t)st->st_blksize, block->logical_block);
	}
	block->physical_block = MAX(block->physical_block, block->logical_block);
	return file_take_size(file, err);
}

static int file_open(struct block_file *file, const struct block_file_options *options, struct cvmm_error *err)
{
	struct stat st;
	int ret = options->path ? file_open_path(file, options, err) : file_take_fd(file, options, err);
	if (ret < 0)
		return ret;
	if (fstat(file->fd, &st) < 0)
		return err_set(err, -errno, "%m");
	ret = file_check_type(&st, err);
	if (ret == 0 && !options->share)
		ret = file_lock(file, err);
	if (ret < 0)
		return ret;
	file->device = S_ISBLK(st.st_mode);
	file->zeroes = mmap(NULL, ZEROES_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (file->zeroes == MAP_FAILED) {
		file->zeroes = NULL;
		return err_set(err, -ENOMEM, "%m");
	}
	return file_describe(file, &st, err);
}

struct block *block_file_open(const struct block_file_options *options, struct cvmm_error *err)
{
	struct block_file *file = calloc(1, sizeof(*file));
	char name[32];
	snprintf(name, sizeof(name), "fd %d", options->fd);
	const char *shown = options->path ? options->path : name;
	if (!file) {
		err_set(err, -ENOMEM, "disk %s: %s", shown, strerror(ENOMEM));
		return NULL;
	}
	*file = (struct block_file){
		.block = {
			.ops = &file_ops,
			.logical_block = options->logical_block,
			.read_only = options->read_only,
			.writeback = true,
		},
		.fd = -1,
		.direct = options->direct || options->cache == BLOCK_CACHE_NONE,
		.unsafe = options->cache == BLOCK_CACHE_UNSAFE,
	};
	block_set_name(&file->block, shown);
	int ret = file_open(file, options, err);
	if (ret == 0)
		return &file->block;
	err_prefix(err, ret, "disk %s", shown);
	block_free(&file->block);
	return NULL;
}
