/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cvmm.h - libcvmm: run virtual machines on Linux KVM.
 *
 * One handle, struct cvmm_vm, lives through: described (set, load), created, running or paused, ended. Every function
 * returns: the library never exits, never prints, takes no signal disposition and no terminal mode, and keeps no state
 * outside the handle, so that any number of VMs run in one process.
 *
 * Threads: functions on different handles may be called at once from any thread. On one handle, those that describe it
 * (set, get, load, check, create, start) are called from one thread at a time; the others from any thread at any time
 * while the handle lives. cvmm_vm_free() is the last call, with no other under way. Callbacks: that of the console's
 * escape may call what any thread may, but neither wait nor free; that of the log runs with locks held and may call
 * nothing on its own VM. The library sends SIGRTMAX to its own vCPU threads, where it is blocked outside KVM_RUN;
 * nothing is installed for it.
 *
 * Errors: functions return 0 (or a count) or a negative errno; those that take a struct cvmm_error also say in words
 * what failed. -EINVAL: the caller's description; -ERANGE: a value outside its option's range; -ENOENT: an unknown
 * option; -ENOEXEC: a malformed image; -EOPNOTSUPP: the host lacks it; -EALREADY: wrong state.
 */
#ifndef CVMM_H
#define CVMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CVMM_API __attribute__((visibility("default")))
#else
#define CVMM_API
#endif

/** The library's version, "major.minor.patch"; static, never NULL. */
CVMM_API const char *cvmm_version(void);

/** The architecture of the guests this build runs: "x86_64" or "aarch64"; static. */
CVMM_API const char *cvmm_arch(void);

/** What failed, in words. Owned by the caller, nothing to free; untouched on success. */
struct cvmm_error {
	int code;      /* the negative errno that the call returned */
	char msg[252]; /* one line, no newline: "kernel bzImage: open: No such file or directory" */
};

/* ---- options: one table behind the API, the JSON file and the command line ------------------------------------- */

enum cvmm_option_type {
	CVMM_OPTION_STRING,
	CVMM_OPTION_PATH,   /* a file name */
	CVMM_OPTION_NUMBER, /* decimal, between min and max */
	CVMM_OPTION_SIZE,   /* bytes with a suffix K, M, G or T; a bare number is MiB; min and max are in MiB */
	CVMM_OPTION_BOOL,   /* on|off, in JSON true|false */
	CVMM_OPTION_CHOICE, /* one of choices */
	CVMM_OPTION_DEVICE, /* keys of a device, for cvmm_vm_add() */
};

/** One option of a VM: the name is the JSON key, and with "--" in front the command-line option. */
struct cvmm_option {
	const char *name;
	enum cvmm_option_type type;
	const char *metavar; /* how help calls the value: "FILE", "N", "SIZE" */
	const char *choices; /* CHOICE: "a|b|c"; STRING: the forms it takes, for help and completion; else NULL */
	const char *preset;  /* the default as the user would write it; NULL: none */
	const char *help;    /* one sentence, no full stop */
	uint64_t min, max;   /* NUMBER, SIZE: inclusive; STRING: its length in bytes, max 0: any */
	size_t field;        /* the library's own: where it keeps the value */
};

/** The table of options; static. @count receives its length. */
CVMM_API const struct cvmm_option *cvmm_options(size_t *count);

/**
 * The kinds of devices that can be added, "disk" and others; static. @count receives how many. Names are JSON keys and
 * command-line options as those of cvmm_options() are.
 */
CVMM_API const struct cvmm_option *cvmm_device_kinds(size_t *count);
/** The table of the keys of @kind's devices; static; NULL: no such kind. @count receives its length. */
CVMM_API const struct cvmm_option *cvmm_device_options(const char *kind, size_t *count);

/* ---- description ------------------------------------------------------------------------------------------------ */

struct cvmm_vm;

/** A new VM with every option at its default; NULL, with errno, when out of memory or descriptors. Free with
 * cvmm_vm_free(). */
