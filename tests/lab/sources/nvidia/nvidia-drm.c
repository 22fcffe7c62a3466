// SPDX-License-Identifier: GPL-2.0
/* With modeset=1 it uses the GPU as long as it is loaded, without any file being open. */
#include <linux/module.h>

#include "nvidia.h"

static bool modeset;
module_param(modeset, bool, 0444);
MODULE_PARM_DESC(modeset, "use the GPU while loaded");
static bool held;

static int __init drm_init(void)
{
	held = modeset && lab_modeset_hold();
	return 0;
}

static void __exit drm_exit(void)
{
	if (held)
		lab_modeset_release();
}

module_init(drm_init);
module_exit(drm_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The lab's stand-in for NVIDIA's DRM driver");
