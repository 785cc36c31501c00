// SPDX-License-Identifier: Apache-2.0
/*
 * cvmm.h implemented: the handle, its states and its I/O threads.
 *
 * A VM ends on the first I/O thread: the last vCPU thread that leaves posts handle_all_left(), which either builds the VM anew
 * (a reset, when the user wants restarts) or makes the result public. handle->lock guards what is marked so; it is taken
 * before vm->lock and never while a device's lock is held.
 */
#include <cvmm.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "arch/arch.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/util.h"
#include "src/boot.h"
#include "src/config.h"
#include "src/console.h"
#include "src/kvm.h"
#include "src/thread.h"
#include "src/virtio_devices.h"
#include "src/vm.h"

enum { DRAIN_MS = 2000 };

/* An I/O thread. The first serves the console and the machine's own devices, too, and is what ends a VM. */
struct io_thread {
	struct cvmm_vm *handle; /* not owned */
	struct loop *loop;      /* owned */
	pthread_t thread;
};

struct cvmm_vm {
	struct config config;
	struct log log;
	struct console_escape escape;
	int event_fd; /* owned */

	/* from create on */
	int kvm_fd; /* owned */
	struct io_thread io[CONFIG_IOTHREADS_MAX];
	unsigned io_count;        /* loops made */
	unsigned io_threads;      /* of these, how many have a thread */
	struct backends backends; /* owned */
	struct console *console;  /* owned */
	struct vm vm;
	struct loop_call all_left;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	enum cvmm_state state;
	bool built;          /* vm is whole; false while it is made anew */
	bool stop_requested; /* outlives creating and rebuilding */
	struct cvmm_result result;
	char *report;          /* owned; what result.report points to */
	uint64_t exits_before; /* of builds before this one */
};

static const char version[] = CVMM_VERSION;

const char *cvmm_version(void)
{
	return version;
}

const char *cvmm_arch(void)
{
	return arch_name;
}

/* ---- state ------------------------------------------------------------------------------------------------------ */

static void handle_notify(struct cvmm_vm *handle)
{
	uint64_t one = 1;
	pthread_cond_broadcast(&handle->changed);
	ssize_t wrote = write(handle->event_fd, &one, sizeof(one));
	(void)wrote; /* a full counter is readable just as well */
}

/* lock held */
static void handle_set_state(struct cvmm_vm *handle, enum cvmm_state state)
{
	handle->state = state;
	handle_notify(handle);
}

static uint64_t count_exits(const struct vm *vm)
{
	uint64_t exits = 0;
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		exits += atomic_load_explicit(&vm->vcpus[i].exits, memory_order_relaxed);
	return exits;
}

/* ---- describing ------------------------------------------------------------------------------------------------- */

struct cvmm_vm *cvmm_vm_new(void)
{
	struct cvmm_vm *handle = calloc(1, sizeof(*handle));
	if (!handle)
		return NULL;
	handle->kvm_fd = -1;
	handle->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (handle->event_fd < 0 || config_init(&handle->config) < 0) {
		cleanup_close(&handle->event_fd);
		free(handle);
		return NULL;
	}
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&handle->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&handle->lock, NULL);
	return handle;
}

/* May the description still be changed? */
static int handle_describing(struct cvmm_vm *handle, struct cvmm_error *err)
{
	return cvmm_vm_state(handle) == CVMM_DESCRIBED ? 0 : err_set(err, -EALREADY, "the VM was created already");
}

int cvmm_vm_set(struct cvmm_vm *handle, const char *name, const char *value, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	return ret < 0 ? ret : config_set(&handle->config, name, value, err);
}

int cvmm_vm_add(struct cvmm_vm *handle, const char *kind, const char *keys, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	return ret < 0 ? ret : config_add(&handle->config, kind, keys, err);
}

int cvmm_vm_get(struct cvmm_vm *handle, const char *name, char *buf, size_t size)
{
	return config_get(&handle->config, name, buf, size);
}

int cvmm_vm_load_config(struct cvmm_vm *handle, const char *path, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	return ret < 0 ? ret : config_load_file(&handle->config, path, err);
}

