// SPDX-License-Identifier: Apache-2.0
/* What a guest sees: serial port both ways, CPUs, empty addresses; and what becomes of guests that crash. */
#include "tests/kvm/kvm.h"

#include <stdio.h>
#include <string.h>

static void says_hello(const char *entry)
{
	struct guest guest;
	struct cvmm_result result;
	guest_new(&guest, "hello");
	guest_set(&guest, "entry", entry);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, &result);
	assert_string_equal(guest.output, "hello\n");
	assert_in_range(result.exits, 7, 40); /* a status read and a write for each byte, and the way out */
	assert_null(result.report);
	guest_free(&guest);
}

static void test_entry_by_default(void **state)
{
	says_hello("auto");
}

#if defined(__x86_64__)
static void test_entry_by_the_64_bit_protocol(void **state)
{
	says_hello("linux64");
}

static void test_entry_by_pvh(void **state)
{
	says_hello("pvh");
}
#endif

static void test_input(void **state)
{
	struct guest guest;
	char typed[801], expected[801];
	for (size_t i = 0; i < sizeof(typed) - 1; i++) {
		typed[i] = (char)('a' + i % 26);
		expected[i] = (char)('A' + i % 26);
	}
	typed[sizeof(typed) - 1] = expected[sizeof(typed) - 1] = 0;
	guest_new(&guest, "echo");
	guest_start(&guest);
	guest_expect(&guest, "ready\n");
	guest_type(&guest, typed); /* far more than the receive FIFO holds */
	guest_expect(&guest, expected);
	guest_type(&guest, ".");
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	guest_free(&guest);
}

static void brings_up(unsigned cpus)
{
	struct guest guest;
	char text[32];
	guest_new(&guest, "smp");
	assert_int_equal(cvmm_vm_set_cpus(guest.vm, cpus, NULL), 0);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	snprintf(text, sizeof(text), "started %u, up %u\n", cpus - 1, cpus - 1);
	assert_string_equal(guest.output, text);
	guest_free(&guest);
}

static void test_cpus(void **state)
{
	brings_up(1);
	brings_up(2);
	brings_up(4);
	brings_up(17); /* aarch64: the second cluster */
}

static void test_most_cpus_and_memory(void **state)
{
	struct guest guest;
	guest_new(&guest, "hello");
	guest_set(&guest, "cpus", "254");
	guest_set(&guest, "memory", "5G"); /* on both sides of the 4 GiB line, none of it touched */
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(guest.output, "hello\n");
	guest_free(&guest);
}

static void test_empty_addresses_float(void **state)
{
	struct guest guest;
	guest_new(&guest, "wild");
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(guest.output, "floats\n");
	guest_free(&guest);
}

#if defined(__aarch64__)
static void test_odd_loads_abort(void **state)
{
	struct guest guest;
	guest_new(&guest, "oddload");
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	assert_string_equal(guest.output, "aborted\n");
	guest_free(&guest);
}
#endif

#if defined(__x86_64__)
static void crashes(const char *name, const char *last_words, const char *why)
{
	struct guest guest;
	struct cvmm_result result;
	guest_new(&guest, name);
	guest_start(&guest);
	guest_ends(&guest, CVMM_END_CRASH, &result);
	assert_string_equal(guest.output, last_words); /* nothing it said is lost */
	assert_non_null(strstr(result.error.msg, why));
	assert_non_null(strstr(result.report, why));
	assert_non_null(strstr(result.report, "rip"));
	assert_non_null(strstr(result.report, "last exits of vCPU 0:"));
	assert_non_null(strstr(result.report, "port write 1 bytes at 0x3f8: 0xa\n"));
	guest_free(&guest);
}

static void test_triple_fault(void **state)
{
	crashes("triple", "faulting\n", "triple fault");
}

static void test_wild_jump(void **state)
{
	crashes("wildjump", "jumping\n", "vCPU 0: ");
}

/* The guest checks it all: kicks by ioeventfd and by register, rings, the irqfd as far as the local APIC. */
static void test_every_form_of_ring(void **state)
{
	static const char *const threads[] = { "1", "3" };
	for (size_t i = 0; i < 2; i++) {
		struct guest guest;
		struct cvmm_result result;
		guest_new(&guest, "rings");
		guest_set(&guest, "iothreads", threads[i]);
		const char *keys = i ? "packed=on,in-order=on,notification-data=on,ring-reset=on,iothread=2"
		                     : "packed=on,in-order=on,notification-data=on,ring-reset=on";
		assert_int_equal(cvmm_vm_add(guest.vm, "rng", keys, NULL), 0);
		guest_start(&guest);
		guest_ends(&guest, CVMM_END_POWER_OFF, &result);
		assert_string_equal(guest.output, "interrupt\n32 forms\nreset\n");
		guest_free(&guest);
	}
}

static void test_power_button(void **state)
{
	struct guest guest;
	guest_new(&guest, "button");
	guest_start(&guest);
	guest_expect(&guest, "waiting\n");
	assert_int_equal(cvmm_vm_power_button(guest.vm, NULL), 0);
	guest_expect(&guest, "pressed\n");
	guest_ends(&guest, CVMM_END_POWER_OFF, NULL);
	guest_free(&guest);
}
#endif

int main(void)
{
	skip_without_kvm();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry_by_default),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_most_cpus_and_memory),
		cmocka_unit_test(test_empty_addresses_float),
#if defined(__aarch64__)
		cmocka_unit_test(test_odd_loads_abort),
#endif
#if defined(__x86_64__)
		cmocka_unit_test(test_entry_by_the_64_bit_protocol),
		cmocka_unit_test(test_entry_by_pvh),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_wild_jump),
		cmocka_unit_test(test_power_button),
		cmocka_unit_test(test_every_form_of_ring),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
