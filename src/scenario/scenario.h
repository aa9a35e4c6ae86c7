/* SPDX-License-Identifier: MIT */
/* A parsed scenario: names, settings, steps, expectations. docs/scenarios.md is the language. */
#ifndef HF_SCENARIO_H
#define HF_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Limits of one scenario; the parser reports what goes beyond. */
#define HF_SCN_MAX_PROCS 16
#define HF_SCN_MAX_THREADS 8 /* per process, the main thread included */
#define HF_SCN_MAX_BUFS 16
#define HF_SCN_MAX_PAGES 512 /* per buffer */
#define HF_SCN_MAX_REFS 32
#define HF_SCN_MAX_ARMS 4
#define HF_SCN_MAX_PAR_STEPS 12 /* steps in all arms of one par block */
#define HF_SCN_MAX_TIMES 4096

enum hf_verb {
	HF_V_MAP,              /* P: map BUF PAGES [r|rw|none] */
	HF_V_UNMAP,            /* P: unmap RANGE */
	HF_V_PROTECT,          /* P: protect RANGE r|rw|none */
	HF_V_ADVISE,           /* P: advise RANGE ADVICE */
	HF_V_REMAP,            /* P: remap BUF [PAGES] */
	HF_V_WRPROTECT,        /* P: wrprotect RANGE */
	HF_V_SWAPOUT,          /* P: swapout RANGE */
	HF_V_MIGRATE,          /* P: migrate RANGE */
	HF_V_MERGE,            /* P: merge RANGE */
	HF_V_SPLIT,            /* P: split RANGE */
	HF_V_TRUNCATE,         /* P: truncate RANGE */
	HF_V_FORK,             /* P: fork C */
	HF_V_EXIT,             /* P: exit */
	HF_V_READ,             /* P: read RANGE */
	HF_V_WRITE,            /* P: write RANGE VALUE */
	HF_V_CHECK,            /* P: check RANGE VALUE */
	HF_V_PIN,              /* P: pin REF RANGE r|w [options] */
	HF_V_GET,              /* P: get REF RANGE r|w [options] */
	HF_V_UNPIN,            /* P: unpin REF [dirty] */
	HF_V_PUT,              /* P: put REF */
	HF_V_VMSPLICE,         /* P: vmsplice REF RANGE */
	HF_V_FIXEDBUF,         /* P: fixedbuf REF RANGE */
	HF_V_RELEASE,          /* P: release REF          (vmsplice, fixedbuf) */
	HF_V_ODIRECT_READ,     /* P: odirect read REF RANGE VALUE */
	HF_V_ODIRECT_WRITE,    /* P: odirect write REF RANGE */
	HF_V_PROCESS_VM_READ,  /* Q: process_vm read P RANGE */
	HF_V_PROCESS_VM_WRITE, /* Q: process_vm write P RANGE VALUE */
	HF_V_PTRACE_READ,      /* Q: ptrace read P RANGE */
	HF_V_PTRACE_WRITE,     /* Q: ptrace write P RANGE VALUE */
	HF_V_DEV_READ,         /* device: read REF */
	HF_V_DEV_WRITE,        /* device: write REF VALUE */
	HF_V_DEV_CHECK,        /* device: check REF VALUE */
	HF_V_DEV_FINISH,       /* device: finish REF     (odirect) */
	HF_V_PAR,              /* par { ... } and { ... } */
	HF_NR_VERBS,
};

/* Accesses that the language promises to be one load or store. */
static inline bool hf_single_access(uint64_t addr, size_t len)
{
	return (len == 1 || len == 2 || len == 4 || len == 8) && addr % len == 0;
}

/* That: one load and one store. */
static inline void hf_access_single(volatile void *to, const volatile void *from, size_t len)
{
	switch (len) {
	case 1:
		*(volatile uint8_t *)to = *(const volatile uint8_t *)from;
		break;
	case 2:
		*(volatile uint16_t *)to = *(const volatile uint16_t *)from;
		break;
	case 4:
		*(volatile uint32_t *)to = *(const volatile uint32_t *)from;
		break;
	default:
		*(volatile uint64_t *)to = *(const volatile uint64_t *)from;
	}
}

