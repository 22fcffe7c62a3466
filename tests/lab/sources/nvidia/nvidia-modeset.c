// SPDX-License-Identifier: GPL-2.0
/* Stands between nvidia-drm and nvidia, as the real one does, so that the order of unloading counts. */
#include <linux/module.h>

#include "nvidia.h"

bool lab_modeset_hold(void)
{
	return lab_nvidia_hold();
}
EXPORT_SYMBOL_GPL(lab_modeset_hold);

void lab_modeset_release(void)
{
	lab_nvidia_release();
}
EXPORT_SYMBOL_GPL(lab_modeset_release);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The lab's stand-in for NVIDIA's mode setting");
