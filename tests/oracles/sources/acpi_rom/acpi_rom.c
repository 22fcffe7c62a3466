// SPDX-License-Identifier: GPL-2.0
/*
 * The VBIOS as a driver in this machine gets it, for tests.
 *
 * Reading /sys/kernel/acpi_rom calls _ROM of the device at `path` with the offset and the length of
 * each read, at most a page. An answer that has another length is an error, as it is to drivers.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/acpi.h>
#include <linux/kobject.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

static char *path;
module_param(path, charp, 0444);
MODULE_PARM_DESC(path, "ACPI path of the device");

static uint size;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes to be read");

static acpi_handle device;

static ssize_t rom_read(struct file *file, struct kobject *kobj, struct bin_attribute *attr,
			char *to, loff_t offset, size_t count)
{
	union acpi_object arguments[] = {
		{ .integer = { .type = ACPI_TYPE_INTEGER, .value = offset } },
		{ .integer = { .type = ACPI_TYPE_INTEGER, .value = count } },
	};
	struct acpi_object_list list = { ARRAY_SIZE(arguments), arguments };
	struct acpi_buffer answer = { ACPI_ALLOCATE_BUFFER, NULL };
	union acpi_object *rom;
	acpi_status status;
	ssize_t done = count;

	status = acpi_evaluate_object_typed(device, "_ROM", &list, &answer, ACPI_TYPE_BUFFER);
	if (ACPI_FAILURE(status)) {
		pr_err("_ROM (%lld, %zu): %s\n", offset, count, acpi_format_exception(status));
		return -EIO;
	}
	rom = answer.pointer;
	if (rom->buffer.length == count) {
		memcpy(to, rom->buffer.pointer, count);
	} else {
		pr_err("_ROM (%lld, %zu): %u bytes\n", offset, count, rom->buffer.length);
		done = -EPROTO;
	}
	kfree(rom);
	return done;
}

static struct bin_attribute rom_file = {
	.attr = { .name = "acpi_rom", .mode = 0400 },
	.read = rom_read,
};

static int __init acpi_rom_init(void)
{
	acpi_status status = acpi_get_handle(NULL, path, &device);

	if (ACPI_FAILURE(status)) {
		pr_err("%s: %s\n", path, acpi_format_exception(status));
		return -ENODEV;
	}
	rom_file.size = size;
	return sysfs_create_bin_file(kernel_kobj, &rom_file);
}

static void __exit acpi_rom_exit(void)
{
	sysfs_remove_bin_file(kernel_kobj, &rom_file);
}

module_init(acpi_rom_init);
module_exit(acpi_rom_exit);
MODULE_DESCRIPTION("The VBIOS of a device by its _ROM method");
MODULE_LICENSE("GPL");
