/* SPDX-License-Identifier: GPL-2.0 */
#ifndef LAB_NVIDIA_H
#define LAB_NVIDIA_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* On /dev/nvidiactl: what nvidia-smi asks for with --gpu-reset. */
#define LAB_NVIDIA_RESET _IO('L', 0)

/* Be, or cease to be, a user of the GPU, as one that has /dev/nvidia0 open. False: no GPU. */
bool lab_nvidia_hold(void);
void lab_nvidia_release(void);
bool lab_modeset_hold(void);
void lab_modeset_release(void);

#endif