CVMM_API struct cvmm_vm *cvmm_vm_new(void);

/**
 * Free a VM in any state: stops its vCPUs, waits for its threads, gives back memory, files and sockets. NULL is
 * welcome. Not from a callback.
 */
CVMM_API void cvmm_vm_free(struct cvmm_vm *vm);

/**
 * Set one option from text, as on the command line.
 * @name:   from cvmm_options(), without "--". @value: its text; copied.
 * Returns 0; -ENOENT: no such option; -ERANGE or -EINVAL: not a value of it; -EALREADY: the VM was created.
 * The VM is unchanged on failure.
 */
CVMM_API int cvmm_vm_set(struct cvmm_vm *vm, const char *name, const char *value, struct cvmm_error *err);

/**
 * Add a device, after those that were added before.
 * @kind: from cvmm_device_kinds(). @keys: as on the command line, "path=a.img,readonly,queues=2"; a comma in a value is
 * written twice, a key that is on or off may stand alone for on; "": all at their defaults. Copied.
 * Returns 0; -ENOENT: no such kind; -EINVAL or -ERANGE: a wrong key or value; -EALREADY: the VM was created.
 * The VM is unchanged on failure.
 */
CVMM_API int cvmm_vm_add(struct cvmm_vm *vm, const char *kind, const char *keys, struct cvmm_error *err);

/**
 * The value of one option as text that cvmm_vm_set() would take; an option without a value is "".
 * @buf:   receives the text, cut to @size bytes with its NUL.
 * Returns the whole text's length, as snprintf() does; -ENOENT: no such option.
 */
CVMM_API int cvmm_vm_get(struct cvmm_vm *vm, const char *name, char *buf, size_t size);

/**
 * Set the options named in a JSON object: {"kernel": "bzImage", "cpus": 4, "memory": "1G"}. A "cmdline" array of
 * strings is joined with spaces. Devices are added: {"disk": [{"path": "a.img", "readonly": true}], "rng": {}}. The object is in the file @path, or in the @len bytes at @text. Errors name the line,
 * or the key.
 * Returns 0; -EINVAL: not JSON, or a wrong key or type; -ERANGE; another negative errno: the file cannot be read;
 * -EALREADY: the VM was created. The VM is unchanged on failure.
 */
CVMM_API int cvmm_vm_load_config(struct cvmm_vm *vm, const char *path, struct cvmm_error *err);
CVMM_API int cvmm_vm_load_config_text(struct cvmm_vm *vm, const char *text, size_t len, struct cvmm_error *err);

/**
 * The same by type. Each copies what it is given, returns as cvmm_vm_set() does, and is to be called before
 * cvmm_vm_create(). File descriptors are duplicated: the caller keeps and closes its own. The kernel's file is mapped
 * while the VM is created or restarted: whoever truncates it at that moment ends the process by SIGBUS.
 * @mib: size in MiB, 1 to 1048576; backed by anonymous memory that is touched lazily.
 */
CVMM_API int cvmm_vm_set_memory(struct cvmm_vm *vm, uint64_t mib, struct cvmm_error *err);
CVMM_API int cvmm_vm_set_cpus(struct cvmm_vm *vm, unsigned cpus, struct cvmm_error *err);
CVMM_API int cvmm_vm_set_kernel_fd(struct cvmm_vm *vm, int fd, struct cvmm_error *err);
CVMM_API int cvmm_vm_set_initrd_fd(struct cvmm_vm *vm, int fd, struct cvmm_error *err);
/** /dev/kvm, already open (a jailed caller's); without it the library opens it. */
CVMM_API int cvmm_vm_set_kvm_fd(struct cvmm_vm *vm, int fd, struct cvmm_error *err);
/** The serial console on two descriptors, whatever the option "console" says: @in_fd is read (-1: no input), @out_fd
 * written (-1: output is dropped). */
