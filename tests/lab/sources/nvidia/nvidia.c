// SPDX-License-Identifier: GPL-2.0
/*
 * A stand-in for NVIDIA's kernel driver, for the lab. It drives nothing. It binds the one display
 * device behind a port (not an integrated one), has /dev/nvidia0 and /dev/nvidiactl, counts who
 * has the former open, and does not come back from remove() before nobody has: whoever unbinds or
 * removes the GPU waits, and no signal ends that.
 */
#define pr_fmt(fmt) "NVRM: " fmt

#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>

#include "nvidia.h"

static char *gpu;
module_param(gpu, charp, 0444);
MODULE_PARM_DESC(gpu, "bind this address only, as in 0000:01:00.0");
static bool fail_probe;
module_param(fail_probe, bool, 0644);
MODULE_PARM_DESC(fail_probe, "fault: probes fail");
static bool hang_remove;
module_param(hang_remove, bool, 0644);
MODULE_PARM_DESC(hang_remove, "fault: remove() does not return while this is set");
static bool persistence;
module_param(persistence, bool, 0644);
MODULE_PARM_DESC(persistence, "the persistence mode that nvidia-smi -pm sets");
static unsigned int resets;
module_param(resets, uint, 0444);
MODULE_PARM_DESC(resets, "how often the GPU was reset since it was bound");

static DEFINE_MUTEX(lock);
static struct pci_dev *bound;
static unsigned int users;

static bool off_the_bus(struct pci_dev *device)
{
	u32 id = ~0u;

	pci_read_config_dword(device, PCI_VENDOR_ID, &id);
	return id == ~0u;
}

bool lab_nvidia_hold(void)
{
	bool there;

	mutex_lock(&lock);
	there = bound != NULL;
	if (there)
		users++;
	mutex_unlock(&lock);
	return there;
}
EXPORT_SYMBOL_GPL(lab_nvidia_hold);

void lab_nvidia_release(void)
{
	mutex_lock(&lock);
	users--;
	mutex_unlock(&lock);
}
EXPORT_SYMBOL_GPL(lab_nvidia_release);

static int gpu_open(struct inode *inode, struct file *f)
{
	return lab_nvidia_hold() ? 0 : -ENODEV;
}

static int gpu_release(struct inode *inode, struct file *f)
{
	lab_nvidia_release();
	return 0;
}

static long control_ioctl(struct file *f, unsigned int request, unsigned long argument)
{
	long result = 0;

	if (request != LAB_NVIDIA_RESET)
		return -ENOTTY;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	mutex_lock(&lock);
	if (!bound)
		result = -ENODEV;
	else if (off_the_bus(bound))
		result = -ENXIO;
	else if (users || persistence)
		result = -EBUSY;
	else
		resets++;
	mutex_unlock(&lock);
	return result;
}

static const struct file_operations gpu_operations = {
	.owner = THIS_MODULE,
	.open = gpu_open,
	.release = gpu_release,
};

static const struct file_operations control_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = control_ioctl,
};

static struct miscdevice gpu_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "nvidia0",
	.fops = &gpu_operations,
	.mode = 0666,
};

static struct miscdevice control_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "nvidiactl",
	.fops = &control_operations,
	.mode = 0666,
};

static int nvidia_probe(struct pci_dev *device, const struct pci_device_id *id)
{
	int error;

	if (bound || (gpu ? strcmp(gpu, pci_name(device)) != 0 : pci_is_root_bus(device->bus)))
		return -ENODEV;
	if (fail_probe) {
		pr_err("the probe of %s fails, as it was told to\n", pci_name(device));
		return -EIO;
	}
	if (off_the_bus(device)) {
		pr_err("the GPU %s has fallen off the bus\n", pci_name(device));
		return -ENODEV;
	}
	error = pci_enable_device(device);
	if (error)
		return error;
	pci_set_master(device);
	error = misc_register(&gpu_node);
	if (error) {
		pci_disable_device(device);
		return error;
	}
	mutex_lock(&lock);
	bound = device;
	resets = 0;
	mutex_unlock(&lock);
	return 0;
}

/* Whether nobody has the GPU; nobody can get it from then on. */
static bool let_go(void)
{
	mutex_lock(&lock);
	if (!users)
		bound = NULL;
	mutex_unlock(&lock);
	return !bound;
}

static void nvidia_remove(struct pci_dev *device)
{
	if (!let_go()) {
		pr_err("Attempting to remove device %04x:%02x:%02x.%x with non-zero usage count!\n",
		       pci_domain_nr(device->bus), device->bus->number, PCI_SLOT(device->devfn),
		       PCI_FUNC(device->devfn));
		do
			msleep(100);
		while (!let_go());
	}
	while (READ_ONCE(hang_remove))
		msleep(100);
	misc_deregister(&gpu_node);
	pci_clear_master(device);
	pci_disable_device(device);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE_CLASS(PCI_BASE_CLASS_DISPLAY << 16, 0xff0000) },
	{}
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver nvidia_driver = {
	.name = "nvidia",
	.id_table = ids,
	.probe = nvidia_probe,
	.remove = nvidia_remove,
};

static int __init nvidia_init(void)
{
	int error = misc_register(&control_node);

	if (error)
		return error;
	error = pci_register_driver(&nvidia_driver);
	if (error)
		misc_deregister(&control_node);
	return error;
}

static void __exit nvidia_exit(void)
{
	pci_unregister_driver(&nvidia_driver);
	misc_deregister(&control_node);
}

module_init(nvidia_init);
module_exit(nvidia_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The lab's stand-in for NVIDIA's driver");
