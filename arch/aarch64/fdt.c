// SPDX-License-Identifier: Apache-2.0
#include "arch/aarch64/fdt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <libfdt.h>

#include "arch/aarch64/layout.h"
#include "src/base/util.h"

enum { PHANDLE_GIC = 1, PHANDLE_CLOCK, PHANDLE_ITS };
enum { GIC_SPI = 0, GIC_PPI = 1, EDGE_RISING = 1, LEVEL_HIGH = 4 }; /* cells of the "arm,gic" interrupt specifiers */
enum { NODE_NAME_MAX = 32 };
#define MPIDR_AFFINITY 0xff00ffffffull /* Aff3..Aff0; the rest are flags */

/* A blob being written. The first failure stays and turns what follows into nothing, so that only the end looks. */
struct writer {
	void *buf;
	int ret; /* 0 or -FDT_ERR_* */
};

static void node(struct writer *w, const char *name)
{
	if (!w->ret)
		w->ret = fdt_begin_node(w->buf, name);
}

static void node_at(struct writer *w, const char *name, uint64_t address)
{
	char full[NODE_NAME_MAX];
	snprintf(full, sizeof(full), "%s@%" PRIx64, name, address);
	node(w, full);
}

static void end_node(struct writer *w)
{
	if (!w->ret)
		w->ret = fdt_end_node(w->buf);
}

static void prop(struct writer *w, const char *name, const void *value, size_t len)
{
	if (!w->ret)
		w->ret = fdt_property(w->buf, name, value, (int)len);
}

static void prop_flag(struct writer *w, const char *name)
{
	prop(w, name, NULL, 0);
}

static void prop_string(struct writer *w, const char *name, const char *value)
{
	prop(w, name, value, strlen(value) + 1);
}

/* A string literal of several strings, "a\0b": its own terminator ends the last. */
#define prop_strings(w, name, literal) prop(w, name, literal, sizeof(literal))

static void prop_cells(struct writer *w, const char *name, const uint32_t *cells, size_t count)
{
	fdt32_t be[16];
	if (count > ARRAY_SIZE(be))
		w->ret = w->ret ? w->ret : -FDT_ERR_INTERNAL;
	for (size_t i = 0; i < count && i < ARRAY_SIZE(be); i++)
		be[i] = cpu_to_fdt32(cells[i]);
	prop(w, name, be, count * sizeof(be[0]));
}

#define PROP_CELLS(w, name, ...)                                                                                       \
	prop_cells(w, name, (const uint32_t[]){ __VA_ARGS__ }, ARRAY_SIZE(((const uint32_t[]){ __VA_ARGS__ })))
#define CELLS64(value) (uint32_t)((uint64_t)(value) >> 32), (uint32_t)(value)

static void prop_u64(struct writer *w, const char *name, uint64_t value)
{
	PROP_CELLS(w, name, CELLS64(value));
}

/* The devices' nodes: what the bindings want of each kind. */
struct device_kind {
	const char *node;
	const char *compatible;
	size_t compatible_len;
	const char *clock_names; /* NULL: no clocks */
	size_t clock_names_len;
	unsigned clocks;
	uint32_t trigger; /* of its interrupt */
	bool dma; /* reads and writes memory, coherently: without saying so Linux would bypass its caches */
};

/* clang-format off */
static const struct device_kind device_kinds[] = {
#define STRINGS(field, literal) .field = (literal), .field##_len = sizeof(literal)
	[FDT_PL011] = { .node = "serial", STRINGS(compatible, "arm,pl011\0arm,primecell"), .clocks = 2, .trigger = LEVEL_HIGH,
	                STRINGS(clock_names, "uartclk\0apb_pclk") },
	[FDT_PL031] = { .node = "rtc", STRINGS(compatible, "arm,pl031\0arm,primecell"), .clocks = 1, .trigger = LEVEL_HIGH,
	                STRINGS(clock_names, "apb_pclk") },
	[FDT_VIRTIO_MMIO] = { .node = "virtio_mmio", STRINGS(compatible, "virtio,mmio"), .trigger = EDGE_RISING, .dma = true },
#undef STRINGS
};
/* clang-format on */