enum hf_kind {
	HF_KIND_BASE,
	HF_KIND_ZEROPAGE,
	HF_KIND_SWAPPED,
	HF_KIND_THP,
	HF_KIND_THP_SWAPPED,
	HF_KIND_HUGE_ZEROPAGE,
	HF_KIND_HUGETLB,
	HF_KIND_MEMFD,
	HF_KIND_TMPFILE,
	HF_KIND_MEMFD_HUGETLB,
	HF_KIND_MIXED,
	HF_KIND_FOLIO, /* the first of nine sizes by six shapes */
	HF_NR_KINDS = HF_KIND_FOLIO + 9 * 6,
};

/* A set of kinds. */
__extension__ typedef unsigned __int128 hf_kinds;
#define HF_KINDS_OF(kind) ((hf_kinds)1 << (kind))
#define HF_KINDS_ALL (~(hf_kinds)0)
_Static_assert(HF_NR_KINDS <= 128, "a set of kinds is two words");

enum hf_memory {
	HF_MEM_ANON,
	HF_MEM_ZEROPAGE, /* read before it is first written */
	HF_MEM_HUGETLB,
	HF_MEM_MEMFD, /* private mappings of one file */
	HF_MEM_TMPFILE,
	HF_MEM_MEMFD_HUGETLB,
	HF_MEM_MIXED, /* page by page: anonymous, of the file, anonymous, ... */
};

/* What is done with a buffer when its first byte was written. */
enum hf_shape {
	HF_SHAPE_WHOLE,  /* nothing: pages, or a PMD */
	HF_SHAPE_PTES,   /* leaf entries map the folio */
	HF_SHAPE_SINGLE, /* and of the folio, the buffer's pages only */
	HF_SHAPE_HALF,   /* the second half was moved to another address */
	HF_SHAPE_PARTLY, /* the buffer's pages alone were shared with a child that is gone */
};

struct hf_kind_info {
	const char *name;
	enum hf_memory memory;
	unsigned order; /* a folio is 2^order pages; 9 and WHOLE: behind a PMD */
	enum hf_shape shape;
	bool swapped; /* out, after the first write */
};

const struct hf_kind_info *hf_kind_info(enum hf_kind kind);
const char *hf_kind_name(enum hf_kind kind);

/* Pages of the hugetlb pool. */
static inline bool hf_is_hugetlb(const struct hf_kind_info *kind)
{
	return kind->memory == HF_MEM_HUGETLB || kind->memory == HF_MEM_MEMFD_HUGETLB;
}

/* Kinds and then sets of kinds, by number; NULL past the end. `about` is NULL for single kinds. */
const char *hf_kinds_name(size_t i);
const char *hf_kinds_about(size_t i);
hf_kinds hf_kinds_named(size_t i);

#define HF_SCN_DEVICE (-1) /* hf_step.proc of device steps */

struct hf_par;

struct hf_step {
	int line;
	const char *text; /* the step as written, trimmed, without comment */
	enum hf_verb verb;
	int proc;   /* index into procs: the actor, or HF_SCN_DEVICE */
	int thread; /* 0: main thread; else index of a thread of proc */
	int target; /* process_vm, ptrace, remote pins: whose memory; otherwise == proc */
	int child;  /* fork */
	int buf;    /* index into bufs, -1 if none */
	/* Bytes of buf, half open; whole pages for unmap, protect, advise, wrprotect. Device steps:
	 * bytes relative to the start of the referenced range. */
	size_t lo, hi;
	int ref;         /* index into refs, -1 if none */
	uint8_t value;   /* write, check, odirect read, ...: every byte of the range */
	unsigned prot;   /* HF_PROT_* */
	unsigned pages;  /* map; remap (0: same size) */
	unsigned advice; /* enum hf_advice */
	/* pin, get: HF_FOLL_WRITE, LONGTERM, FORCE, NOFAULT, FAST_ONLY as written (PIN and GET are
	 * not set) */
	unsigned foll;
	bool fast;       /* pin, get: the _fast call (default; `slow` turns it off) */
	unsigned times;  /* get, pin: how often (all are released together); 1 by default */
	bool dirty;      /* unpin dirty */
	bool fails;      /* "fails": the step must fail */
	int fails_errno; /* positive errno after "fails", 0: any */
	bool maybe; /* the step may fail: its REF is void then, and later steps on it do nothing */
	struct hf_par *par; /* HF_V_PAR only */
};

