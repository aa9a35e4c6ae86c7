/* SPDX-License-Identifier: MIT */
/*
 * What accesses see.
 *
 * sc: the last store. tso: stores wait in a buffer for each arm, first in first out; its own loads
 * look there first. rc11: every store is a message with a place in its object's order, and every
 * arm has a view, the oldest message of each object that it may still read; acquiring loads join
 * the view that a releasing store left in its message (the operational model of Kang and others,
 * POPL 2017, without promises: no load buffering). Sequentially consistent accesses happen in the
 * order of the schedule, and none of them reads, or stores, before the last sequentially consistent
 * store to the same object.
 */
#include "internal.h"

#include <string.h>
#include <sys/mman.h>

#define GAP 4096u
#define POOL (1ul << 30) /* what is not used is not there */
#define MAX_BUFFER 64
#define MAX_CANDIDATES 16

struct hf_view {
	uint32_t nr;
	uint32_t at[];
};

struct hf_message {
	uint64_t value;
	uint32_t at; /* place in the order */
	int32_t event;
	bool rmw; /* nothing comes between it and the one before */
	const struct hf_view *view;
	struct hf_message *older;
};

struct buffered {
	struct hf_op op;
	int32_t event;
};

static struct {
	uint32_t view[HF_ARMS][HF_MAX_OBJECTS];
	uint32_t epoch[HF_ARMS];
	uint32_t nr_views; /* entries of views that may be other than zero */
	unsigned char *pool;
	size_t used;
	struct buffered buffer[HF_ARMS][MAX_BUFFER];
	unsigned nr_buffered[HF_ARMS];
} mem;

/* ---- words ---- */

static uint64_t read_word(uintptr_t at, size_t size)
{
	return hf_memory_word((const void *)at, size);
}

static void write_word(uintptr_t at, size_t size, uint64_t value)
{
	memcpy((void *)at, &value, size);
}

static uint64_t modified(const struct hf_op *op, uint64_t old)
{
	uint64_t mask = op->size == 8 ? ~0ull : (1ull << op->size * 8) - 1, value = op->value;

	switch (op->rmw) {
	case HF_RMW_ADD:
		value = old + op->value;
		break;
	case HF_RMW_SUB:
		value = old - op->value;
		break;
	case HF_RMW_OR:
		value = old | op->value;
		break;
	case HF_RMW_AND:
		value = old & op->value;
		break;
	default:
		break;
	}
	return value & mask;
}

/* Whether it stores, having read op->old. */
static bool stores(struct hf_op *op)
{
	op->done = op->kind != HF_OP_RMW || op->rmw != HF_RMW_CAS || op->old == op->expected;
	return op->kind != HF_OP_LOAD && op->done;
}

/* Under rc11 what leaves the value as it was is a write all the same. */
bool hf_memory_differs(const struct hf_op *op)
{
	return op->changed && (op->kind != HF_OP_RMW || modified(op, op->old) != op->old);
}

/* At once. What leaves the value as it was is no write. */
static void access_memory(struct hf_op *op)
{
	uint64_t value;

	op->old = read_word(op->at, op->size);
	op->changed = false;
	if (!stores(op))
		return;
	value = op->kind == HF_OP_STORE ? op->value : modified(op, op->old);
	op->changed = value != op->old;
	write_word(op->at, op->size, value);
}

void hf_memory_plain(struct hf_op *op)
{
	access_memory(op);
}

/* ---- tso ---- */

bool hf_memory_drained(unsigned arm)
{
	return !mem.nr_buffered[arm];
}

bool hf_memory_full(unsigned arm)
{
	return mem.nr_buffered[arm] == MAX_BUFFER;
}

const struct hf_op *hf_memory_oldest(unsigned arm)
{
	return &mem.buffer[arm][0].op;
}

struct hf_op hf_memory_take_oldest(unsigned arm, int32_t *event)
{
	struct buffered first = mem.buffer[arm][0];

	memmove(mem.buffer[arm], mem.buffer[arm] + 1,
		--mem.nr_buffered[arm] * sizeof(struct buffered));
	*event = first.event;
	return first.op;
}

static void put_into_buffer(unsigned arm, struct hf_op *op, int32_t event)
{
	op->changed = false;
	mem.buffer[arm][mem.nr_buffered[arm]++] = (struct buffered){ .op = *op, .event = event };
}

static bool forward(unsigned arm, struct hf_op *op)
{
	if (op->kind != HF_OP_LOAD)
		return false;
	for (unsigned i = mem.nr_buffered[arm]; i--;) {
		const struct hf_op *store = &mem.buffer[arm][i].op;

		if (store->kind == HF_OP_STORE && store->at == op->at && store->size == op->size) {
			op->old = store->value;
			op->changed = false;
			return true;
		}
	}
	return false;
}

