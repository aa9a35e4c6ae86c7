/* SPDX-License-Identifier: MIT */
/* INFO, with the names that Redis has for things, where it has them. */
#include "../common/arguments.h"
#include "server.h"

#include <holdfast/holdfast.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long ull;

static void persistence(FILE *out, const struct saver *s)
{
	fprintf(out, "# Persistence\r\nloading:0\r\nrdb_changes_since_last_save:%llu\r\n",
		(ull)s->dirty);
	fprintf(out, "rdb_bgsave_in_progress:%d\r\nrdb_last_save_time:%lld\r\n", s->running,
		(long long)s->last);
	fprintf(out, "rdb_last_bgsave_status:%s\r\nrdb_saves:%llu\r\n", s->failed ? "err" : "ok",
		(ull)s->saves);
	fprintf(out, "rdb_current_bgsave_time_sec:%lld\r\n",
		s->running ? (long long)(time(NULL) - s->begun) : -1);
	fprintf(out, "save_method:%s\r\nsave_file:%s\r\n", s->memory->forks ? "fork" : "native",
		s->path ? s->path : "");
	fprintf(out, "last_save_bytes:%llu\r\nlast_save_usec:%llu\r\nlast_instant_usec:%llu\r\n",
		(ull)s->result.bytes, (ull)s->result.ns / 1000, (ull)s->instant_ns / 1000);
	if (s->failed)
		fprintf(out, "last_save_error:%s: %s\r\n", s->result.what, saver_reason(s));
}

/* Of the space; plain memory has none. */
static void snapshots(FILE *out, const struct memory *m)
{
	struct hf_native_stats stats;

	if (!m->space)
		return;
	hf_native_stats(m->space, &stats);
	fprintf(out, "# Snapshots\r\nfaults:%llu\r\ncopied_units:%llu\r\nlost_units:%llu\r\n",
		(ull)stats.faults, (ull)stats.copied, (ull)stats.lost);
	fprintf(out, "protected_units:%llu\r\nlast_snapshot_usec:%llu\r\nframes_used:%llu\r\n",
		(ull)stats.protected_units, (ull)stats.last_snapshot_ns / 1000,
		(ull)stats.frames_used);
}

void info_run(struct server *s, struct client *c)
{
	const struct memory *m = &s->memory;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out) {
		c->out.failed = true;
		return;
	}
	fprintf(out, "# Server\r\nserver:holdfast-kv %s\r\nprocess_id:%d\r\ntcp_port:%lu\r\n",
		HF_VERSION, getpid(), s->port);
	fprintf(out, "uptime_in_seconds:%lld\r\n", (long long)(time(NULL) - s->started));
	fprintf(out, "# Clients\r\nconnected_clients:%lu\r\n", s->nr_clients);
	fprintf(out, "# Memory\r\nused_memory:%llu\r\nused_memory_top:%llu\r\nmaxmemory:%llu\r\n",
		(ull)s->heap->used, (ull)s->heap->top, (ull)s->heap->limit);
	fprintf(out, "pages:%s\r\nunit:%zu\r\n", pages_name(m->config.pages),
		m->space ? hf_native_unit(m->space) : (size_t)getpagesize());
	persistence(out, &s->saver);
	snapshots(out, m);
	fprintf(out, "# Stats\r\ntotal_connections_received:%llu\r\n", (ull)s->connections);
	fprintf(out, "total_commands_processed:%llu\r\n", (ull)s->commands);
	fprintf(out, "# Keyspace\r\n");
	if (table_count(s->heap))
		fprintf(out, "db0:keys=%llu,expires=0,avg_ttl=0\r\n", (ull)table_count(s->heap));
	if (fclose(out))
		c->out.failed = true;
	else
		reply_bulk(&c->out, (struct bytes){ text, len });
	free(text);
}
