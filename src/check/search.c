/* SPDX-License-Identifier: MIT */
/*
 * Breadth first over histories: every history of a depth is run on the engine, with the oracle and
 * the validator after every step; those that lead to a state that is new are gone on from. So the
 * first that breaks anything is a shortest one.
 */
#include "history.h"

#include "../scenario/engine.h"
#include "../scenario/oracle.h"
#include "fingerprint.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
	atomic_uint_fast64_t runs;
	atomic_int error;
	struct timespec began;
	pthread_mutex_t lock; /* of what was found */
};

struct worker {
	struct search *s;
	struct hf_target *lazy, *strict;
	struct frontier next;
	pthread_t thread;
};

static double seconds_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - t->tv_sec) + (double)(now.tv_nsec - t->tv_nsec) / 1e9;
}

static bool out_of_time(const struct search *s)
{
	return (s->o->stop && *s->o->stop) ||
	       (s->o->seconds && seconds_since(&s->began) >= s->o->seconds);
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

/* All but the last step were validated when they were the last. 0: the books are wrong. */
static void take_fingerprint(void *run, const struct hf_oracle *oracle, void *arg)
{
	struct hf_engine_run *r = run;

	*(uint64_t *)arg = hf_validate(r->sys, NULL) ? 0 : hf_fingerprint(run, oracle);
}

/* A machine that is soon made, and soon looked over. */
#define FRAMES "40"

static int run_history(struct worker *w, const struct hf_history *h, struct hf_cell *cell,
		       uint64_t *fingerprint)
{
	struct hf_parse_error err;
	struct hf_scenario *scn;
	char text[2048];
	size_t len = hf_hist_text(h, &w->s->o->limits, "about a history\nframes " FRAMES "\n", text,
				  sizeof(text));
	int ret = hf_scenario_parse("history.hf", text, len, &scn, &err);

	if (ret)
		return ret;
	hf_run_watched(w->lazy, scn, HF_KIND_BASE, take_fingerprint, fingerprint, cell);
	if (cell->verdict == HF_OK && !*fingerprint)
		hf_run_watched(w->strict, scn, HF_KIND_BASE, take_fingerprint, fingerprint, cell);
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

/* All that can come after one history. True: go on with the next. */
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
		if (ret > 0)
			ret = frontier_add(&w->next, &h);
	}
	return ret < 0 ? ret : 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct search *s = w->s;
	size_t i;

	while (!atomic_load(&s->error) && !out_of_time(s) &&
	       (i = atomic_fetch_add(&s->next, 1)) < s->now.nr && i < atomic_load(&s->found)) {
		int err = go_on_from(w, i);

		if (err)
			atomic_store(&s->error, err);
	}
	return NULL;
}

static size_t bytes_of(const struct search *s)
{
	size_t bytes = s->now.cap * sizeof(*s->now.h);

	for (int i = 0; i < SHARDS; i++)
		bytes += s->shard[i].cap * sizeof(uint64_t);
	return bytes;
}

static void report(struct search *s)
{
	struct hf_search_result *r = s->result;

	r->runs = atomic_load(&s->runs);
	r->seconds = seconds_since(&s->began);
	r->distinct = 0;
	for (int i = 0; i < SHARDS; i++)
		r->distinct += s->shard[i].used;
	r->bytes = bytes_of(s);
}