uint64_t hf_memory_peek(unsigned arm, const volatile void *at, size_t size)
{
	struct hf_op op = { .kind = HF_OP_LOAD, .at = (uintptr_t)at, .size = (uint8_t)size };

	return forward(arm % HF_ARMS, &op) ? op.old : read_word(op.at, size);
}

/* ---- rc11: views ---- */

static void *from_pool(size_t size)
{
	size = (size + 7) & ~7ul;
	if (!mem.pool)
		mem.pool = mmap(NULL, POOL, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem.pool == MAP_FAILED || mem.used + size > POOL)
		hf_fail("the explorer ran out of room for messages");
	mem.used += size;
	return mem.pool + mem.used - size;
}

static const struct hf_view *copy_view(const uint32_t *view, const struct hf_view *other)
{
	uint32_t nr = hf_nr_objects();
	struct hf_view *copy = from_pool(sizeof(*copy) + nr * sizeof(uint32_t));

	copy->nr = nr;
	memset(copy->at, 0, nr * sizeof(uint32_t));
	if (view)
		memcpy(copy->at, view, nr * sizeof(uint32_t));
	for (uint32_t i = 0; other && i < other->nr; i++)
		if (copy->at[i] < other->at[i])
			copy->at[i] = other->at[i];
	return copy;
}

/* What the arm does from now on is not in what it leaves to others. */
void hf_memory_end_epoch(unsigned arm)
{
	mem.view[arm][arm] = mem.epoch[arm]++;
}

static const struct hf_view *release_view(unsigned arm, const struct hf_view *other)
{
	hf_memory_end_epoch(arm);
	return copy_view(mem.view[arm], other);
}

uint32_t hf_memory_epoch(unsigned arm)
{
	return mem.epoch[arm];
}

uint32_t hf_memory_known(unsigned arm, unsigned other)
{
	return mem.view[arm][other];
}

static void join_view(uint32_t *view, const struct hf_view *other)
{
	for (uint32_t i = 0; other && i < other->nr; i++)
		if (view[i] < other->at[i])
			view[i] = other->at[i];
}

static bool acquires(const struct hf_op *op)
{
	return op->order == memory_order_acquire || op->order == memory_order_acq_rel ||
	       op->order == memory_order_seq_cst;
}

static bool releases(const struct hf_op *op)
{
	return op->order == memory_order_release || op->order == memory_order_acq_rel ||
	       op->order == memory_order_seq_cst;
}

/* ---- rc11: messages ---- */

static size_t word_size(const struct hf_object *o, const struct hf_op *op)
{
	return hf_heap_in_frames(o->at) ? 8 : op->size;
}

static struct hf_message *newest(const struct hf_op *op, struct hf_object *o)
{
	if (!o->messages) {
		/* what was there before the arms began */
		o->messages = from_pool(sizeof(*o->messages));
		*o->messages = (struct hf_message){
			.value = read_word(o->at, word_size(o, op)),
			.event = -1,
		};
	}
	return o->messages;
}

static bool knows(const struct hf_clock *clock, const struct hf_message *m)
{
	const struct hf_event *e = &hf_m.events[m->event];

	return clock->of[e->thread] >= e->nr;
}

/*
 * Whether the arm may act on m although there are newer messages: only if, by the schedule, it or
 * whoever wrote m comes after all of those, and yet the arm need not know of them. Otherwise an
 * earlier turn shows the same.
 */
static bool may_miss_newer(unsigned arm, const struct hf_object *o, const struct hf_message *m)
{
	for (const struct hf_message *newer = o->messages; newer != m; newer = newer->older)
		if (!hf_m.unreduced && !knows(hf_thread_clock(arm), newer) &&
		    (m->event < 0 || !knows(&hf_m.events[m->event].clock, newer)))
			return false;
	return true;
}

/* There is room behind m: no read-modify-write has taken it. */
static bool has_room(const struct hf_message *m, const struct hf_message *newer)
{
	return !newer || (!newer->rmw && newer->at - m->at > 1);
}

/* What a load or a read-modify-write may read, and what a store may come after, newest first. */
static unsigned candidates(unsigned arm, const struct hf_op *op, struct hf_object *o,
			   uint32_t floor, struct hf_message **found)
{
	struct hf_message *newer = NULL;
	unsigned nr = 0;

	for (struct hf_message *m = newest(op, o); m && nr < MAX_CANDIDATES; m = m->older) {
		bool adds = op->kind == HF_OP_STORE ||
			    (op->kind == HF_OP_RMW &&
			     (op->rmw != HF_RMW_CAS || m->value == op->expected));

		if ((!adds || has_room(m, newer)) && may_miss_newer(arm, o, m))
			found[nr++] = m;
		if (m->at <= floor)
			break;
		newer = m;
	}
	return nr;
}

