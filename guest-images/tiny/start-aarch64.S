/* SPDX-License-Identifier: Apache-2.0 */
/* Entry of a tiny guest on aarch64: an Image (Documentation/arch/arm64/booting.rst), MMU off, EL1. */
	.section .head, "ax"
	.globl	_start
_start:
	b	1f
	.long	0
	.quad	0			/* text_offset */
	.quad	image_size
	.quad	0xa			/* little endian, 4 KiB pages, anywhere */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0
1:	adr	x1, stack_top
	mov	sp, x1
	bl	tiny_main
	bl	power_off

	.text
	.globl	cpu_entry
cpu_entry:				/* X0: where to count; plain stores, since exclusives need the MMU */
	mov	w1, #1
	str	w1, [x0]
	dsb	sy
2:	wfi
	b	2b

	.bss
	.align	4
	.skip	16384
stack_top:

	.section .note.GNU-stack, "", @progbits