int cvmm_vm_load_config_text(struct cvmm_vm *handle, const char *text, size_t len, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	return ret < 0 ? ret : config_load_text(&handle->config, text, len, err);
}

int cvmm_vm_set_memory(struct cvmm_vm *handle, uint64_t mib, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	return ret < 0 ? ret : config_set_number(&handle->config, "memory", mib, err);
}

int cvmm_vm_set_cpus(struct cvmm_vm *handle, unsigned cpus, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	return ret < 0 ? ret : config_set_number(&handle->config, "cpus", cpus, err);
}

/* A duplicate of @fd, to be closed; @what names it in errors. */
static int dup_fd(int fd, const char *what, struct cvmm_error *err)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? err_set(err, -errno, "%s: descriptor %d: %m", what, fd) : own;
}

static void replace_fd(int *slot, int fd)
{
	cleanup_close(slot);
	*slot = fd;
}

static int handle_set_fd(struct cvmm_vm *handle, int *slot, int fd, const char *what, struct cvmm_error *err)
{
	int own = handle_describing(handle, err);
	if (own == 0)
		own = dup_fd(fd, what, err);
	if (own < 0)
		return own;
	replace_fd(slot, own);
	return 0;
}

int cvmm_vm_set_kernel_fd(struct cvmm_vm *handle, int fd, struct cvmm_error *err)
{
	return handle_set_fd(handle, &handle->config.kernel_fd, fd, "kernel", err);
}

int cvmm_vm_set_initrd_fd(struct cvmm_vm *handle, int fd, struct cvmm_error *err)
{
	return handle_set_fd(handle, &handle->config.initrd_fd, fd, "initrd", err);
}

int cvmm_vm_set_kvm_fd(struct cvmm_vm *handle, int fd, struct cvmm_error *err)
{
	return handle_set_fd(handle, &handle->config.kvm_fd, fd, "kvm", err);
}

int cvmm_vm_set_console_fds(struct cvmm_vm *handle, int in_fd, int out_fd, struct cvmm_error *err)
{
	struct config *config = &handle->config;
	CLEANUP_CLOSE int in = -1;
	int out = -1, ret = handle_describing(handle, err);
	if (ret == 0 && in_fd >= 0)
		ret = in = dup_fd(in_fd, "console input", err);
	if (ret >= 0 && out_fd >= 0)
		ret = out = dup_fd(out_fd, "console output", err);
	if (ret < 0)
		return ret;
	replace_fd(&config->console_in_fd, TAKE_FD(in));
	replace_fd(&config->console_out_fd, out);
	config->console_fds = true;
	return 0;
}

int cvmm_vm_set_console_escape(struct cvmm_vm *handle, unsigned char escape, void (*fn)(void *opaque, char key),
                               void *opaque, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	if (ret < 0)
		return ret;
	if (escape > 31 || (escape && !fn))
		return err_set(err, -EINVAL, "console escape: expected a control character (1 to 31) and a function");
	handle->escape = (struct console_escape){ .key = escape, .fn = fn, .opaque = opaque };
	return 0;
}

