/* SPDX-License-Identifier: MIT */
/*
 * Which references are held. A handle names a slot, and which use of the slot is its own; so a copy
 * that is used or released after the other was released is found out, whatever has become of the
 * frame and whoever else holds it.
 *
 * Slots belong to shards, and a thread takes free ones from its own: only who has the shard makes a
 * slot held. Who releases touches the slot alone, which is as much the holder's as the handle.
 */
#include "internal.h"

/* A slot's word: which use, and how far it is. */
#define FREE 0u
#define HELD 1u
#define LEAVING 2u /* released, as soon as all that are released with it are found to be held */
#define NEXT_USE 4u
#define STATE (NEXT_USE - 1)

#define FIRST_CHUNK 64u /* slots; each chunk of a shard has twice as many as the one before */

static unsigned chunk_of(uint32_t index)
{
	return 31 - (unsigned)__builtin_clz(index / FIRST_CHUNK + 1);
}

/* Where a chunk begins. */
static uint32_t start_of(unsigned chunk)
{
	return FIRST_CHUNK * ((1u << chunk) - 1);
}

static hf_slot *slot_at(const struct hf_shard *shard, uint32_t index)
{
	unsigned k = chunk_of(index);
	hf_slot *chunk = k < HF_NR_CHUNKS ? hf_ld(&shard->chunk[k], acquire) : NULL;

	return chunk ? &chunk[index - start_of(k)] : NULL;
}

/* NULL: a void handle, or none of this system. */
static hf_slot *slot_of(const struct hf_system *sys, const struct hf_ref *ref)
{
	if (ref->page < sys->pages || ref->page >= sys->pages + sys->nr_frames ||
	    (ref->use & STATE) != HELD)
		return NULL;
	return slot_at(&sys->shards[ref->slot % HF_NR_SHARDS], ref->slot / HF_NR_SHARDS);
}

bool hf_ref_is_held(const struct hf_system *sys, const struct hf_ref *ref)
{
	const hf_slot *slot = slot_of(sys, ref);

	return slot && hf_ld(slot, relaxed) == ref->use;
}

static void stay(struct hf_system *sys, const struct hf_ref *refs, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		hf_st(slot_of(sys, &refs[i]), refs[i].use, relaxed);
}

bool hf_refs_leave(struct hf_system *sys, const struct hf_ref *refs, size_t nr, unsigned kind)
{
	for (size_t i = 0; i < nr; i++) {
		hf_slot *slot = refs[i].flags & kind ? slot_of(sys, &refs[i]) : NULL;
		uint64_t use = refs[i].use;

		/* of two that release copies at the same time one wins */
		if (slot && hf_cas(slot, &use, use - HELD + LEAVING, relaxed))
			continue;
		stay(sys, refs, i);
		return false;
	}
	return true;
}

void hf_refs_left(struct hf_system *sys, const struct hf_ref *refs, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		hf_st(slot_of(sys, &refs[i]), refs[i].use - HELD + NEXT_USE, relaxed);
}

static bool grow(struct hf_system *sys, struct hf_shard *shard)
{
	unsigned k = chunk_of(shard->nr);
	size_t bytes = (FIRST_CHUNK << k) * sizeof(hf_slot);
	hf_slot *chunk = k < HF_NR_CHUNKS ? hf_alloc(sys, bytes) : NULL;

	if (!chunk)
		return false;
	__builtin_memset(chunk, 0, bytes);
	hf_st(&shard->chunk[k], chunk, release);
	shard->nr += FIRST_CHUNK << k;
	return true;
}

/* From the first slot again; or on, in new ones, if the last round found less than half of them
 * free: so two are looked at for each that is found, however many are held. False: `all` were
 * looked at in vain, and there is no memory for more. */
static bool next_round(struct hf_system *sys, struct hf_shard *shard, bool all)
{
	bool crowded = all || shard->found <= shard->nr / 2;

	shard->found = 0;
	if (crowded && grow(sys, shard))
		return true;
	shard->next = 0;
	return !all;
}

/* Of the slots that come next, up to the end of their chunk. */
static size_t hold_run(struct hf_system *sys, struct hf_shard *shard, struct hf_ref *refs,
		       size_t nr)
{
	uint32_t id = (uint32_t)(shard - sys->shards), first = shard->next;
	hf_slot *slot = slot_at(shard, first);
	uint32_t end = start_of(chunk_of(first) + 1), at = first;
	uint64_t pins = hf_ld(&shard->pins, relaxed);
	size_t held = 0;

	hf_assert(hf_peek(&shard->busy)); /* by enter() */
	for (; at < end && held < nr; at++, slot++) {
		uint64_t use = hf_ld(slot, relaxed);

		if ((use & STATE) != FREE)
			continue;
		hf_st(slot, use + HELD, relaxed);
		pins += refs[held].taken & HF_FOLL_PIN && refs[held].page != sys->zeropage;
		refs[held].slot = at * HF_NR_SHARDS + id;
		refs[held++].use = use + HELD;
	}
	hf_st(&shard->pins, pins, relaxed);
	shard->next = at;
	shard->found += (uint32_t)held;
	return held;
}

/* The thread's own shard; or the next, while another thread of the same number is in that. */
static struct hf_shard *enter(struct hf_system *sys)
{
	unsigned i = sys->pf->thread_id(sys->pf->ctx);

	while (hf_xchg(&sys->shards[i % HF_NR_SHARDS].busy, true, acquire)) {
		if (++i % HF_NR_SHARDS == 0)
			sys->pf->relax(sys->pf->ctx);
	}
	return &sys->shards[i % HF_NR_SHARDS];
}

size_t hf_refs_hold(struct hf_system *sys, struct hf_ref *refs, size_t nr)
{
	struct hf_shard *shard = enter(sys);
	uint32_t looked = 0;
	size_t held = 0;

	while (held < nr) {
		uint32_t first;

		if (shard->next == shard->nr && !next_round(sys, shard, looked >= shard->nr))
			break;
		first = shard->next;
		held += hold_run(sys, shard, refs + held, nr - held);
		looked += shard->next - first;
	}
	hf_st(&shard->busy, false, release);
	return held;
}

uint64_t hf_pins_acquired(const struct hf_system *sys)
{
	uint64_t pins = 0;

	for (size_t i = 0; i < HF_NR_SHARDS; i++)
		pins += hf_ld(&sys->shards[i].pins, relaxed);
	return pins;
}

void hf_shards_free(struct hf_system *sys)
{
	for (size_t i = 0; sys->shards && i < HF_NR_SHARDS; i++)
		for (unsigned k = 0; k < HF_NR_CHUNKS; k++) {
			hf_slot *chunk = hf_ld(&sys->shards[i].chunk[k], relaxed);

			if (chunk)
				hf_free(sys, chunk, (FIRST_CHUNK << k) * sizeof(hf_slot));
		}
	if (sys->shards)
		hf_free(sys, sys->shards, HF_NR_SHARDS * sizeof(*sys->shards));
}

bool hf_shards_alloc(struct hf_system *sys)
{
	sys->shards = hf_alloc(sys, HF_NR_SHARDS * sizeof(*sys->shards));
	for (size_t i = 0; sys->shards && i < HF_NR_SHARDS; i++)
		sys->shards[i] = (struct hf_shard){ .nr = 0 };
	return sys->shards;
}