static void add_message(unsigned arm, struct hf_op *op, uint32_t object, int32_t event,
			struct hf_message *after, uint64_t value)
{
	struct hf_object *o = hf_object(object);
	struct hf_message *newer = NULL, *m = from_pool(sizeof(*m));
	uint32_t *view = mem.view[arm];

	for (struct hf_message *at = o->messages; at != after; at = at->older)
		newer = at;
	*m = (struct hf_message){
		.value = value,
		.at = newer ? after->at + (newer->at - after->at) / 2 : after->at + GAP,
		.event = event,
		.rmw = op->kind == HF_OP_RMW,
		.older = after,
	};
	view[object] = m->at;
	if (releases(op))
		m->view = release_view(arm, m->rmw ? after->view : NULL);
	else if (m->rmw)
		m->view = after->view;
	if (op->order == memory_order_seq_cst && o->sc < m->at)
		o->sc = m->at;
	if (newer)
		newer->older = m;
	else
		o->messages = m;
}

/* A frame's words may be stored to in part. */
static uint64_t merged(const struct hf_op *op, const struct hf_object *o, uint64_t word)
{
	memcpy((char *)&word + (op->at - o->at), &op->value, op->size);
	return word;
}

static uint64_t part(const struct hf_op *op, const struct hf_object *o, uint64_t word)
{
	uint64_t value = 0;

	memcpy(&value, (const char *)&word + (op->at - o->at), op->size);
	return value;
}

static void read_message(unsigned arm, struct hf_op *op, uint32_t object,
			 const struct hf_message *m)
{
	uint32_t *view = mem.view[arm];

	if (m != hf_object(object)->messages)
		hf_seen_stale(arm, hf_object(object)->messages->event);
	if (view[object] < m->at)
		view[object] = m->at;
	if (acquires(op) && op->done)
		join_view(view, m->view);
}

static void access_weakly(unsigned arm, struct hf_op *op, uint32_t object, int32_t event)
{
	struct hf_object *o = hf_object(object);
	struct hf_message *found[MAX_CANDIDATES], *m;
	uint32_t floor = mem.view[arm][object];
	unsigned nr;

	if (op->order == memory_order_seq_cst && floor < o->sc)
		floor = o->sc;
	hf_race_atomic(arm, op->at);
	if (mem.nr_views < hf_nr_objects())
		mem.nr_views = hf_nr_objects();
	op->changed = false;
	nr = candidates(arm, op, o, floor, found);
	m = found[nr > 1 ? hf_strategy_choose(nr) : 0];
	if (op->kind == HF_OP_STORE) {
		add_message(arm, op, object, event, m, merged(op, o, m->value));
		op->changed = true;
	} else {
		op->old = part(op, o, m->value);
		op->changed = stores(op);
		read_message(arm, op, object, m);
		if (op->changed)
			add_message(arm, op, object, event, m, modified(op, op->old));
	}
	if (op->changed)
		write_word(o->at, word_size(o, op), o->messages->value);
}

/* ---- what the scheduler asks ---- */

void hf_memory_access(unsigned thread, struct hf_op *op, uint32_t object, int32_t event)
{
	if (object == HF_NO_BLOCK)
		put_into_buffer(thread, op, event);
	else if (hf_m.model == HF_MEMORY_RC11)
		access_weakly(thread, op, object, event);
	else if (hf_m.model == HF_MEMORY_SC || !forward(thread % HF_ARMS, op))
		access_memory(op);
}

void hf_memory_acquire(unsigned thread, uint32_t object)
{
	if (hf_m.model == HF_MEMORY_RC11)
		join_view(mem.view[thread], hf_object(object)->view);
}

void hf_memory_release(unsigned thread, uint32_t object)
{
	struct hf_object *o = hf_object(object);

	if (hf_m.model == HF_MEMORY_RC11)
		o->view = release_view(thread, o->view);
}

void hf_memory_see_latest(unsigned thread, uint32_t object)
{
	const struct hf_object *o = hf_object(object);

	if (o->messages && mem.view[thread][object] < o->messages->at)
		mem.view[thread][object] = o->messages->at;
}

void hf_memory_start(void)
{
	for (uint32_t i = 0; i < hf_nr_objects(); i++) {
		hf_object(i)->messages = NULL;
		hf_object(i)->view = NULL;
		hf_object(i)->sc = 0;
	}
	/* objects that are new later start at zero,
	 * for earlier executions left no more than these */
	for (unsigned t = 0; t < HF_ARMS; t++)
		memset(mem.view[t], 0, mem.nr_views * sizeof(mem.view[t][0]));
	for (unsigned t = 0; t < HF_ARMS; t++)
		mem.epoch[t] = 1;
	mem.used = 0;
}

void hf_memory_reset(void)
{
	memset(mem.nr_buffered, 0, sizeof(mem.nr_buffered));
	mem.used = 0;
}
