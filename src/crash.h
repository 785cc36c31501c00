/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a guest that cannot run on: why, its registers, its last exits. */
#ifndef CVMM_SRC_CRASH_H
#define CVMM_SRC_CRASH_H

struct vcpu;

/* End the VM as crashed because of @what, with a report in vm->report. On the vCPU's own thread. */
void crash_report(struct vcpu *vcpu, const char *what);

#endif
