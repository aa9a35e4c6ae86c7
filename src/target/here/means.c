/* SPDX-License-Identifier: MIT */
/* Which way a reference is made on this kernel, if there is one. */
#include "../../scenario/oracle.h"
#include "stage.h"

#include <holdfast/gup.h>

static size_t count_device_steps(const struct hf_step *steps, size_t nr, int ref)
{
	size_t n = 0;

	for (size_t i = 0; i < nr; i++) {
		if (steps[i].par)
			for (size_t a = 0; a < steps[i].par->nr_arms; a++)
				n += 2 * count_device_steps(
						 steps[i].par->arms[a].steps,
						 steps[i].par->arms[a].nr_steps,
						 ref); /* too many: it cannot be in a par block */
		else
			n += steps[i].ref == ref && steps[i].proc == HF_SCN_DEVICE;
	}
	return n;
}

static bool device_only(const struct hf_scenario *scn, int ref, bool writes)
{
	for (size_t i = 0; i < scn->nr_steps; i++) {
		const struct hf_step *st = &scn->steps[i];

		if (!st->par && st->ref == ref && st->proc == HF_SCN_DEVICE &&
		    (st->verb == HF_V_DEV_WRITE) != writes)
			return false;
	}
	return true;
}

static enum hf_means none(char *why, const char *text)
{
	snprintf(why, HF_REASON_LEN, "%s", text);
	return HF_MEANS_NONE;
}

/* A short pin is a direct I/O in flight: the device touches memory once, and that ends it. */
static enum hf_means means_of_short_pin(const struct hf_scenario *scn, int ref, bool writes,
					bool direct_io_pins, char *why)
{
	if (!direct_io_pins)
		return none(why, "short pins: O_DIRECT takes plain references before Linux 6.5");
	if (count_device_steps(scn->steps, scn->nr_steps, ref) > 1)
		return none(
			why,
			"a short pin is a direct I/O here: its device can touch memory only once");
	if (!device_only(scn, ref, writes))
		return none(why, writes ? "a short write pin is a direct read here: its device can "
					  "only write"
					: "a short read pin is a direct write here: its device can "
					  "only read");
	return writes ? HF_MEANS_READ : HF_MEANS_WRITE;
}

#define NO_WAY "which way GUP goes cannot be chosen without the kernel's gup_test"

/*
 * A registered buffer can be written to, so it is preferred; it goes the fast way. But io_uring
 * unpins by folios (Linux 6.12), which the unpin check does not look at.
 */
static enum hf_means means_of_long_pin(const struct hf_scenario *scn, const struct hf_step *m,
				       bool gup_test, char *why)
{
	bool writes = m->foll & HF_FOLL_WRITE;
	bool checked = gup_test && scn->unpin_check && device_only(scn, m->ref, false);

	if (writes && m->fast && !checked)
		return HF_MEANS_RING;
	if (gup_test)
		return HF_MEANS_TEST;
	return none(why, m->fast ? "read-only long-term pins need the kernel's gup_test or RDMA"
				 : NO_WAY);
}

static enum hf_means means_of_raw(const struct hf_scenario *scn, const struct hf_step *m,
				  const struct hf_powers *powers, char *why)
{
	bool writes = m->foll & HF_FOLL_WRITE;

	if (m->target != m->proc)
		return none(why, "references that outlive the call on another process's memory "
				 "need a driver");
	if (m->times > 1)
		return none(why, "counted references need a driver");
	if (m->foll & (HF_FOLL_FORCE | HF_FOLL_NOFAULT | HF_FOLL_FAST_ONLY))
		return none(why, "no system call here takes force, nofault or fast-only");
	if (m->verb == HF_V_PIN && m->foll & HF_FOLL_LONGTERM)
		return means_of_long_pin(scn, m, powers->gup_test, why);
	if (!m->fast)
		return none(why, "which way GUP goes can be chosen for long-term pins only");
	if (m->verb == HF_V_GET)
		return writes ? none(why,
				     "no system call here takes FOLL_GET for writing on demand")
			      : HF_MEANS_PIPE;
	return means_of_short_pin(scn, m->ref, writes, powers->direct_io_pins, why);
}

enum hf_means hf_means_of(const struct hf_scenario *scn, int ref, const struct hf_powers *powers,
			  char *why)
{
	const struct hf_step *maker = hf_ref_maker(scn, ref);
	enum hf_means means = hf_means_of_call(maker->verb);

	return means != HF_MEANS_NONE ? means : means_of_raw(scn, maker, powers, why);
}
