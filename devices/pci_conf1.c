// SPDX-License-Identifier: Apache-2.0
/* PCI configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2) in front of a bus that has a host bridge and nothing else:
 * what a PC's kernel wants to find before it believes that there is a way into configuration space. */
#include "devices/platform.h"

#include <errno.h>

#include "src/base/util.h"

enum { CONFIG_ADDRESS = 0, CONFIG_DATA = 4 };
enum { ADDRESS_BITS = 0xfffffc, FUNCTION_BITS = 0xffff00, REGISTER_BITS = 0xfc };
#define ENABLE (1u << 31)
enum { VENDOR_DEVICE = 0x00, CLASS_REVISION = 0x08 };
enum { RED_HAT = 0x1b36, GENERIC_BRIDGE = 0x0008, HOST_BRIDGE = 0x060000 };

struct pci_conf1_state {
	uint32_t address;
};

struct pci_conf1 {
	struct device dev;
	struct pci_conf1_state state;
};

/* A register of the bridge, 00:00.0; it has no BARs and nothing to switch on. */
static uint32_t bridge_register(uint32_t reg)
{
	switch (reg) {
	case VENDOR_DEVICE:
		return GENERIC_BRIDGE << 16 | RED_HAT;
	case CLASS_REVISION:
		return HOST_BRIDGE << 8;
	}
	return 0;
}

/* Functions that are not there read as ones. */
static uint32_t config_register(uint32_t address)
{
	if (!(address & ENABLE) || address & FUNCTION_BITS)
		return UINT32_MAX;
	return bridge_register(address & REGISTER_BITS);
}

/* The address register answers to 32-bit accesses alone: what else lies there (0xcf9 on some PCs) is not here. */
static uint64_t pci_conf1_read(struct device *dev, uint64_t off, unsigned size)
{
	const struct pci_conf1 *pci = container_of(dev, struct pci_conf1, dev);
	if (off >= CONFIG_DATA)
		return config_register(pci->state.address) >> 8 * (off - CONFIG_DATA);
	return off == CONFIG_ADDRESS && size == 4 ? pci->state.address : UINT64_MAX;
}

static void pci_conf1_write(struct device *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_conf1 *pci = container_of(dev, struct pci_conf1, dev);
	if (off == CONFIG_ADDRESS && size == 4)
		pci->state.address = (uint32_t)val & (ENABLE | ADDRESS_BITS);
}

static void pci_conf1_reset(struct device *dev)
{
	struct pci_conf1 *pci = container_of(dev, struct pci_conf1, dev);
	pci->state = (struct pci_conf1_state){ 0 };
}

static void pci_conf1_save(const struct device *dev, void *state)
{
	const struct pci_conf1 *pci = container_of(dev, struct pci_conf1, dev);
	memcpy(state, &pci->state, sizeof(pci->state));
}

static int pci_conf1_load(struct device *dev, const void *state)
{
	struct pci_conf1 *pci = container_of(dev, struct pci_conf1, dev);
	struct pci_conf1_state loaded;
	memcpy(&loaded, state, sizeof(loaded));
	if (loaded.address & ~(ENABLE | ADDRESS_BITS))
		return -EINVAL;
	pci->state = loaded;
	return 0;
}

static void pci_conf1_free(struct device *dev)
{
	device_fini(dev);
	free(container_of(dev, struct pci_conf1, dev));
}

static const struct device_ops pci_conf1_ops = {
	.name = "pci",
	.widths = 1 | 2 | 4,
	.read = pci_conf1_read,
	.write = pci_conf1_write,
	.reset = pci_conf1_reset,
	.free = pci_conf1_free,
	.state_size = sizeof(struct pci_conf1_state),
	.save = pci_conf1_save,
	.load = pci_conf1_load,
};

struct device *pci_conf1_new(void)
{
	struct pci_conf1 *pci = calloc(1, sizeof(*pci));
	if (!pci)
		return NULL;
	device_init(&pci->dev, &pci_conf1_ops);
	return &pci->dev;
}