static void write_device(struct writer *w, const struct fdt_device *dev)
{
	static const uint32_t clocks[] = { PHANDLE_CLOCK, PHANDLE_CLOCK };
	const struct device_kind *kind = &device_kinds[dev->kind];
	node_at(w, kind->node, dev->base);
	prop(w, "compatible", kind->compatible, kind->compatible_len);
	PROP_CELLS(w, "reg", CELLS64(dev->base), CELLS64(dev->size));
	PROP_CELLS(w, "interrupts", GIC_SPI, dev->spi, kind->trigger);
	if (kind->clocks) {
		prop_cells(w, "clocks", clocks, kind->clocks);
		prop(w, "clock-names", kind->clock_names, kind->clock_names_len);
	}
	if (kind->dma)
		prop_flag(w, "dma-coherent");
	end_node(w);
}

/* Where the kernel's console is: the path of the first UART. */
static const char *console_path(const struct fdt_machine *machine, char *path, size_t size)
{
	for (unsigned i = 0; i < machine->device_count; i++) {
		const struct fdt_device *dev = &machine->devices[i];
		if (dev->kind != FDT_PL011)
			continue;
		snprintf(path, size, "/%s@%" PRIx64, device_kinds[dev->kind].node, dev->base);
		return path;
	}
	return NULL;
}

static void write_chosen(struct writer *w, const struct fdt_machine *machine)
{
	char path[NODE_NAME_MAX];
	const char *console = console_path(machine, path, sizeof(path));
	if (console) {
		node(w, "aliases");
		prop_string(w, "serial0", console);
		end_node(w);
	}
	node(w, "chosen");
	prop_string(w, "bootargs", machine->cmdline);
	if (console)
		prop_string(w, "stdout-path", console);
	if (machine->initrd_len) {
		prop_u64(w, "linux,initrd-start", machine->initrd);
		prop_u64(w, "linux,initrd-end", machine->initrd + machine->initrd_len);
	}
	prop(w, "rng-seed", machine->rng_seed, sizeof(machine->rng_seed));
	if (machine->kaslr_seed)
		prop_u64(w, "kaslr-seed", machine->kaslr_seed);
	end_node(w);
}

static void write_memory(struct writer *w, const struct fdt_machine *machine)
{
	node_at(w, "memory", machine->ram_base);
	prop_string(w, "device_type", "memory");
	PROP_CELLS(w, "reg", CELLS64(machine->ram_base), CELLS64(machine->ram_size));
	end_node(w);
}

/* No cpu-map: without one Linux takes all for cores of one package, which is what they are. */
static void write_cpus(struct writer *w, const struct fdt_machine *machine)
{
	node(w, "cpus");
	PROP_CELLS(w, "#address-cells", 2);
	PROP_CELLS(w, "#size-cells", 0);
	for (unsigned i = 0; i < machine->vcpus; i++) {
		uint64_t affinity = machine->mpidr[i] & MPIDR_AFFINITY;
		node_at(w, "cpu", affinity);
		prop_string(w, "device_type", "cpu");
		prop_string(w, "compatible", "arm,armv8");
		PROP_CELLS(w, "reg", CELLS64(affinity));
		prop_string(w, "enable-method", "psci");
		end_node(w);
	}
	end_node(w);
}

static void write_psci(struct writer *w)
{
	node(w, "psci");
	prop_strings(w, "compatible", "arm,psci-1.0\0arm,psci-0.2");
	prop_string(w, "method", "hvc");
	end_node(w);
}

static void write_timer(struct writer *w)
{
	node(w, "timer");
	prop_string(w, "compatible", "arm,armv8-timer");
	PROP_CELLS(w, "interrupts", GIC_PPI, PPI_TIMER_SECURE, LEVEL_HIGH, GIC_PPI, PPI_TIMER_PHYS, LEVEL_HIGH, GIC_PPI,
	           PPI_TIMER_VIRT, LEVEL_HIGH, GIC_PPI, PPI_TIMER_HYP, LEVEL_HIGH);
	prop_flag(w, "always-on"); /* it ticks while a vCPU sleeps: no broadcast timer is needed */
	end_node(w);
}

