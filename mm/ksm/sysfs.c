// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/ksm: the settings and the counters.
 *
 * Documentation/ABI/testing/sysfs-kernel-mm-ksm says what each file means. A
 * write either takes effect as a whole, or returns an error and changes
 * nothing.
 */
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "advisor.h"
#include "control.h"
#include "ksm.h"
#include "registry.h"
#include "rmap_item.h"
#include "sysfs.h"
#include "worker.h"

#define KSM_ATTR_RO(name) \
	static struct kobj_attribute name##_attr = __ATTR_RO(name)
#define KSM_ATTR_RW(name) \
	static struct kobj_attribute name##_attr = __ATTR_RW(name)

/* A file that shows a number. */
#define KSM_SHOW(name, format, value)					\
static ssize_t name##_show(struct kobject *kobj,			\
			   struct kobj_attribute *attr, char *buf)	\
{									\
	return sysfs_emit(buf, format "\n", value);			\
}

#define KSM_COUNTER(name, value)					\
KSM_SHOW(name, "%ld", (long)(value))					\
KSM_ATTR_RO(name)

/* A file that sets a number that nobody has to be told about. */
#define KSM_SETTING(name, field, type, format, parse)			\
KSM_SHOW(name, format, READ_ONCE(ksm_settings.field))			\
static ssize_t name##_store(struct kobject *kobj,			\
			    struct kobj_attribute *attr,		\
			    const char *buf, size_t count)		\
{									\
	type value;							\
									\
	if (parse)							\
		return -EINVAL;						\
	WRITE_ONCE(ksm_settings.field, value);				\
	return count;							\
}									\
KSM_ATTR_RW(name)

static long sysfs_counter(const atomic_long_t *count)
{
	return atomic_long_read(count);
}

/* --------------------------------------------------------------- settings */

KSM_SETTING(stable_node_chains_prune_millisecs, prune_millisecs, unsigned int,
	    "%u", kstrtouint(buf, 10, &value));
KSM_SETTING(smart_scan, smart_scan, bool, "%u", kstrtobool(buf, &value));
KSM_SETTING(use_zero_pages, use_zero_pages, bool,
	    "%u", kstrtobool(buf, &value));

KSM_SETTING(advisor_max_cpu, advisor_max_cpu, unsigned int,
	    "%u", kstrtouint(buf, 10, &value));
KSM_SETTING(advisor_target_scan_time, advisor_target_scan_time, unsigned long,
	    "%lu", kstrtoul(buf, 10, &value) || !value);
KSM_SETTING(advisor_min_pages_to_scan, advisor_min_pages_to_scan,
	    unsigned long, "%lu", kstrtoul(buf, 10, &value));
KSM_SETTING(advisor_max_pages_to_scan, advisor_max_pages_to_scan,
	    unsigned long, "%lu", kstrtoul(buf, 10, &value));

KSM_SHOW(advisor_mode, "%s", READ_ONCE(ksm_settings.advisor) ?
			     "none [scan-time]" : "[none] scan-time")

static ssize_t advisor_mode_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	static const char * const names[] = {
		[KSM_ADVISOR_NONE] = "none",
		[KSM_ADVISOR_SCAN_TIME] = "scan-time",
	};
	int mode = sysfs_match_string(names, buf);

	if (mode < 0)
		return mode;
	ksm_advisor_set_mode(mode);
	return count;
}
KSM_ATTR_RW(advisor_mode);

KSM_SHOW(pages_to_scan, "%u", READ_ONCE(ksm_settings.pages_to_scan))

static ssize_t pages_to_scan_store(struct kobject *kobj,
				   struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	unsigned int value;
	int err;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	err = ksm_advisor_set_pages(value);
	return err ? err : count;
}
KSM_ATTR_RW(pages_to_scan);

KSM_SHOW(scan_threads, "%u", READ_ONCE(ksm_settings.scan_threads))

static ssize_t scan_threads_store(struct kobject *kobj,
				  struct kobj_attribute *attr,
				  const char *buf, size_t count)
{
	unsigned int value;
	int err;

	if (kstrtouint(buf, 10, &value) || !value || value > KSM_THREADS_MAX)
		return -EINVAL;
	err = ksm_workers_set(value);
	return err ? err : count;
}
KSM_ATTR_RW(scan_threads);

KSM_SHOW(sleep_millisecs, "%u", READ_ONCE(ksm_settings.sleep_millisecs))

static ssize_t sleep_millisecs_store(struct kobject *kobj,
				     struct kobj_attribute *attr,
				     const char *buf, size_t count)
{
	unsigned int value;

	if (kstrtouint(buf, 10, &value))
		return -EINVAL;
	WRITE_ONCE(ksm_settings.sleep_millisecs, value);
	wake_up_interruptible(&ksm_wait);
	return count;
}
KSM_ATTR_RW(sleep_millisecs);

