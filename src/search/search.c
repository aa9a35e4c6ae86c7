/* SPDX-License-Identifier: MIT */
/*
 * Breadth first over histories: every history of a depth is run on the engine, with the oracle and
 * the validator after every step; those that lead to a state that is new are gone on from. So the
 * first that breaks anything is a shortest one.
 */
#include "../platform/elapsed.h"
#include "history.h"

#include "../core/internal.h"
#include "../scenario/oracle.h"
#include "../target/engine/engine.h"
#include "fingerprint.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the store of fingerprints: a compact table of words, in shards ---- */

#define SHARDS 64

struct shard {
	pthread_mutex_t lock;
	uint64_t *slot; /* 0: empty */
	size_t cap, used;
};

static bool slot_insert(uint64_t *slot, size_t cap, uint64_t h)
{
	size_t i = h & (cap - 1);

	while (slot[i] && slot[i] != h)
		i = (i + 1) & (cap - 1);
	if (slot[i])
		return false;
	slot[i] = h;
	return true;
}

static int shard_grow(struct shard *s)
{
	size_t cap = s->cap ? 2 * s->cap : 1024;
	uint64_t *slot = calloc(cap, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	for (size_t i = 0; i < s->cap; i++)
		if (s->slot[i])
			slot_insert(slot, cap, s->slot[i]);
	free(s->slot);
	s->slot = slot;
	s->cap = cap;
	return 0;
}

/* 1: it is new, 0: not, or -ENOMEM. */
static int store_insert(struct shard *shards, uint64_t h)
{
	struct shard *s = &shards[h >> 58];
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (s->used * 4 >= s->cap * 3)
		ret = shard_grow(s);
	if (!ret) {
		ret = slot_insert(s->slot, s->cap, h);
		s->used += (size_t)ret;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* ---- the search ---- */

struct frontier {
	struct hf_history *h;
	size_t nr, cap;
};

struct search {
	const struct hf_search_options *o;
	struct hf_search_result *result;
	struct shard shard[SHARDS];
	struct frontier now;
	atomic_size_t next;  /* of `now`, to be taken */
	atomic_size_t found; /* index in `now` of the first that something was found after */
	atomic_uint_fast64_t runs, distinct;
	atomic_int error;
	atomic_bool cut; /* the depth under way was not finished */
	struct timespec began, depth_began;
	uint64_t distinct_before; /* the depth under way */
	double seconds_before;    /* of the runs that this one goes on from */
	pthread_mutex_t lock;     /* of what was found */
};

struct worker {
	struct search *s;
	struct hf_target *lazy, *strict;
	struct frontier next;
	pthread_t thread;
};

static bool out_of_time(const struct search *s)
{
	return (s->o->stop && *s->o->stop) ||
	       (s->o->seconds && hf_seconds_since(&s->began) >= s->o->seconds);
}

static int frontier_add(struct frontier *f, const struct hf_history *h)
{
	if (f->nr == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 256;
		struct hf_history *grown = realloc(f->h, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->h = grown;
		f->cap = cap;
	}
	f->h[f->nr++] = *h;
	return 0;
}

/* All but the last step were validated when they were the last. 0: the books are wrong. As in the
 * engine, junk in free frames is looked at on small machines only. */
static void take_fingerprint(void *run, const struct hf_oracle *oracle, void *arg)
{
	struct hf_engine_run *r = run;

	*(uint64_t *)arg = hf_validate_books(r->sys, NULL, r->kind->order < HF_PMD_ORDER)
				   ? 0
				   : hf_fingerprint(run, oracle);
}

/* A machine that is soon made, and soon looked over, has room for what can be there at a time:
 * every process's pages, as many on their way, the zeropage, and what references and a batch of new
 * pages keep. Kinds with folios have their own measure. */
static void add_settings(const struct hf_hist_limits *limits, char *text, size_t len)
{
	if (limits->kind == HF_KIND_BASE)
		snprintf(text, len, "about a history\nframes %u\n",
			 20 + 2 * limits->procs * limits->pages);
	else
		snprintf(text, len, "about a history\n");
}

static int run_history(struct worker *w, const struct hf_history *h, struct hf_cell *cell,
		       uint64_t *fingerprint)
{
	struct hf_parse_error err;
	const struct hf_hist_limits *limits = &w->s->o->limits;
	struct hf_scenario *scn;
	char settings[64], text[2048];
	size_t len;
	int ret;

	add_settings(limits, settings, sizeof(settings));
	len = hf_hist_text(h, limits, settings, text, sizeof(text));
	ret = hf_scenario_parse("history.hf", text, len, NULL, &scn, &err);
	if (ret)
		return ret;
	hf_run_watched(w->lazy, scn, limits->kind, take_fingerprint, fingerprint, cell);
	if (cell->verdict == HF_OK && !*fingerprint)
		hf_run_watched(w->strict, scn, limits->kind, take_fingerprint, fingerprint, cell);
	hf_scenario_free(scn);
	atomic_fetch_add(&w->s->runs, 1);
	return cell->verdict == HF_ERROR ? -ENOMEM : 0;
}

static void note_found(struct search *s, size_t index, const struct hf_history *h,
		       const struct hf_cell *cell)
{
	pthread_mutex_lock(&s->lock);
	if (index < atomic_load(&s->found)) {
		atomic_store(&s->found, index);
		s->result->verdict = cell->verdict;
		s->result->found = *h;
		snprintf(s->result->detail, sizeof(s->result->detail), "%s", cell->detail);
	}
	pthread_mutex_unlock(&s->lock);
}

/* All that can come after one history. 0 or negative errno. */
static int go_on_from(struct worker *w, size_t index)
{
	struct search *s = w->s;
	struct hf_hist_step next[HF_HIST_MAX_NEXT];
	struct hf_history h = s->now.h[index];
	unsigned nr = hf_hist_next(&h, &s->o->limits, next);
	int ret = 0;

	h.nr++;
	for (unsigned i = 0; i < nr && ret >= 0 && index < atomic_load(&s->found); i++) {
		struct hf_cell cell;
		uint64_t fingerprint = 0;

		h.step[h.nr - 1] = next[i];
		ret = run_history(w, &h, &cell, &fingerprint);
		if (ret)
			break;
		if (cell.verdict != HF_OK && s->o->find != HF_OK && cell.verdict != s->o->find)
			continue; /* broken, but not in the way that is looked for */
		if (cell.verdict != HF_OK) {
			note_found(s, index, &h, &cell);
			break;
		}
		ret = store_insert(s->shard, fingerprint);
		if (ret > 0) {
			atomic_fetch_add(&s->distinct, 1);
			ret = frontier_add(&w->next, &h);
		}
	}
	return ret < 0 ? ret : 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct search *s = w->s;
	int err = 0;

	while (!err && !atomic_load(&s->error)) {
		size_t i = atomic_fetch_add(&s->next, 1);

		if (i >= s->now.nr || i >= atomic_load(&s->found))
			break;
		if (out_of_time(s)) {
			atomic_store(&s->cut, true);
			break;
		}
		err = go_on_from(w, i);
	}
	if (err)
		atomic_store(&s->error, err);
	return NULL;
}

static void report(struct search *s)
{
	struct hf_search_result *r = s->result;

	r->runs = atomic_load(&s->runs);
	r->distinct = atomic_load(&s->distinct);
	r->seconds = s->seconds_before + hf_seconds_since(&s->began);
}

/* This depth will go on as it went so far, and the next one grows as it does. */
static void estimate(const struct search *s, struct hf_search_progress *p)
{
	double here = hf_seconds_since(&s->depth_began), done = (double)p->done, of = (double)p->of;
	double grown = (double)(p->distinct - s->distinct_before);

	p->left = p->to_come = -1;
	if (!p->done)
		return;
	p->left = here * (of - done) / done;
	p->to_come = (here + p->left) * grown / done;
}

static void tell(const struct search *s)
{
	size_t taken = atomic_load(&s->next);
	struct hf_search_progress p = {
		.runs = atomic_load(&s->runs),
		.distinct = atomic_load(&s->distinct),
		.depth = s->result->depth + 1,
		.done = taken < s->now.nr ? taken : s->now.nr,
		.of = s->now.nr,
		.seconds = s->seconds_before + hf_seconds_since(&s->began),
	};

	estimate(s, &p);
	if (s->o->progress)
		s->o->progress(&p);
}

static void join(const struct search *s, pthread_t thread)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT) {
		tell(s);
		until.tv_sec++;
	}
}

/* By all threads: what their frontiers hold is still to be gathered. */
static int work_all(struct search *s, struct worker *w, unsigned nr)
{
	unsigned started = 0;
	int err = 0;

	atomic_store(&s->next, 0);
	clock_gettime(CLOCK_MONOTONIC, &s->depth_began);
	s->distinct_before = atomic_load(&s->distinct);
	for (; started < nr && !err; started += !err)
		err = -pthread_create(&w[started].thread, NULL, work, &w[started]);
	for (unsigned i = 0; i < started; i++)
		join(s, w[i].thread);
	return err ? err : atomic_load(&s->error);
}

static int gather(struct worker *w, unsigned nr, struct frontier *all)
{
	int err = 0;

	for (unsigned i = 0; i < nr; i++) {
		for (size_t k = 0; k < w[i].next.nr && !err; k++)
			err = frontier_add(all, &w[i].next.h[k]);
		free(w[i].next.h);
		w[i].next = (struct frontier){ .nr = 0 };
	}
	return err;
}

/* The store, and the frontiers: this depth's, and the next one's in parts and as a whole. */
static void note_memory(struct search *s, const struct worker *w, unsigned nr)
{
	size_t bytes = s->now.cap * sizeof(*s->now.h);

	for (int i = 0; i < SHARDS; i++)
		bytes += s->shard[i].cap * sizeof(*s->shard[i].slot);
	for (unsigned i = 0; i < nr; i++)
		bytes += (w[i].next.cap + w[i].next.nr) * sizeof(*w[i].next.h);
	if (bytes > s->result->bytes)
		s->result->bytes = bytes;
}

static int one_depth(struct search *s, struct worker *w, unsigned nr)
{
	struct frontier next = { .nr = 0 };
	int err = work_all(s, w, nr), full;

	note_memory(s, w, nr);
	full = gather(w, nr, &next);
	err = err ? err : full;
	if (err || atomic_load(&s->cut) || s->result->verdict != HF_OK) {
		free(next.h);
		return err;
	}
	free(s->now.h);
	s->now = next;
	s->result->depth++;
	s->result->complete = !next.nr;
	return 0;
}

/* ---- checkpoints ---- */

/* Then the fingerprints, the histories, and the checksum of all of it. */
struct header {
	char magic[8], policy[40], kind[24];
	uint32_t procs, pages, written, find, depth;
	uint64_t without, distinct, frontier, runs;
	double seconds;
};

static struct header header_of(const struct search *s)
{
	const struct hf_hist_limits *limits = &s->o->limits;
	struct header h = { .magic = "hfcheck3",
			    .procs = limits->procs,
			    .pages = limits->pages,
			    .without = limits->without,
			    .written = limits->written,
			    .find = s->o->find,
			    .depth = s->result->depth,
			    .distinct = s->result->distinct,
			    .frontier = s->now.nr,
			    .runs = s->result->runs,
			    .seconds = s->result->seconds };

	snprintf(h.policy, sizeof(h.policy), "%s", s->o->policy);
	snprintf(h.kind, sizeof(h.kind), "%s", hf_kind_name(limits->kind));
	return h;
}

/* A file, and the checksum of what has gone through (FNV-1a). */
struct summed {
	FILE *f;
	uint64_t sum;
};

static void add_to_sum(struct summed *to, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		to->sum = (to->sum ^ bytes[i]) * 0x100000001b3;
}

static bool put(struct summed *to, const void *data, size_t len)
{
	add_to_sum(to, data, len);
	return fwrite(data, 1, len, to->f) == len;
}

static bool get(struct summed *from, void *data, size_t len)
{
	if (fread(data, 1, len, from->f) != len)
		return false;
	add_to_sum(from, data, len);
	return true;
}

static bool put_all(const struct search *s, FILE *f)
{
	struct header h = header_of(s);
	struct summed to = { .f = f };
	bool done = put(&to, &h, sizeof(h));
	uint64_t sum;

	for (int i = 0; i < SHARDS; i++)
		for (size_t k = 0; k < s->shard[i].cap && done; k++)
			if (s->shard[i].slot[k])
				done = put(&to, &s->shard[i].slot[k], 8);
	for (size_t i = 0; i < s->now.nr && done; i++)
		done = put(&to, &s->now.h[i], sizeof(s->now.h[i]));
	sum = to.sum;
	return done && put(&to, &sum, sizeof(sum));
}

/* The old one stays until the new one is whole. */
static int save(const struct search *s)
{
	char path[4096];
	bool done;
	FILE *f;

	if (!s->o->checkpoint)
		return 0;
	if (snprintf(path, sizeof(path), "%s.new", s->o->checkpoint) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	f = fopen(path, "we");
	if (!f)
		return -errno;
	done = put_all(s, f);
	if (fclose(f) || !done || rename(path, s->o->checkpoint))
		return errno ? -errno : -EIO;
	return 0;
}

static int load_states(struct search *s, const struct header *h, struct summed *from)
{
	int ret;

	if (h->depth > HF_HIST_MAX_DEPTH)
		return -EBADMSG;
	for (uint64_t i = 0; i < h->distinct; i++) {
		uint64_t fingerprint;

		if (!get(from, &fingerprint, sizeof(fingerprint)) || !fingerprint)
			return -EBADMSG;
		ret = store_insert(s->shard, fingerprint);
		if (ret <= 0)
			return ret ? ret : -EBADMSG;
	}
	for (uint64_t i = 0; i < h->frontier; i++) {
		struct hf_history one;

		if (!get(from, &one, sizeof(one)) || one.nr != h->depth ||
		    !hf_hist_possible(&one, &s->o->limits))
			return -EBADMSG;
		ret = frontier_add(&s->now, &one);
		if (ret)
			return ret;
	}
	return 0;
}

static int load_all(struct search *s, FILE *f)
{
	struct header h, want = header_of(s);
	struct summed from = { .f = f };
	uint64_t sum, kept;
	int err;

	if (!get(&from, &h, sizeof(h)) || memcmp(&h, &want, offsetof(struct header, depth)))
		return -EINVAL;
	err = load_states(s, &h, &from);
	sum = from.sum;
	if (!err && (!get(&from, &kept, sizeof(kept)) || kept != sum || getc(f) != EOF))
		err = -EBADMSG;
	if (err)
		return err;
	s->result->depth = h.depth;
	s->result->complete = !h.frontier;
	s->seconds_before = h.seconds;
	atomic_store(&s->runs, h.runs);
	atomic_store(&s->distinct, h.distinct);
	return 0;
}

static int load(struct search *s)
{
	FILE *f = fopen(s->o->resume, "re");
	int err;

	if (!f)
		return -errno;
	err = load_all(s, f);
	fclose(f);
	return err;
}

/* ---- from beginning to end ---- */

static int search_all(struct search *s, struct worker *w, unsigned nr)
{
	const struct hf_history empty = { .nr = 0 };
	int err = s->o->resume ? load(s) : frontier_add(&s->now, &empty);

	while (!err && s->now.nr && s->result->depth < s->o->depth && s->result->verdict == HF_OK &&
	       !out_of_time(s)) {
		unsigned before = s->result->depth;

		err = one_depth(s, w, nr);
		report(s);
		if (!err && s->result->depth > before)
			err = save(s);
	}
	return err;
}

static int open_targets(struct search *s, struct worker *w, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		w[i] = (struct worker){ .s = s,
					.lazy = hf_target_engine(s->o->policy),
					.strict = hf_target_engine(s->o->policy) };
		if (!w[i].lazy || !w[i].strict)
			return -EINVAL;
		hf_target_engine_lazy(w[i].lazy);
	}
	return 0;
}

static void close_targets(struct worker *w, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		if (w[i].lazy)
			w[i].lazy->ops->free(w[i].lazy);
		if (w[i].strict)
			w[i].strict->ops->free(w[i].strict);
	}
	free(w);
}

static void begin(struct search *s)
{
	clock_gettime(CLOCK_MONOTONIC, &s->began);
	atomic_init(&s->found, SIZE_MAX);
	pthread_mutex_init(&s->lock, NULL);
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&s->shard[i].lock, NULL);
}

static void end(struct search *s)
{
	for (int i = 0; i < SHARDS; i++) {
		pthread_mutex_destroy(&s->shard[i].lock);
		free(s->shard[i].slot);
	}
	pthread_mutex_destroy(&s->lock);
	free(s->now.h);
}

int hf_search(const struct hf_search_options *o, struct hf_search_result *result)
{
	struct search s = { .o = o, .result = result };
	unsigned nr = o->threads ? o->threads : 1;
	struct worker *w = calloc(nr, sizeof(*w));
	int err;

	*result = (struct hf_search_result){ .verdict = HF_OK };
	if (!w)
		return -ENOMEM;
	begin(&s);
	err = open_targets(&s, w, nr);
	if (!err)
		err = search_all(&s, w, nr);
	report(&s);
	close_targets(w, nr);
	end(&s);
	return err;
}
