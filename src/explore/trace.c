/* SPDX-License-Identifier: MIT */
/* An execution step by step, for people. */
#include "dpor.h"

#include <stdio.h>

void hf_trace_arms(const struct hf_scenario *scn)
{
	for (size_t i = 0; i < scn->nr_steps; i++)
		for (size_t a = 0; scn->steps[i].par && a < scn->steps[i].par->nr_arms; a++) {
			const struct hf_arm *arm = &scn->steps[i].par->arms[a];

			printf("arm %c ", 'a' + (char)a);
			for (size_t k = 0; k < arm->nr_steps; k++)
				printf("%s %s", k ? ";" : "", arm->steps[k].text);
			putchar('\n');
		}
}

static void describe(const struct hf_op *op, char *text, size_t len)
{
	static const char *const rmw[] = { "xchg", "add", "sub", "or", "and", "cas" };
	static const char *const names[HF_NR_OPS] = {
		[HF_OP_LOCK] = "lock",
		[HF_OP_UNLOCK] = "unlock",
		[HF_OP_READ_LOCK] = "read lock",
		[HF_OP_READ_UNLOCK] = "read unlock",
		[HF_OP_WRITE_LOCK] = "write lock",
		[HF_OP_WRITE_UNLOCK] = "write unlock",
		[HF_OP_RCU_LOCK] = "RCU section",
		[HF_OP_RCU_UNLOCK] = "RCU section ends",
		[HF_OP_RCU_CALL] = "call_rcu",
		[HF_OP_TLB_BEGIN] = "TLB: access begins",
		[HF_OP_TLB_END] = "TLB: it ends",
		[HF_OP_TLB_FLUSH] = "TLB flush",
		[HF_OP_TLB_WAIT] = "TLB flushed",
		[HF_OP_WAIT] = "waited",
		[HF_OP_FREE] = "free",
	};
	unsigned long long old = op->old, value = op->value;

	switch (op->kind) {
	case HF_OP_LOAD:
		snprintf(text, len, "load %#llx", old);
		break;
	case HF_OP_STORE:
		snprintf(text, len, "store %#llx", value);
		break;
	case HF_OP_RMW:
		snprintf(text, len, "%s %#llx: was %#llx%s", rmw[op->rmw], value, old,
			 op->done ? "" : ", fails");
		break;
	default:
		snprintf(text, len, "%s", names[op->kind]);
	}
}

void hf_trace(const struct hf_op *op, unsigned thread, const struct hf_event *event)
{
	char text[128];
	int column = (int)(thread % HF_ARMS) * 4;

	describe(op, text, sizeof(text));
	printf("%5ld %*s%c  %s", (long)(event - hf_m.events) + 1, column, "",
	       hf_thread_letter(thread), text);
	if (op->kind <= HF_OP_RMW && op->site)
		printf("  %s %s", op->site->text, hf_order_name(op->order));
	else if (op->site)
		printf("  %s", op->site->text);
	if (op->site)
		printf("  (%s, %s:%d)", op->site->function, hf_site_file(op->site), op->site->line);
	putchar('\n');
	fflush(stdout);
}