KSM_SHOW(run, "%u", READ_ONCE(ksm_settings.run))

static ssize_t run_store(struct kobject *kobj, struct kobj_attribute *attr,
			 const char *buf, size_t count)
{
	unsigned int value;
	int err;

	if (kstrtouint(buf, 10, &value) || value > KSM_RUN_UNMERGE)
		return -EINVAL;
	err = ksm_control_run(value);
	return err ? err : count;
}
KSM_ATTR_RW(run);

KSM_SHOW(max_page_sharing, "%u", READ_ONCE(ksm_settings.max_page_sharing))

static ssize_t max_page_sharing_store(struct kobject *kobj,
				      struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	int value, err;

	err = kstrtoint(buf, 10, &value);
	if (err)
		return err;
	err = ksm_control_max_page_sharing(value);
	return err ? err : count;
}
KSM_ATTR_RW(max_page_sharing);

#ifdef CONFIG_NUMA
KSM_SHOW(merge_across_nodes, "%u", READ_ONCE(ksm_settings.merge_across_nodes))

static ssize_t merge_across_nodes_store(struct kobject *kobj,
					struct kobj_attribute *attr,
					const char *buf, size_t count)
{
	unsigned long value;
	int err;

	err = kstrtoul(buf, 10, &value);
	if (err)
		return err;
	if (value > 1)
		return -EINVAL;
	err = ksm_control_across_nodes(value);
	return err ? err : count;
}
KSM_ATTR_RW(merge_across_nodes);
#endif

/* --------------------------------------------------------------- counters */

KSM_COUNTER(pages_scanned, sysfs_counter(&ksm_counters.pages_scanned));
KSM_COUNTER(pages_shared, sysfs_counter(&ksm_counters.pages_shared));
KSM_COUNTER(pages_sharing, sysfs_counter(&ksm_counters.pages_sharing));
KSM_COUNTER(pages_unshared, sysfs_counter(&ksm_counters.pages_unshared));
KSM_COUNTER(pages_skipped, sysfs_counter(&ksm_counters.pages_skipped));
KSM_COUNTER(ksm_zero_pages, sysfs_counter(&ksm_zero_pages));
KSM_COUNTER(stable_node_chains, sysfs_counter(&ksm_counters.chains));
KSM_COUNTER(stable_node_dups, sysfs_counter(&ksm_counters.dups));
KSM_COUNTER(full_scans, ksm_full_scans());
KSM_COUNTER(metadata_bytes, ksm_metadata_bytes());

/* Tracked, but in neither tree; usually because they keep changing. */
static long sysfs_pages_volatile(void)
{
	long pages = sysfs_counter(&ksm_counters.rmap_items) -
		     sysfs_counter(&ksm_counters.pages_shared) -
		     sysfs_counter(&ksm_counters.pages_sharing) -
		     sysfs_counter(&ksm_counters.pages_unshared);

	/* The four are not read at the same time. */
	return max(pages, 0L);
}

KSM_COUNTER(pages_volatile, sysfs_pages_volatile());

static long sysfs_general_profit(void)
{
	long pages = sysfs_counter(&ksm_counters.pages_sharing) +
		     sysfs_counter(&ksm_zero_pages);

	return pages * (long)PAGE_SIZE - (long)ksm_metadata_bytes();
}

KSM_COUNTER(general_profit, sysfs_general_profit());

static struct attribute *ksm_attrs[] = {
	&run_attr.attr,
	&pages_to_scan_attr.attr,
	&sleep_millisecs_attr.attr,
	&scan_threads_attr.attr,
	&advisor_mode_attr.attr,
	&advisor_max_cpu_attr.attr,
	&advisor_target_scan_time_attr.attr,
	&advisor_min_pages_to_scan_attr.attr,
	&advisor_max_pages_to_scan_attr.attr,
	&smart_scan_attr.attr,
	&use_zero_pages_attr.attr,
	&max_page_sharing_attr.attr,
#ifdef CONFIG_NUMA
	&merge_across_nodes_attr.attr,
#endif
	&stable_node_chains_prune_millisecs_attr.attr,
	&full_scans_attr.attr,
	&pages_scanned_attr.attr,
	&pages_skipped_attr.attr,
	&pages_shared_attr.attr,
	&pages_sharing_attr.attr,
	&pages_unshared_attr.attr,
	&pages_volatile_attr.attr,
	&ksm_zero_pages_attr.attr,
	&stable_node_chains_attr.attr,
	&stable_node_dups_attr.attr,
	&general_profit_attr.attr,
	&metadata_bytes_attr.attr,
	NULL,
};

static const struct attribute_group ksm_group = {
	.name = "ksm",
	.attrs = ksm_attrs,
};

int __init ksm_sysfs_init(void)
{
	return sysfs_create_group(mm_kobj, &ksm_group);
}

#ifdef CONFIG_KSM_KUNIT_TEST
#include "tests/sysfs_kunit.c"
#endif