int cvmm_vm_set_log(struct cvmm_vm *handle, enum cvmm_log_level level,
                    void (*fn)(void *opaque, enum cvmm_log_level level, const char *line), void *opaque,
                    struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	if (ret < 0)
		return ret;
	handle->log.level = level;
	handle->log.fn = fn;
	handle->log.opaque = opaque;
	return 0;
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static const char *end_name(enum cvmm_end end)
{
	static const char *const names[] = {
		[CVMM_END_NONE] = "running", [CVMM_END_POWER_OFF] = "power-off", [CVMM_END_RESET] = "reset",
		[CVMM_END_CRASH] = "crash",  [CVMM_END_STOPPED] = "stopped",     [CVMM_END_ERROR] = "error",
	};
	return names[end];
}

/* lock held; the vCPU threads are gone */
static void handle_publish_end(struct cvmm_vm *handle)
{
	struct vm *vm = &handle->vm;
	struct cvmm_result *result = &handle->result;
	if (result->end == CVMM_END_NONE) { /* else it is known already: a failed console or restart, a stop */
		result->end = vm->end;
		result->error = vm->end_error;
		handle->report = TAKE_PTR(vm->report);
		result->report = handle->report;
	}
	handle->built = true; /* as far as it will ever be */
	log_info("vm: ended: %s", end_name(result->end));
	handle_set_state(handle, CVMM_ENDED);
}

/* On the I/O thread, lock not held, no vCPU thread alive: the VM has ended for good. */
static void handle_end(struct cvmm_vm *handle)
{
	console_drain(handle->console, DRAIN_MS);
	pthread_mutex_lock(&handle->lock);
	handle_publish_end(handle);
	pthread_mutex_unlock(&handle->lock);
}

/* lock held: to be stopped before it ran */
static void handle_stop_unstarted(struct cvmm_vm *handle)
{
	handle->result.end = CVMM_END_STOPPED;
	handle_publish_end(handle);
}

static int handle_build(struct cvmm_vm *handle, const struct boot_files *files, struct cvmm_error *err)
{
	struct vm *vm = &handle->vm;
	vm_init(vm);
	vm->config = &handle->config;
	vm->kvm_fd = handle->kvm_fd;
	vm->loop = handle->io[0].loop;
	for (unsigned i = 0; i < handle->io_count; i++)
		vm->loops[i] = handle->io[i].loop;
	vm->loop_count = handle->io_count;
	vm->backends = &handle->backends;
	vm->clock = &clock_host;
	vm->console = console_chardev(handle->console);
	vm->log = &handle->log;
	vm->all_left = &handle->all_left;
	int ret = vm_build(vm, err);
	if (ret == 0)
		ret = boot_load(vm, files, err);
	return ret;
}

/* From the files again: what they hold now is what boots. vm is empty before and, on failure, after. */
static int handle_rebuild(struct cvmm_vm *handle, struct cvmm_error *err)
{
	struct boot_files files;
	int ret = boot_files_open(&files, &handle->config, err);
	if (ret == 0) {
		ret = handle_build(handle, &files, err);
		if (ret < 0)
			vm_fini(&handle->vm);
	}
	boot_files_fini(&files);
	return ret;
}

static void handle_fini_vm(struct cvmm_vm *handle)
{
	console_unplug(handle->console);
	vm_fini(&handle->vm);
}

/* lock held: the outcome of making the VM anew. Returns whether it runs. */
static bool handle_run_again(struct cvmm_vm *handle, int ret, struct cvmm_error *err)
{
	if (ret < 0)
		vm_init(&handle->vm); /* empty, for the publishing and the freeing to come */
	else if (!handle->stop_requested)
		ret = vm_run(&handle->vm, err);
	if (ret < 0) {
		handle->result.end = CVMM_END_ERROR;
		handle->result.error = *err;
	} else if (handle->stop_requested) {
		handle->result.end = CVMM_END_STOPPED;
	}
	handle->built = handle->result.end == CVMM_END_NONE;
	pthread_cond_broadcast(&handle->changed); /* who waited for it to be built */
	return handle->built;
}

/* On the I/O thread, lock not held, no vCPU thread alive: make the VM anew and run it. */
static void handle_restart(struct cvmm_vm *handle)
{
	struct cvmm_error err = { 0 };
	log_limited(CVMM_LOG_INFO, "vm: reset, restarting");
	handle_fini_vm(handle);
	int ret = handle_rebuild(handle, &err);
	pthread_mutex_lock(&handle->lock);
	bool runs = handle_run_again(handle, ret, &err);
	pthread_mutex_unlock(&handle->lock);
	if (!runs)
		handle_end(handle);
}

/* Does a reset by the guest start it anew? Then the VM is not built from here on. Not if somebody stopped it, or its
 * console failed, after the reset. */
static bool handle_begin_restart(struct cvmm_vm *handle)
{
	pthread_mutex_lock(&handle->lock);
	bool restart = handle->vm.end == CVMM_END_RESET && handle->config.on_reset == ON_RESET_RESTART &&
	               handle->result.end == CVMM_END_NONE;
	if (restart && handle->stop_requested) {
		handle->result.end = CVMM_END_STOPPED;
		restart = false;
	}
	if (restart) {
		handle->built = false;
		handle->exits_before += count_exits(&handle->vm);
		handle->result.resets++;
	}
	pthread_mutex_unlock(&handle->lock);
	return restart;
}

static void handle_all_left(struct loop_call *call)
{
	struct cvmm_vm *handle = container_of(call, struct cvmm_vm, all_left);
	vm_join(&handle->vm);
	if (handle_begin_restart(handle))
		handle_restart(handle);
	else
		handle_end(handle);
}

/* That output is lost fails a VM that runs, or one that ended well; what became of any other says more. */
static void handle_console_failed(void *opaque, const struct cvmm_error *error)
{
	struct cvmm_vm *handle = opaque;
	struct cvmm_result *result = &handle->result;
	vm_end(&handle->vm, CVMM_END_ERROR, error); /* the I/O thread: nobody rebuilds meanwhile */
	pthread_mutex_lock(&handle->lock);
	enum cvmm_end end = result->end == CVMM_END_NONE ? handle->vm.end : result->end;
	bool ended_well = end == CVMM_END_POWER_OFF || end == CVMM_END_RESET;
	if (ended_well) {
		result->end = CVMM_END_ERROR;
		result->error = *error;
	}
	pthread_mutex_unlock(&handle->lock);
	if (!ended_well && end != CVMM_END_ERROR)
		log_warn("%s", error->msg);
}

/* ---- creating --------------------------------------------------------------------------------------------------- */

static int handle_open_kvm(struct cvmm_vm *handle, struct cvmm_error *err)
{
	if (handle->config.kvm_fd < 0) {
		handle->kvm_fd = kvm_open(err);
		return MIN(handle->kvm_fd, 0);
	}
	handle->kvm_fd = fcntl(handle->config.kvm_fd, F_DUPFD_CLOEXEC, 3);
	if (handle->kvm_fd < 0)
		return err_set(err, -errno, "kvm descriptor: %m");
	return kvm_check_version(handle->kvm_fd, err);
}

static int handle_make_loops(struct cvmm_vm *handle, struct cvmm_error *err)
{
	while (handle->io_count < handle->config.iothreads) {
		struct io_thread *io = &handle->io[handle->io_count];
		*io = (struct io_thread){ .handle = handle, .loop = loop_new(&clock_host, err) };
		if (!io->loop)
			return -errno;
		handle->io_count++;
	}
	return 0;
}

static int handle_create_parts(struct cvmm_vm *handle, const struct boot_files *files, struct cvmm_error *err)
{
	int ret = backends_open(&handle->backends, &handle->config, err);
	if (ret == 0)
		ret = handle_open_kvm(handle, err);
	if (ret == 0)
		ret = handle_make_loops(handle, err);
	if (ret < 0)
		return ret;
	struct console_owner owner = { .failed = handle_console_failed, .opaque = handle };
	ret = console_open(&handle->console, &handle->config, &handle->escape, handle->io[0].loop, owner, err);
	return ret < 0 ? ret : handle_build(handle, files, err);
}

/* Back to described: accepts any stage. */
static void handle_undo_create(struct cvmm_vm *handle)
{
	handle->log.name = NULL;
	vm_fini(&handle->vm);
	console_free(handle->console);
	while (handle->io_count)
		loop_free(handle->io[--handle->io_count].loop);
	backends_close(&handle->backends);
	cleanup_close(&handle->kvm_fd);
	handle->console = NULL;
	handle->kvm_fd = -1;
}

int cvmm_vm_check(struct cvmm_vm *handle, struct cvmm_error *err)
{
	int ret = config_check(&handle->config, err);
	if (ret == 0)
		ret = arch_check_config(&handle->config, err);
	return ret < 0 ? ret : virtio_devices_check(&handle->config, err);
}

int cvmm_vm_create(struct cvmm_vm *handle, struct cvmm_error *err)
{
	int ret = handle_describing(handle, err);
	if (ret == 0)
		ret = cvmm_vm_check(handle, err);
	if (ret < 0)
		return ret;
	handle->log.name = handle->config.name; /* which stays, from here on */
	struct log *before = log_use(&handle->log);
	struct boot_files files;
	handle->all_left.fn = handle_all_left;
	vm_init(&handle->vm);
	ret = boot_files_open(&files, &handle->config, err);
	if (ret == 0)
		ret = handle_create_parts(handle, &files, err);
	if (ret < 0) {
		handle_undo_create(handle);
	} else {
		char what[64];
		log_info("vm: %s, %u vCPUs, %llu MiB", kernel_image_describe(&files.kernel, what, sizeof(what)),
		         (unsigned)handle->config.cpus, (unsigned long long)handle->config.memory_mib);
		pthread_mutex_lock(&handle->lock);
		handle->built = true;
		handle_set_state(handle, CVMM_CREATED);
		if (handle->stop_requested)
			handle_stop_unstarted(handle);
		pthread_mutex_unlock(&handle->lock);
	}
	boot_files_fini(&files);
	log_use(before);
	return ret;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static void *io_main(void *opaque)
{
	struct io_thread *io = opaque;
	log_use(&io->handle->log);
	loop_run(io->loop);
	return NULL;
}

static int io_thread_start(struct io_thread *io, unsigned index, struct cvmm_error *err)
{
	char name[16] = "cvmm-io";
	sigset_t before;
	thread_block_signals(&before);
	int code = pthread_create(&io->thread, NULL, io_main, io);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code)
		return err_set(err, -code, "cannot make I/O thread %u: %s", index, strerror(code));
	if (index)
		snprintf(name, sizeof(name), "cvmm-io%u", (uint8_t)index);
	pthread_setname_np(io->thread, name);
	return 0;
}

static int handle_start_io(struct cvmm_vm *handle, struct cvmm_error *err)
{
	int ret = handle->io_threads ? 0 : console_start(handle->console, err);
	while (ret == 0 && handle->io_threads < handle->io_count) {
		ret = io_thread_start(&handle->io[handle->io_threads], handle->io_threads, err);
		handle->io_threads += ret == 0;
	}
	return ret;
}

static void handle_stop_io(struct cvmm_vm *handle)
{
	for (unsigned i = 0; i < handle->io_threads; i++)
		loop_stop(handle->io[i].loop);
	while (handle->io_threads)
		pthread_join(handle->io[--handle->io_threads].thread, NULL);
}

/* lock held; a VM of which only some vCPUs could be started is not to be started again */
static int handle_run(struct cvmm_vm *handle, struct cvmm_error *err)
{
	struct cvmm_error error = { 0 };
	int ret = vm_run(&handle->vm, &error);
	if (ret == 0) {
		handle_set_state(handle, CVMM_RUNNING);
		return 0;
	}
	handle->result.end = CVMM_END_ERROR;
	handle->result.error = error;
	handle_publish_end(handle);
	return err_set(err, ret, "%s", error.msg);
}

int cvmm_vm_start(struct cvmm_vm *handle, struct cvmm_error *err)
{
	int ret = cvmm_vm_state(handle) == CVMM_DESCRIBED ? cvmm_vm_create(handle, err) : 0;
	if (ret < 0)
		return ret;
	struct log *before = log_use(&handle->log);
	pthread_mutex_lock(&handle->lock);
	if (handle->state != CVMM_CREATED)
		ret = err_set(err, -EALREADY, "the VM was started, or stopped, before");
	if (ret == 0)
		ret = handle_start_io(handle, err);
	if (ret == 0)
		ret = handle_run(handle, err);
	pthread_mutex_unlock(&handle->lock);
	log_use(before);
	return ret;
}

/* Lock held: wait until a restart, if there is one, is over; 0 when the VM is in @state. */
static int handle_await(struct cvmm_vm *handle, enum cvmm_state state, const char *what, struct cvmm_error *err)
{
	while (handle->state == state && !handle->built)
		pthread_cond_wait(&handle->changed, &handle->lock);
	return handle->state == state ? 0 : err_set(err, -EALREADY, "the VM is not %s", what);
}

int cvmm_vm_pause(struct cvmm_vm *handle, struct cvmm_error *err)
{
	pthread_mutex_lock(&handle->lock);
	int ret = handle_await(handle, CVMM_RUNNING, "running", err);
	if (ret == 0) {
		ret = vm_pause(&handle->vm);
		if (ret < 0)
			err_set(err, ret, "the VM is ending");
		else
			handle_set_state(handle, CVMM_PAUSED);
	}
	pthread_mutex_unlock(&handle->lock);
	return ret;
}

int cvmm_vm_resume(struct cvmm_vm *handle, struct cvmm_error *err)
{
	pthread_mutex_lock(&handle->lock);
	int ret = handle_await(handle, CVMM_PAUSED, "paused", err);
	if (ret == 0) {
		vm_resume(&handle->vm);
		handle_set_state(handle, CVMM_RUNNING);
	}
	pthread_mutex_unlock(&handle->lock);
	return ret;
}

int cvmm_vm_power_button(struct cvmm_vm *handle, struct cvmm_error *err)
{
	struct log *before = log_use(&handle->log);
	pthread_mutex_lock(&handle->lock);
	int ret = handle_await(handle, CVMM_RUNNING, "running", err);
	if (ret == 0)
		arch_press_power_button(&handle->vm);
	pthread_mutex_unlock(&handle->lock);
	log_use(before);
	return ret;
}

void cvmm_vm_stop(struct cvmm_vm *handle)
{
	struct log *before = log_use(&handle->log);
	pthread_mutex_lock(&handle->lock);
	handle->stop_requested = true;
	if (handle->state == CVMM_CREATED)
		handle_stop_unstarted(handle);
	else if (handle->built && (handle->state == CVMM_RUNNING || handle->state == CVMM_PAUSED))
		vm_end(&handle->vm, CVMM_END_STOPPED, NULL);
	pthread_mutex_unlock(&handle->lock);
	log_use(before);
}

static struct timespec deadline_after(int timeout_ms)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += timeout_ms / 1000;
	at.tv_nsec += (timeout_ms % 1000) * 1000000L;
	if (at.tv_nsec >= 1000000000L) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000L;
	}
	return at;
}