CVMM_API int cvmm_vm_set_console_fds(struct cvmm_vm *vm, int in_fd, int out_fd, struct cvmm_error *err);

/**
 * Watch console input for an escape character (1 to 31, e.g. 1 for Ctrl-A; 0: none). The byte after it is not given to
 * the guest but to @fn, on the I/O thread; the escape character twice sends it once to the guest.
 */
CVMM_API int cvmm_vm_set_console_escape(struct cvmm_vm *vm, unsigned char escape, void (*fn)(void *opaque, char key),
                                        void *opaque, struct cvmm_error *err);

/* ---- log -------------------------------------------------------------------------------------------------------- */

enum cvmm_log_level { CVMM_LOG_ERROR, CVMM_LOG_WARN, CVMM_LOG_INFO, CVMM_LOG_DEBUG };

/**
 * Receive this VM's log lines up to @level. @fn is called from any of the VM's threads, several at once, with one line
 * without a newline, in which control characters are replaced and which begins with the VM's name if it has one. What a
 * guest can provoke comes at most ten times a second. @fn may call nothing on the same VM, and should
 * not take long: a vCPU may be waiting. Silent until set. Before cvmm_vm_create().
 */
CVMM_API int cvmm_vm_set_log(struct cvmm_vm *vm, enum cvmm_log_level level,
                             void (*fn)(void *opaque, enum cvmm_log_level level, const char *line), void *opaque,
                             struct cvmm_error *err);

/* ---- life ------------------------------------------------------------------------------------------------------- */

enum cvmm_state {
	CVMM_DESCRIBED, /* being set */
	CVMM_CREATED,   /* built, loaded; vCPUs have not run */
	CVMM_RUNNING,
	CVMM_PAUSED,
	CVMM_ENDED, /* will not run again: see cvmm_vm_result() */
};

/** Why a VM ended. */
enum cvmm_end {
	CVMM_END_NONE,      /* it has not */
	CVMM_END_POWER_OFF, /* the guest powered off */
	CVMM_END_RESET,     /* the guest asked for a reset and the option on-reset is "stop" */
	CVMM_END_CRASH,     /* triple fault, KVM internal error, or no way to run on: result.report says more */
	CVMM_END_STOPPED,   /* cvmm_vm_stop() */
	CVMM_END_ERROR,     /* the host failed the VM: result.error says how */
};

struct cvmm_result {
	enum cvmm_end end;
	struct cvmm_error error; /* ERROR and CRASH: one line */
	const char *report;      /* CRASH: registers and last exits, many lines; lives as long as the VM; else NULL */
	uint64_t exits;          /* exits of all vCPUs to user space so far */
	uint64_t resets;         /* times the guest was restarted */
};

/**
 * Check the description as far as it can be without the host and the files: what cvmm_vm_create() does first.
 * Returns 0; -EINVAL: an option that is needed is missing, is not for this architecture, or contradicts another.
 */
CVMM_API int cvmm_vm_check(struct cvmm_vm *vm, struct cvmm_error *err);

/**
 * Check the whole description, then build the VM: KVM objects, memory, devices, kernel, tables. Nothing runs yet.
 * Returns 0; -EINVAL, -ERANGE: the description; -ENOEXEC: kernel malformed; -EOPNOTSUPP: the host lacks something;
 * other negative errno. On failure the VM is back in CVMM_DESCRIBED. Source: KVM api.rst.
 */
CVMM_API int cvmm_vm_create(struct cvmm_vm *vm, struct cvmm_error *err);

/**
 * Run the vCPUs, creating the VM first if that was not done. Returns at once. -EALREADY: it was started, or stopped,
 * before; else as cvmm_vm_create(), and when a thread cannot be made the VM may have ended (CVMM_END_ERROR).
 */
CVMM_API int cvmm_vm_start(struct cvmm_vm *vm, struct cvmm_error *err);

