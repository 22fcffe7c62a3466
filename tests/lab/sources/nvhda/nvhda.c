// SPDX-License-Identifier: GPL-2.0
/*
 * A stand-in for the out-of-tree module nvhda, and on request for bbswitch too, for the lab.
 *
 * /proc/acpi/nvhda says "GPU ON" or "GPU OFF", where GPU is the address of the GPU, not of its
 * audio function. The state is ON when the bit that enables the audio function is set in the
 * GPU's config space and the kernel has the function. The lab's GPU has no such bit: a variable
 * stands for it. It reads as set while the GPU has no power (all ones), it cannot be written then,
 * and it survives a power cycle.
 *
 * Writes follow the original: the first three bytes OFF, or the first two ON, in capitals; any
 * other text is accepted and does nothing, and a refusal is only told to the kernel's log.
 *
 * With fake_bbswitch=1 there is /proc/acpi/bbswitch as well, for machines whose firmware has no
 * Optimus method: it cuts the power of the GPU's slot itself.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/acpi.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

static bool fake_bbswitch;
module_param(fake_bbswitch, bool, 0444);
MODULE_PARM_DESC(fake_bbswitch, "serve /proc/acpi/bbswitch too");
static int fail;
module_param(fail, int, 0644);
MODULE_PARM_DESC(fail, "fault: the error number that each write returns; 0 for none");
static int delay_ms;
module_param(delay_ms, int, 0644);
MODULE_PARM_DESC(delay_ms, "fault: milliseconds that each write takes; SIGKILL ends it");
static bool ignore;
module_param(ignore, bool, 0644);
MODULE_PARM_DESC(ignore, "fault: writes succeed and do nothing");

static DEFINE_MUTEX(lock);
static struct pci_dev *gpu;
static bool enable_bit;

/* All ones is what a bus reads where nobody answers. */
static bool has_power(void)
{
	u32 id = ~0u;

	pci_read_config_dword(gpu, PCI_VENDOR_ID, &id);
	return id != ~0u;
}

/*
 * The original keeps a bare pointer to a device that may be removed, and then reads freed memory.
 * This one has a reference, and says that its device is gone.
 */
static bool is_stale(void)
{
	return !device_is_registered(&gpu->dev);
}

static struct pci_dev *find_audio(void)
{
	unsigned int slot = PCI_SLOT(gpu->devfn), function;
	struct pci_dev *found;

	for (function = 1; function < 8; function++) {
		found = pci_get_slot(gpu->bus, PCI_DEVFN(slot, function));
		if (found && found->class >> 8 == PCI_CLASS_MULTIMEDIA_HD_AUDIO)
			return found;
		pci_dev_put(found);
	}
	return NULL;
}

static bool has_audio(void)
{
	struct pci_dev *audio = find_audio();

	pci_dev_put(audio);
	return audio && (enable_bit || !has_power());
}

static void write_enable_bit(bool value)
{
	if (has_power())
		enable_bit = value;
}

static void audio_off(void)
{
	struct pci_dev *audio;

	pci_lock_rescan_remove();
	audio = find_audio();
	if (audio)
		pci_stop_and_remove_bus_device(audio);
	pci_unlock_rescan_remove();
	pci_dev_put(audio);
	write_enable_bit(false);
}

static void audio_on(void)
{
	struct pci_dev *audio = find_audio();
	u8 header = 0;

	pci_dev_put(audio);
	write_enable_bit(true);
	if (audio)
		return;
	pci_read_config_byte(gpu, PCI_HEADER_TYPE, &header);
	if (!(header & 0x80)) {
		pr_info("Not multifunction, no audio\n");
		return;
	}
	pci_lock_rescan_remove();
	audio = pci_scan_single_device(gpu->bus, PCI_DEVFN(PCI_SLOT(gpu->devfn), 1));
	if (audio) {
		pr_info("Audio found, adding\n");
		pci_bus_assign_resources(gpu->bus);
		pci_bus_add_device(audio);
	} else {
		pr_info("No nv audio device found\n");
	}
	pci_unlock_rescan_remove();
}

/* By the slot's power controller where there is one; else the port forwards no bus any longer. */
static void set_slot_power(bool on)
{
	struct pci_dev *port = gpu->bus->self;
	u32 slot = 0;

	pcie_capability_read_dword(port, PCI_EXP_SLTCAP, &slot);
	if (slot & PCI_EXP_SLTCAP_PCP) {
		pcie_capability_clear_and_set_word(port, PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_PCC,
						   on ? PCI_EXP_SLTCTL_PWR_ON : PCI_EXP_SLTCTL_PWR_OFF);
		return;
	}
	pci_write_config_byte(port, PCI_SECONDARY_BUS, on ? gpu->bus->busn_res.start : 0);
	pci_write_config_byte(port, PCI_SUBORDINATE_BUS, on ? gpu->bus->busn_res.end : 0);
}