struct hf_arm {
	struct hf_step *steps;
	size_t nr_steps;
};

struct hf_par {
	struct hf_arm arms[HF_SCN_MAX_ARMS];
	size_t nr_arms;
};

struct hf_scn_buf {
	const char *name;
	unsigned max_pages; /* largest size that any map or remap gives it */
};

struct hf_scn_proc {
	const char *name;
	bool initial; /* declared by `process`; otherwise made by a fork step */
	const char *threads[HF_SCN_MAX_THREADS]; /* [0] is the main thread, NULL name */
	size_t nr_threads;
};

/* The steps that a REF takes part in tell its kind; a name is used for one kind only. */
struct hf_scn_ref {
	const char *name;
	enum hf_verb made_by; /* HF_V_PIN, GET, VMSPLICE, FIXEDBUF, ODIRECT_READ, ODIRECT_WRITE */
};

enum hf_verdict {
	HF_OK,
	HF_LOST_WRITE,
	HF_STALE_READ,
	HF_LEAK,
	HF_TORN,
	HF_REFUSED,
	HF_BUG,
	HF_SKIP,
	HF_ERROR,
	HF_NR_VERDICTS,
};

struct hf_expect {
	int line;
	const char *target; /* one target name; ranges and lists are expanded by the parser */
	unsigned verdicts;  /* bit set: 1u << enum hf_verdict */
	hf_kinds kinds;     /* 0: all that no other line of the target names */
};

struct hf_scenario {
	char *path;
	char *name; /* file name without folder and ending */
	const char *about;
	const char **quotes, **sources;
	size_t nr_quotes, nr_sources;
	hf_kinds kinds;
	unsigned rounds;
	size_t frames; /* 0: the default; otherwise the machine has only so many */
	bool unpin_check;
	struct hf_scn_proc procs[HF_SCN_MAX_PROCS];
	struct hf_scn_buf bufs[HF_SCN_MAX_BUFS];
	struct hf_scn_ref refs[HF_SCN_MAX_REFS];
	size_t nr_procs, nr_bufs, nr_refs;
	struct hf_step *steps;
	size_t nr_steps;
	struct hf_expect *expects;
	size_t nr_expects;
	void *arena; /* owns every string and array above */
};

extern const char *const hf_verdict_names[HF_NR_VERDICTS];
/* "lost-write", "ok|torn". */
void hf_verdict_set(unsigned verdicts, char *buf, size_t len);

struct hf_parse_error {
	int line, column; /* from 1; 0: the file as a whole */
	char text[256];   /* "expected a number of pages, found 'x'" */
};

/*
 * The targets that expect lines may name, by number; NULL past the end. Those of linux-* are in the
 * order of time. The names outlive every scenario.
 */
typedef const char *(*hf_targets_fn)(size_t i);

/*
 * Parses a file, or text with a given path (for names and messages). `targets` NULL: there is none
 * to name. 0 and *out, or -EINVAL with *err filled, -ENOMEM, or the error of reading the file
 * (err->text says it in words too).
 */
int hf_scenario_load(const char *path, hf_targets_fn targets, struct hf_scenario **out,
		     struct hf_parse_error *err);
int hf_scenario_parse(const char *path, const char *text, size_t len, hf_targets_fn targets,
		      struct hf_scenario **out, struct hf_parse_error *err);
void hf_scenario_free(struct hf_scenario *scn);
/* What the scenario expects of a target: a set of verdicts (bits), 0 when no line names it. */
unsigned hf_scenario_expected(const struct hf_scenario *scn, const char *target, enum hf_kind kind);

#endif