/** Hold all vCPUs; returns when none runs guest code. -EALREADY: not running, or about to end or to be restarted. */
CVMM_API int cvmm_vm_pause(struct cvmm_vm *vm, struct cvmm_error *err);
/** Let held vCPUs go on. -EALREADY: not paused. */
CVMM_API int cvmm_vm_resume(struct cvmm_vm *vm, struct cvmm_error *err);

/** Press the guest's power button; the guest may obey, late or never. -EALREADY: not running. */
CVMM_API int cvmm_vm_power_button(struct cvmm_vm *vm, struct cvmm_error *err);

/** End the VM whatever the guest does; does not wait for it. Before create or start: it will not run. A VM that ended
 * stays as it is. */
CVMM_API void cvmm_vm_stop(struct cvmm_vm *vm);

/**
 * Wait until the VM has ended and its console output is written; output that nobody takes for two seconds after the
 * guest's end is an error of a VM that ended well (CVMM_END_ERROR), unless the console is a pty or a socket.
 * @timeout_ms: at most so long; negative: no limit.
 * Returns 0 and fills @result (may be NULL); -ETIMEDOUT; -EALREADY: it was not started.
 */
CVMM_API int cvmm_vm_wait(struct cvmm_vm *vm, int timeout_ms, struct cvmm_result *result);

/** Where the VM is in its life, and how it ended if it did. */
CVMM_API enum cvmm_state cvmm_vm_state(struct cvmm_vm *vm);
CVMM_API void cvmm_vm_result(struct cvmm_vm *vm, struct cvmm_result *result);

/**
 * An eventfd that becomes readable at each change of state; read 8 bytes to clear it. Owned by the VM: do not close.
 * Valid from cvmm_vm_new() on.
 */
CVMM_API int cvmm_vm_event_fd(struct cvmm_vm *vm);

/** Where the console is: the pty's name for console=pty, the socket's for unix=; NULL otherwise. After create. */
CVMM_API const char *cvmm_vm_console_path(struct cvmm_vm *vm);

/* ---- doctor ----------------------------------------------------------------------------------------------------- */

enum cvmm_check_status { CVMM_CHECK_OK, CVMM_CHECK_NOTE, CVMM_CHECK_FAIL };

/** One finding about this host. */
struct cvmm_check {
	char name[32]; /* stable, for programs: "kvm-device", "cap-irqfd", "guest-speed" */
	char kind[16]; /* "required", "optional" or "info" */
	enum cvmm_check_status status;
	char message[200]; /* what was found and, if bad, what to do; one line */
};

enum cvmm_kvm_speed { CVMM_KVM_UNKNOWN, CVMM_KVM_NATIVE, CVMM_KVM_EMULATED };

struct cvmm_doctor {
	bool good;                 /* a Linux guest can be expected to boot well */
	enum cvmm_kvm_speed speed; /* how guest kernel code runs */
	uint64_t kernel_ips;       /* guest kernel-mode instructions a second, measured; 0: not measured */
	size_t count;
	struct cvmm_check checks[64];
};

/**
 * Examine this host: /dev/kvm and why it cannot be opened, each capability cvmm uses, and a timed micro guest.
 * Takes under a second. Returns 0 when the examination was made, whatever it found; a negative errno when it was not.
 */
CVMM_API int cvmm_doctor_examine(struct cvmm_doctor *doctor, struct cvmm_error *err);

/* ---- zoned disks in files --------------------------------------------------------------------------------------- */

/* Numbers as in virtio (1.3, 5.2.6.2), NVMe ZNS and Linux. */
enum cvmm_zone_model { CVMM_ZONE_HOST_MANAGED = 1, CVMM_ZONE_HOST_AWARE = 2 };

enum cvmm_zone_type { CVMM_ZONE_CONVENTIONAL = 1, CVMM_ZONE_WRITE_REQUIRED = 2, CVMM_ZONE_WRITE_PREFERRED = 3 };