static void gpu_off(void)
{
	if (!has_power())
		return;
	if (gpu->dev.driver) {
		printk(KERN_WARNING "bbswitch: device %s is in use by driver '%s', refusing OFF\n",
		       pci_name(gpu), gpu->dev.driver->name);
		return;
	}
	pci_save_state(gpu);
	pci_clear_master(gpu);
	pci_disable_device(gpu);
	set_slot_power(false);
	gpu->current_state = PCI_D3cold;
}

static void gpu_on(void)
{
	if (has_power())
		return;
	set_slot_power(true);
	gpu->current_state = PCI_D0;
	pci_restore_state(gpu);
	if (pci_enable_device(gpu))
		pr_warn("failed to enable %s\n", pci_name(gpu));
	pci_set_master(gpu);
}

static ssize_t obey(const char __user *text, size_t size, void (*off)(void), void (*on)(void))
{
	char word[8] = "";

	size = min(size, sizeof(word) - 1);
	if (copy_from_user(word, text, size))
		return -EFAULT;
	if (delay_ms > 0) {
		schedule_timeout_killable(msecs_to_jiffies(delay_ms));
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	if (fail)
		return -abs(fail);
	if (ignore)
		return size;
	mutex_lock(&lock);
	if (is_stale()) {
		pr_warn("%s was removed; only a reload finds another\n", pci_name(gpu));
	} else {
		pm_runtime_get_sync(&gpu->bus->self->dev);
		if (!strncmp(word, "OFF", 3))
			off();
		else if (!strncmp(word, "ON", 2))
			on();
		pm_runtime_put_sync(&gpu->bus->self->dev);
	}
	mutex_unlock(&lock);
	return size;
}

static int tell(struct seq_file *out, bool (*state)(void))
{
	bool on = false;

	mutex_lock(&lock);
	if (!is_stale()) {
		pm_runtime_get_sync(&gpu->bus->self->dev);
		on = state();
		pm_runtime_put_sync(&gpu->bus->self->dev);
	}
	mutex_unlock(&lock);
	seq_printf(out, "%s %s\n", pci_name(gpu), on ? "ON" : "OFF");
	return 0;
}

static ssize_t write_audio(struct file *f, const char __user *text, size_t size, loff_t *at)
{
	return obey(text, size, audio_off, audio_on);
}

static ssize_t write_gpu(struct file *f, const char __user *text, size_t size, loff_t *at)
{
	return obey(text, size, gpu_off, gpu_on);
}

static int show_audio(struct seq_file *out, void *unused)
{
	return tell(out, has_audio);
}

static int show_gpu(struct seq_file *out, void *unused)
{
	return tell(out, has_power);
}

static int open_audio(struct inode *inode, struct file *f)
{
	return single_open(f, show_audio, NULL);
}

static int open_gpu(struct inode *inode, struct file *f)
{
	return single_open(f, show_gpu, NULL);
}

static const struct proc_ops audio_file = {
	.proc_open = open_audio,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = write_audio,
};

static const struct proc_ops gpu_file = {
	.proc_open = open_gpu,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = write_gpu,
};

static int __init nvhda_init(void)
{
	struct pci_dev *found = NULL, *audio;

	/* The discrete GPU is the one behind a port. */
	while ((found = pci_get_device(PCI_ANY_ID, PCI_ANY_ID, found)))
		if (found->class >> 16 == PCI_BASE_CLASS_DISPLAY && !pci_is_root_bus(found->bus))
			break;
	if (!found)
		return -ENODEV;
	gpu = found;
	audio = find_audio();
	pci_dev_put(audio);
	enable_bit = audio != NULL;

	if (!proc_create("nvhda", 0664, acpi_root_dir, &audio_file))
		goto no_file;
	if (fake_bbswitch) {
		if (!proc_create("bbswitch", 0664, acpi_root_dir, &gpu_file)) {
			remove_proc_entry("nvhda", acpi_root_dir);
			goto no_file;
		}
		/* As the original does: each OFF takes this back, each ON does it again. */
		if (has_power() && pci_enable_device(gpu))
			pr_warn("failed to enable %s\n", pci_name(gpu));
	}
	return 0;

no_file:
	pci_dev_put(gpu);
	return -ENOMEM;
}

static void __exit nvhda_exit(void)
{
	remove_proc_entry("nvhda", acpi_root_dir);
	if (fake_bbswitch)
		remove_proc_entry("bbswitch", acpi_root_dir);
	pci_dev_put(gpu);
}

module_init(nvhda_init);
module_exit(nvhda_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The lab's stand-in for nvhda and bbswitch");
