/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"usage: bench-native [OPTION...]\n"
	"Native spaces against fork(): medians of interleaved runs, and the targets.\n"
	"\n"
	"  --size BYTES       of memory, with K, M or G (1G, or 256M where less than 8G are free)\n"
	"  --runs N           of which the median counts (7)\n"
	"  --only PATTERN     rows whose MEASURE/MODE matches *PATTERN*, and fork()'s for them\n"
	"  --hugetlb-pool     make room in the machine's pool of 2 MiB pages meanwhile (root)\n"
	"  --json FILE        all figures of all runs\n"
	"  --svg DIR          plots: native-*.svg\n"
	"  --quick            small and short: does it run?\n"
	"  --help\n"
	"\n"
	"The exit status is 1 if a mode failed that this machine has; never for a target missed.\n";

static _Noreturn void refuse(const char *option, const char *text)
{
	fprintf(stderr, "bench-native: %s '%s' is not understood; see --help\n", option, text);
	exit(2);
}

static size_t parse_size(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);
	const char *units = "KMG", *unit = *end ? strchr(units, *end) : NULL;

	if (*text < '0' || *text > '9' || n > 1ull << 40 || (*end && (!unit || end[1])))
		refuse("--size", text);
	if (unit)
		n <<= 10 * (unit - units + 1);
	if (n < 8 * HUGE_PAGE || n > 1ull << 40)
		refuse("--size", text);
	return (n + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

static unsigned parse_runs(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > MAX_RUNS)
		refuse("--runs", text);
	return (unsigned)n;
}

/* Three times the size is in use at the worst moment. */
static size_t default_size(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kb = 0;
	char line[128];

	while (f && !kb && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu kB", &kb) != 1)
			kb = 0;
	if (f)
		fclose(f);
	return kb >> 20 >= 8 ? (size_t)1 << 30 : (size_t)256 << 20;
}

static void set_defaults(struct options *opt)
{
	if (!opt->size)
		opt->size = opt->quick ? 8 * HUGE_PAGE : default_size();
	if (!opt->runs)
		opt->runs = opt->quick ? 1 : 7;
	opt->first_ns = opt->quick ? 5e6 : 100e6;
	opt->whole_ns = opt->quick ? 20e6 : 2e9;
	opt->io_ns = opt->quick ? 50e6 : 300e6;
}

void options_parse(int argc, char **argv, struct options *opt)
{
	static const struct option known[] = {
		{ "size", required_argument, NULL, 's' },
		{ "runs", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ "hugetlb-pool", no_argument, NULL, 'p' },
		{ "json", required_argument, NULL, 'j' },
		{ "svg", required_argument, NULL, 'v' },
		{ "quick", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
		switch (c) {
		case 's':
			opt->size = parse_size(optarg);
			break;
		case 'r':
			opt->runs = parse_runs(optarg);
			break;
		case 'o':
			opt->only = optarg;
			break;
		case 'p':
			opt->hugetlb_pool = true;
			break;
		case 'j':
			opt->json = optarg;
			break;
		case 'v':
			opt->svg = optarg;
			break;
		case 'q':
			opt->quick = true;
			break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		default:
			exit(2);
		}
	if (optind < argc)
		refuse("argument", argv[optind]);
	set_defaults(opt);
}
