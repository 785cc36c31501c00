// SPDX-License-Identifier: Apache-2.0
#include "src/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "arch/arch.h"
#include "src/base/util.h"

/* A descriptor of our own for @fd or, if that is -1, for the file at @path; only regular files have a size to trust.
 * O_NONBLOCK: a FIFO without a writer is refused, not waited for. */
static int open_regular(const char *path, int fd, uint64_t *len, struct cvmm_error *err)
{
	CLEANUP_CLOSE int own =
		fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (own < 0)
		return err_set(err, -errno, "%m");
	struct stat st;
	if (fstat(own, &st) < 0)
		return err_set(err, -errno, "%m");
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "is a directory, expected a file");
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "is not a regular file");
	*len = (uint64_t)st.st_size;
	return TAKE_FD(own);
}

static int open_kernel(struct boot_files *files, const struct config *config, struct cvmm_error *err)
{
	uint64_t len = 0;
	files->kernel_fd = open_regular(config->kernel, config->kernel_fd, &len, err);
	if (files->kernel_fd < 0)
		return files->kernel_fd;
	if (!len)
		return err_set(err, -ENOEXEC, "the file is empty, expected a kernel");
	void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, files->kernel_fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, -errno, "cannot map it: %m");
	files->map = map;
	files->map_len = len;
	return kernel_image_parse(files->map, len, arch_kernel, &files->kernel, err);
}

static int open_initrd(struct boot_files *files, const struct config *config, struct cvmm_error *err)
{
	if (!config->initrd && config->initrd_fd < 0)
		return 0;
	files->initrd_fd = open_regular(config->initrd, config->initrd_fd, &files->initrd_len, err);
	if (files->initrd_fd < 0)
		return files->initrd_fd;
	return files->initrd_len ? 0 : err_set(err, -EINVAL, "the file is empty, expected an initramfs");
}

static int make_cmdline(struct boot_files *files, const struct config *config, struct cvmm_error *err)
{
	if (config->cmdline_only)
		files->cmdline = strdup(config->cmdline_only);
	else if (!config->cmdline)
		files->cmdline = strdup(arch_default_cmdline);
	else if (asprintf(&files->cmdline, "%s %s", arch_default_cmdline, config->cmdline) < 0)
		files->cmdline = NULL;
	return files->cmdline ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static const char *file_name(const char *path)
{
	return path ? path : "(descriptor)";
}

int boot_files_open(struct boot_files *files, const struct config *config, struct cvmm_error *err)
{
	*files = (struct boot_files){ .kernel_fd = -1, .initrd_fd = -1 };
	int ret = open_kernel(files, config, err);
	if (ret < 0)
		return err_prefix(err, ret, "kernel %s", file_name(config->kernel));
	ret = open_initrd(files, config, err);
	if (ret < 0)
		return err_prefix(err, ret, "initrd %s", file_name(config->initrd));
	return make_cmdline(files, config, err);
}

void boot_files_fini(struct boot_files *files)
{
	kernel_image_fini(&files->kernel);
	if (files->map)
		munmap((void *)files->map, files->map_len);
	cleanup_close(&files->kernel_fd);
	cleanup_close(&files->initrd_fd);
	free(files->cmdline);
	*files = (struct boot_files){ .kernel_fd = -1, .initrd_fd = -1 };
}

/* Bytes [off, off + len) of a file into guest memory, straight from the page cache; the file may have shrunk. */
static int read_into_guest(const struct vm *vm, uint64_t gpa, int fd, uint64_t off, uint64_t len,
                           struct cvmm_error *err)
{
	uint8_t *to = guest_at(&vm->mem, gpa, len);
	if (!to)
		return err_set(err, -EFAULT, "0x%" PRIx64 " is outside guest memory", gpa);
	uint64_t done = 0;
	while (done < len) {
		ssize_t got = pread(fd, to + done, len - done, (off_t)(off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, -errno, "read: %m");
		if (!got)
			return err_set(err, -EIO,
			               "the file shrank from %" PRIu64 " to %" PRIu64 " bytes while being read",
			               off + len, off + done);
		done += (uint64_t)got;
	}
	return 0;
}

/* What lies in the file as it is gets read, which spares the mapping a fault for each page; the rest was unpacked. */
static int load_segment(const struct vm *vm, const struct boot_files *files, const struct kernel_segment *seg,
                        uint64_t gpa, struct cvmm_error *err)
{
	if (!seg->file_len)
		return 0;
	if (!files->kernel.owned)
		return read_into_guest(vm, gpa, files->kernel_fd, (uint64_t)(seg->data - files->map), seg->file_len,
		                       err);
	int ret = guest_write(&vm->mem, gpa, seg->data, seg->file_len);
	return ret < 0 ? err_set(err, ret, "0x%" PRIx64 " is outside guest memory", gpa) : 0;
}

static int load_kernel(struct vm *vm, const struct boot_files *files, struct boot *boot, struct cvmm_error *err)
{
	int ret = arch_place_kernel(vm, boot, err);
	for (unsigned i = 0; ret == 0 && i < boot->kernel->segment_count; i++) {
		const struct kernel_segment *seg = &boot->kernel->segments[i];
		ret = load_segment(vm, files, seg, boot->load_gpa + seg->gpa, err);
	}
	return ret < 0 ? err_prefix(err, ret, "kernel %s", file_name(vm->config->kernel)) : 0;
}

static int load_initrd(struct vm *vm, const struct boot_files *files, struct boot *boot, struct cvmm_error *err)
{
	if (!boot->initrd_len)
		return 0;
	int ret = arch_place_initrd(vm, boot, err);
	if (ret == 0)
		ret = read_into_guest(vm, boot->initrd_gpa, files->initrd_fd, 0, boot->initrd_len, err);
	return ret < 0 ? err_prefix(err, ret, "initrd %s", file_name(vm->config->initrd)) : 0;
}

int boot_load(struct vm *vm, const struct boot_files *files, struct cvmm_error *err)
{
	struct boot boot = { .kernel = &files->kernel, .cmdline = files->cmdline, .initrd_len = files->initrd_len };
	int ret = load_kernel(vm, files, &boot, err);
	if (ret == 0)
		ret = load_initrd(vm, files, &boot, err);
	if (ret < 0)
		return ret;
	ret = arch_boot(vm, &boot, err);
	return ret < 0 ? err_prefix(err, ret, "kernel %s", file_name(vm->config->kernel)) : 0;
}
