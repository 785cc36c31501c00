/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry of a tiny guest on x86_64: by the 64-bit boot protocol (RSI: zero page) or by PVH (EBX: start_info, 32-bit,
 * paging off). Both end in tiny_main() in long mode with the first 4 GiB mapped to themselves. Then the trampoline by
 * which other CPUs come up; it is copied to TRAMPOLINE_GPA.
 */
#define TRAMPOLINE_GPA 0x10000

	.section .note.Xen, "a", @note
	.long	4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	pvh_entry

	.text
	.code64
	.globl	_start
_start:
	mov	0x70(%rsi), %rax	/* zero page: acpi_rsdp_addr */
	mov	%rax, rsdp_gpa(%rip)
	mov	%cr3, %rax
	mov	%rax, page_tables(%rip)
	lea	stack_top(%rip), %rsp
	call	tiny_main
	call	power_off

	.code32
pvh_entry:
	mov	32(%ebx), %eax		/* start_info: rsdp_paddr */
	mov	%eax, rsdp_gpa
	mov	$stack_top, %esp
	/* 2048 pages of 2 MiB */
	mov	$own_pds, %edi
	mov	$0x83, %eax
1:	mov	%eax, (%edi)
	add	$0x200000, %eax
	add	$8, %edi
	cmp	$own_pds + 4 * 4096, %edi
	jne	1b
	mov	$own_pds + 3, %eax
	mov	%eax, own_pdpt
	add	$0x1000, %eax
	mov	%eax, own_pdpt + 8
	add	$0x1000, %eax
	mov	%eax, own_pdpt + 16
	add	$0x1000, %eax
	mov	%eax, own_pdpt + 24
	movl	$own_pdpt + 3, own_pml4
	mov	$own_pml4, %eax
	mov	%eax, page_tables
	call	enter_long_mode
	ljmp	$0x08, $1f
	.code64
1:	lea	stack_top(%rip), %rsp
	call	tiny_main
	call	power_off

	.code32
enter_long_mode:			/* EAX: page tables */
	mov	%eax, %cr3
	mov	%cr4, %eax
	or	$0x20, %eax		/* PAE */
	mov	%eax, %cr4
	mov	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	or	$0x100, %eax
	wrmsr
	lgdt	gdt_pointer
	mov	%cr0, %eax
	or	$0x80000001, %eax	/* PG, PE */
	mov	%eax, %cr0
	ret

	/* ---- other CPUs: real mode at TRAMPOLINE_GPA ---- */
	.code16
	.globl	trampoline_start, trampoline_end
trampoline_start:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	trampoline_gdt_pointer - trampoline_start
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$0x10, $cpu_entry32
trampoline_gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
trampoline_end:

	.code32
cpu_entry32:
	mov	$0x18, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	%ax, %es
	mov	page_tables, %eax
	/* a stack of its own for the call: the counter that follows needs none */
	mov	$cpu_stack_top, %esp
	call	enter_long_mode
	ljmp	$0x08, $1f
	.code64
1:	lock incl other_cpus(%rip)
	lock btrl $0, cpu_starting(%rip)
2:	cli
	hlt
	jmp	2b

	.data
	.align	16
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 0x08: 64-bit code */
	.quad	0x00cf9b000000ffff	/* 0x10: 32-bit code */
	.quad	0x00cf93000000ffff	/* 0x18: data */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt

	.globl	rsdp_gpa, page_tables, other_cpus, cpu_starting
rsdp_gpa:	.quad 0
page_tables:	.quad 0
other_cpus:	.long 0
cpu_starting:	.long 0

	.bss
	.align	4096
own_pml4:	.skip 4096
own_pdpt:	.skip 4096
own_pds:	.skip 4 * 4096
	.skip	16384
stack_top:
	.skip	4096
cpu_stack_top:

	.section .note.GNU-stack, "", @progbits