/* One depth, by all threads. */
static int one_depth(struct search *s, struct worker *w, unsigned nr)
{
	struct frontier next = { .nr = 0 };
	unsigned started = 0;
	int err = 0;

	atomic_store(&s->next, 0);
	for (; started < nr && !err; started += !err)
		err = -pthread_create(&w[started].thread, NULL, work, &w[started]);
	for (unsigned i = 0; i < started; i++)
		pthread_join(w[i].thread, NULL);
	if (!err)
		err = atomic_load(&s->error);
	for (unsigned i = 0; i < nr; i++) {
		for (size_t k = 0; k < w[i].next.nr && !err; k++)
			err = frontier_add(&next, &w[i].next.h[k]);
		free(w[i].next.h);
		w[i].next = (struct frontier){ .nr = 0 };
	}
	if (err || out_of_time(s) || s->result->verdict != HF_OK) {
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

struct header {
	char magic[8], policy[40];
	uint32_t procs, pages, flags, depth;
	uint64_t distinct, frontier, runs;
};

static struct header header_of(const struct search *s)
{
	struct header h = { .magic = "hfcheck1",
			    .procs = s->o->limits.procs,
			    .pages = s->o->limits.pages,
			    .flags = s->o->limits.without | (unsigned)s->o->limits.written << 24 |
				     (unsigned)s->o->find << 25,
			    .depth = s->result->depth,
			    .distinct = s->result->distinct,
			    .frontier = s->now.nr,
			    .runs = s->result->runs };

	snprintf(h.policy, sizeof(h.policy), "%s", s->o->policy);
	return h;
}

/* The old one stays until the new one is whole. */
static int save(const struct search *s)
{
	struct header h = header_of(s);
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
	done = fwrite(&h, sizeof(h), 1, f) == 1;
	for (int i = 0; i < SHARDS; i++)
		for (size_t k = 0; k < s->shard[i].cap && done; k++)
			if (s->shard[i].slot[k])
				done = fwrite(&s->shard[i].slot[k], 8, 1, f) == 1;
	done = done && fwrite(s->now.h, sizeof(*s->now.h), s->now.nr, f) == s->now.nr;
	if (fclose(f) || !done || rename(path, s->o->checkpoint))
		return errno ? -errno : -EIO;
	return 0;
}

static int load_body(struct search *s, const struct header *h, FILE *f)
{
	int err = 0;

	for (uint64_t i = 0; i < h->distinct && !err; i++) {
		uint64_t fingerprint;

		if (fread(&fingerprint, 8, 1, f) != 1 || !fingerprint)
			return -EINVAL;
		if (store_insert(s->shard, fingerprint) < 0)
			err = -ENOMEM;
	}
	s->now.nr = 0;
	for (uint64_t i = 0; i < h->frontier && !err; i++) {
		struct hf_history one;

		if (fread(&one, sizeof(one), 1, f) != 1 || one.nr > HF_HIST_MAX_DEPTH)
			return -EINVAL;
		err = frontier_add(&s->now, &one);
	}
	return err;
}

static int load(struct search *s)
{
	struct header h, want = header_of(s);
	FILE *f = fopen(s->o->resume, "re");
	int err = -EINVAL;

	if (!f)
		return -errno;
	if (fread(&h, sizeof(h), 1, f) == 1 && !memcmp(h.magic, want.magic, sizeof(h.magic)) &&
	    !strncmp(h.policy, want.policy, sizeof(h.policy)) && h.procs == want.procs &&
	    h.pages == want.pages && h.flags == want.flags)
		err = load_body(s, &h, f);
	fclose(f);
	if (!err) {
		s->result->depth = h.depth;
		atomic_store(&s->runs, h.runs);
	}
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
		if (s->o->progress)
			s->o->progress(s->result);
	}
	return err;
}

static void close_targets(struct worker *w)
{
	if (w->lazy)
		w->lazy->ops->free(w->lazy);
	if (w->strict)
		w->strict->ops->free(w->strict);
}

int hf_search(const struct hf_search_options *o, struct hf_search_result *result)
{
	struct search s = { .o = o, .result = result };
	unsigned nr = o->threads ? o->threads : 1;
	struct worker *w = calloc(nr, sizeof(*w));
	int err = w ? 0 : -ENOMEM;

	*result = (struct hf_search_result){ .verdict = HF_OK };
	clock_gettime(CLOCK_MONOTONIC, &s.began);
	atomic_init(&s.found, SIZE_MAX);
	pthread_mutex_init(&s.lock, NULL);
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&s.shard[i].lock, NULL);
	for (unsigned i = 0; i < nr && !err; i++) {
		w[i] = (struct worker){ .s = &s,
					.lazy = hf_target_engine(o->policy),
					.strict = hf_target_engine(o->policy) };
		if (w[i].lazy && w[i].strict)
			hf_target_engine_lazy(w[i].lazy);
		else
			err = -EINVAL;
	}
	if (!err)
		err = search_all(&s, w, nr);
	report(&s);
	for (unsigned i = 0; w && i < nr; i++)
		close_targets(&w[i]);
	for (int i = 0; i < SHARDS; i++)
		free(s.shard[i].slot);
	free(s.now.h);
	free(w);
	return err;
}