enum cvmm_zone_state {
	CVMM_ZONE_NOT_WP = 0, /* a conventional zone */
	CVMM_ZONE_EMPTY = 1,
	CVMM_ZONE_IMPLICIT_OPEN = 2,
	CVMM_ZONE_EXPLICIT_OPEN = 3,
	CVMM_ZONE_CLOSED = 4,
	CVMM_ZONE_READ_ONLY = 13,
	CVMM_ZONE_FULL = 14,
	CVMM_ZONE_OFFLINE = 15,
};

/** What a zoned disk is like; bytes and numbers of zones. */
struct cvmm_zone_layout {
	enum cvmm_zone_model model;
	uint64_t size;                 /* of the disk; a multiple of block_size; the last zone may be smaller */
	uint64_t zone_size;            /* a power of two, 64 KiB to 1 TiB */
	uint64_t zone_capacity;        /* what of a zone can be written; host-aware: zone_size */
	uint32_t conventional;         /* so many zones at the start have no write pointer */
	uint32_t max_open, max_active; /* zones; 0: no limit; host-aware: 0 */
	uint32_t max_append;           /* bytes; 0: no zone append; host-aware: 0 */
	uint32_t block_size;           /* 512 or 4096 */
};

/** One zone; bytes from the start of the disk. */
struct cvmm_zone {
	uint64_t start, len, capacity;
	uint64_t wp; /* where the next write goes; start + len for a zone that has none */
	enum cvmm_zone_type type;
	enum cvmm_zone_state state;
};

/** "host-managed", "empty", ...: static, "?" for what is none. */
CVMM_API const char *cvmm_zone_model_name(enum cvmm_zone_model model);
CVMM_API const char *cvmm_zone_type_name(enum cvmm_zone_type type);
CVMM_API const char *cvmm_zone_state_name(enum cvmm_zone_state state);

/**
 * Make the file @path a zoned disk, all of whose zones are empty. It takes only the room that is written to.
 * @force: overwrite a file that is not empty; without, that is -EEXIST.
 * Returns 0; -EINVAL: @layout is none; -EWOULDBLOCK: the file is in use; another negative errno.
 * Format: docs/zoned-format.md.
 */
CVMM_API int cvmm_zone_format(const char *path, const struct cvmm_zone_layout *layout, bool force,
                              struct cvmm_error *err);

/**
 * Tell of a zoned file, also one in use: then as of its last flush.
 * @layout: receives what it is like; may be NULL. It is filled in before @fn is called.
 * @fn:     called with zones @first to @first + @count - 1, those that exist, until it returns other than 0; may be NULL.
 * Returns 0, or what @fn returned; -ENOEXEC: not a zoned file, or damaged; another negative errno.
 */
CVMM_API int cvmm_zone_report(const char *path, struct cvmm_zone_layout *layout, uint32_t first, uint32_t count,
                              int (*fn)(void *opaque, const struct cvmm_zone *zone), void *opaque,
                              struct cvmm_error *err);

/**
 * Reset zones @first to @first + @count - 1 of a file that is not in use; @count 0: all that can be, as a guest does.
 * Returns 0; -EINVAL: no such zones, or one of them, which is named, cannot be reset: nothing was; -EWOULDBLOCK: in use;
 * -ENOEXEC; another negative errno.
 */
CVMM_API int cvmm_zone_reset(const char *path, uint32_t first, uint32_t count, struct cvmm_error *err);

/**
 * Make zones fail: CVMM_ZONE_READ_ONLY or CVMM_ZONE_OFFLINE, of a file that is not in use. CVMM_ZONE_NOT_WP takes that
 * back: a zone is then what its write pointer says.
 * Returns as cvmm_zone_reset() does; @count is at least 1.
 */
CVMM_API int cvmm_zone_set_state(const char *path, uint32_t first, uint32_t count, enum cvmm_zone_state state,
                                 struct cvmm_error *err);

#ifdef __cplusplus
}
#endif
#endif