static void write_pmu(struct writer *w)
{
	node(w, "pmu");
	prop_string(w, "compatible", "arm,armv8-pmuv3");
	PROP_CELLS(w, "interrupts", GIC_PPI, PPI_PMU, LEVEL_HIGH);
	end_node(w);
}

static void write_its(struct writer *w)
{
	node_at(w, "msi-controller", ITS_BASE);
	prop_string(w, "compatible", "arm,gic-v3-its");
	prop_flag(w, "msi-controller");
	PROP_CELLS(w, "#msi-cells", 1);
	PROP_CELLS(w, "reg", CELLS64(ITS_BASE), CELLS64(ITS_SIZE));
	PROP_CELLS(w, "phandle", PHANDLE_ITS);
	end_node(w);
}

/* No maintenance interrupt: that belongs to EL2, which these vCPUs lack. */
static void write_gic(struct writer *w, const struct fdt_machine *machine)
{
	bool v3 = machine->gic == FDT_GIC_V3;
	node_at(w, "interrupt-controller", GICD_BASE);
	prop_flag(w, "interrupt-controller");
	PROP_CELLS(w, "#interrupt-cells", 3);
	PROP_CELLS(w, "#address-cells", 2);
	PROP_CELLS(w, "#size-cells", 2);
	prop_flag(w, "ranges");
	PROP_CELLS(w, "phandle", PHANDLE_GIC);
	if (v3) {
		prop_string(w, "compatible", "arm,gic-v3");
		PROP_CELLS(w, "reg", CELLS64(GICD_BASE), CELLS64(GICD_SIZE), CELLS64(GICR_BASE),
		           CELLS64((uint64_t)GICR_SIZE * machine->vcpus));
	} else {
		prop_string(w, "compatible", "arm,gic-400");
		PROP_CELLS(w, "reg", CELLS64(GICD_BASE), CELLS64(GICD_V2_SIZE), CELLS64(GICC_BASE), CELLS64(GICC_SIZE));
	}
	if (v3 && machine->its)
		write_its(w);
	end_node(w);
}

static void write_clock(struct writer *w)
{
	node(w, "apb-pclk"); /* what the PrimeCells are nominally clocked by */
	prop_string(w, "compatible", "fixed-clock");
	PROP_CELLS(w, "#clock-cells", 0);
	PROP_CELLS(w, "clock-frequency", 24000000);
	prop_string(w, "clock-output-names", "clk24mhz");
	PROP_CELLS(w, "phandle", PHANDLE_CLOCK);
	end_node(w);
}

static void write_root(struct writer *w, const struct fdt_machine *machine)
{
	node(w, "");
	prop_string(w, "compatible", "linux,dummy-virt");
	prop_string(w, "model", "cvmm");
	PROP_CELLS(w, "#address-cells", 2);
	PROP_CELLS(w, "#size-cells", 2);
	PROP_CELLS(w, "interrupt-parent", PHANDLE_GIC);
	write_chosen(w, machine);
	write_memory(w, machine);
	write_cpus(w, machine);
	write_psci(w);
	write_timer(w);
	if (machine->pmu)
		write_pmu(w);
	write_gic(w, machine);
	write_clock(w);
	for (unsigned i = 0; i < machine->device_count; i++)
		write_device(w, &machine->devices[i]);
	end_node(w);
}

int fdt_build(const struct fdt_machine *machine, void *buf, size_t size, size_t *len, struct cvmm_error *err)
{
	struct writer w = { .buf = buf };
	w.ret = fdt_create(buf, (int)MIN(size, (size_t)INT32_MAX));
	if (!w.ret)
		w.ret = fdt_finish_reservemap(buf);
	write_root(&w, machine);
	if (!w.ret)
		w.ret = fdt_finish(buf);
	if (w.ret)
		return err_set(err, w.ret == -FDT_ERR_NOSPACE ? -ENOSPC : -EINVAL, "device tree: %s",
		               fdt_strerror(w.ret));
	*len = fdt_totalsize(buf);
	return 0;
}