/* lock held */
static void handle_fill_result(struct cvmm_vm *handle, struct cvmm_result *result)
{
	*result = handle->result;
	result->exits = handle->exits_before + (handle->built ? count_exits(&handle->vm) : 0);
}

int cvmm_vm_wait(struct cvmm_vm *handle, int timeout_ms, struct cvmm_result *result)
{
	struct timespec deadline = timeout_ms < 0 ? (struct timespec){ 0 } : deadline_after(timeout_ms);
	int ret = 0;
	pthread_mutex_lock(&handle->lock);
	if (handle->state == CVMM_DESCRIBED || handle->state == CVMM_CREATED)
		ret = -EALREADY;
	while (ret == 0 && handle->state != CVMM_ENDED) {
		if (timeout_ms < 0)
			pthread_cond_wait(&handle->changed, &handle->lock);
		else
			ret = -pthread_cond_timedwait(&handle->changed, &handle->lock, &deadline);
	}
	if (handle->state == CVMM_ENDED)
		ret = 0;
	if (ret == 0 && result)
		handle_fill_result(handle, result);
	pthread_mutex_unlock(&handle->lock);
	return ret;
}

enum cvmm_state cvmm_vm_state(struct cvmm_vm *handle)
{
	pthread_mutex_lock(&handle->lock);
	enum cvmm_state state = handle->state;
	pthread_mutex_unlock(&handle->lock);
	return state;
}

void cvmm_vm_result(struct cvmm_vm *handle, struct cvmm_result *result)
{
	pthread_mutex_lock(&handle->lock);
	handle_fill_result(handle, result);
	pthread_mutex_unlock(&handle->lock);
}

int cvmm_vm_event_fd(struct cvmm_vm *handle)
{
	return handle->event_fd;
}

const char *cvmm_vm_console_path(struct cvmm_vm *handle)
{
	return console_path(handle->console);
}

void cvmm_vm_free(struct cvmm_vm *handle)
{
	if (!handle)
		return;
	cvmm_vm_stop(handle);
	cvmm_vm_wait(handle, -1, NULL);
	if (handle->io_threads)
		vm_finish_devices(&handle->vm);
	handle_stop_io(handle);
	if (handle->state != CVMM_DESCRIBED)
		handle_undo_create(handle);
	config_fini(&handle->config);
	close(handle->event_fd);
	free(handle->report);
	pthread_cond_destroy(&handle->changed);
	pthread_mutex_destroy(&handle->lock);
	free(handle);
}
