/* SPDX-License-Identifier: MIT */
/* What a process may do to itself beside native spaces: a row each. The scene around it is the
 * same for all (native_ordinary_scene.c). */
#ifndef NATIVE_ORDINARY_H
#define NATIVE_ORDINARY_H

#include <sys/stat.h>

#include "native_child.h"

/* A space has eight blocks, of 32 or 128 units of 4 KiB or one of 2 MiB. */
#define NR_BLOCKS 8
#define MAX_PAGES (NR_BLOCKS * 512)

enum block {
	FIRST,  /* stored to between the first snapshot and the act */
	PART,   /* what acts on a part are about; the snapshot shares it with the live space */
	BESIDE, /* single words and system calls */
	DENSE,
	TWINS,  /* pages that are alike */
	LATE,   /* first touched after the first snapshot */
	PINNED, /* while the second snapshot is taken */
	NEVER,  /* touched */
};

enum when { BEFORE_CREATE, AFTER_CREATE, BEFORE_S1, AFTER_S1, AFTER_MAPS, BEFORE_END };

/* What a row may cost; nothing else may fail, and never are there other bytes with 0. */
#define LOSE 0x1     /* what the act marks, of a snapshot, a map or a child */
#define REFUSE 0x2   /* hf_native_snapshot(), hf_native_fork(), maps and pins, until the undo */
#define FOR_GOOD 0x4 /* both, to the end */
#define BUSY 0x8     /* hf_native_trim() */
#define KEEP 0x10    /* the act leaves memory mapped */

struct scene;

struct row {
	const char *name;
	enum when when;
	int (*act)(struct scene *s); /* 0, or failed(), wrong() or skipped() */
	unsigned may;
	int (*undo)(struct scene *s);   /* before the third snapshot */
	int (*finish)(struct scene *s); /* when all is destroyed */
	int create_errors[4];           /* that hf_native_create() may give instead */
	int dies_of; /* the signal that may end the process, as the header says */
	int (*enter)(
		void); /* in the test's own process, around all cells: settings of the machine */
	void (*leave)(void);
};

#define ROW(name_, when_, act_, may_, ...)                                                         \
	{                                                                                          \
		.name = name_, .when = when_, .act = act_, .may = may_, __VA_ARGS__                \
	}
#define END_OF_ROWS                                                                                \
	{                                                                                          \
		.name = NULL                                                                       \
	}

/* Whatever the pages of something hold. */
struct image {
	uint32_t what[MAX_PAGES]; /* see content() */
	uint8_t how[MAX_PAGES];
};

#define LOST_OK 0x1 /* an error may come instead */
#define OR_ZERO 0x2 /* the kernel may free it at any time */
#define HIDDEN 0x4  /* not to be touched */
#define READ_ONLY 0x8
#define UNKNOWN 0x10 /* any bytes */

#define NR_SNAPSHOTS 4
#define MAX_OWNED 64

enum call {
	CREATE,
	SNAPSHOT,
	FORK,
	READ,
	MAP,
	DIFF,
	PIN,
	PIN_SNAPSHOT,
	PREPARE_WRITE,
	PREPARE_READ,
	TRIM,
	NR_CALLS
};

extern const char *const call_names[NR_CALLS];

#define NR_ERRORS 134

/* What a cell tells the test. */
struct verdict {
	enum { NOTHING, RIGHT, IMPOSSIBLE, WRONG, FAILED } kind;
	unsigned nr_errors;
	uint8_t seen[NR_CALLS][NR_ERRORS]; /* errors */
	volatile int stop;                 /* for helpers of the act */
	volatile int told;                 /* by a helper */
	char why[320];
};

struct owned {
	int fd;
	struct stat stat;
	off_t at;
};

struct scene {
	const struct row *row;
	const struct way *way;
	struct verdict *verdict;
	struct hf_native *space, *child;
	struct hf_native_snapshot *snapshots[NR_SNAPSHOTS];
	const char *maps[2];
	size_t unit, block_pages;
	struct image live, of_child, of[NR_SNAPSHOTS];
	uint32_t next;
	bool leave_part; /* the scene stores nothing to PART */
	bool undone;
	bool thorough;
	bool before[1024]; /* descriptors that the program had */
	struct owned owned[MAX_OWNED];
	unsigned nr_owned;
	size_t mapped; /* bytes, before create */
	void *data;    /* the act's */
	pid_t helper;
};

/* ---- native_ordinary_model.c: what must be there ---- */

int failed(struct scene *s, const char *file, int line, const char *what);
int wrong(struct scene *s, const char *of, size_t page);
int skipped(struct scene *s, const char *why);

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return failed(s, __FILE__, __LINE__, #condition);                          \
	} while (0)

bool is_right(const struct image *image, size_t page, const void *bytes);
bool are_equal(const struct image *a, const struct image *b, size_t page);
void fill(void *at, uint32_t what);
size_t nr_pages(const struct scene *s);
size_t page_of(const struct scene *s, enum block block);
char *page_at(const struct scene *s, size_t page);
char *block_at(const struct scene *s, enum block block);
size_t block_size(const struct scene *s);
void store_page(struct scene *s, size_t page);
void stored_bytes(struct scene *s, struct image *image, size_t page, size_t at, const void *bytes,
		  size_t len);
/* Of the live space and what is taken of it: */
void mark(struct scene *s, size_t page, size_t nr);
void mark_block(struct scene *s, enum block block);
void mark_all(struct scene *s);
void now_zero(struct scene *s, size_t page, size_t nr);
void now(struct scene *s, enum block block, uint8_t how);
void no_more(struct scene *s, enum block block, uint8_t how);

/* ---- native_ordinary_scene.c ---- */

void play(struct scene *s);
bool is_open(int fd);
bool is_stranger(const struct scene *s, int fd); /* the program did not open it */
int own(struct scene *s, int fd);
pid_t helper(struct scene *s, int (*run)(struct scene *s)); /* until verdict->stop */
int end_helper(struct scene *s);

/* ---- the rows ---- */

extern const struct row locking_rows[], descriptor_rows[], limit_rows[], right_rows[],
	filter_rows[], setting_rows[], life_rows[], thread_rows[], memory_rows[], mapping_rows[];
void put_back_settings(void);

#endif
