/* SPDX-License-Identifier: MIT */
/* Plots: groups of bars on a logarithmic scale, a bar for each mode, as SVG that needs nothing. */
#include "bench.h"

#include <math.h>

#define WIDTH 1100
#define HEIGHT 460
#define LEFT 70
#define RIGHT 190
#define TOP 50
#define BOTTOM 60

struct plot {
	const char *file, *title, *unit;
	enum measure from, to; /* groups */
	bool ratio;            /* to fork(), which then has no bars */
};

static const struct plot plots[] = {
	{ "native-snapshots.svg", "Time for a snapshot", "of fork()'s", FIRST, REPEAT_100_RUNS,
	  true },
	{ "native-writes.svg", "A page written after a snapshot", "of fork()'s", WRITE_FRESH,
	  WRITE_ZIPF, true },
	{ "native-latency.svg", "Small random writes, from the moment a snapshot begins", "us",
	  EARLY_P50, EARLY_MAX, false },
	{ "native-latency-long.svg", "Small random writes, over the whole window", "us", LATE_P50,
	  LATE_MAX, false },
};

static const char *const colours[NR_MODES] = {
	"#444444", "#1f77b4", "#7fb8e0", "#d62728", "#f09090", "#2ca02c", "#17becf", "#888888",
	"#9467bd", "#c5a0e0", "#8c564b", "#c49c94", "#bcbd22", "#bbbbbb", "#ff7f0e", "#ffbb78",
};

struct scale {
	double low, high; /* powers of ten */
};

static struct summary value_of(const struct results *res, const struct plot *p, size_t mode,
			       enum measure m)
{
	if (p->ratio && modes[mode].is_fork)
		return (struct summary){ 0 };
	return p->ratio ? summarize_ratio(res, mode, m) : summarize(res, mode, m);
}

static bool mode_shown(const struct results *res, const struct plot *p, size_t mode)
{
	for (int m = p->from; m <= (int)p->to; m++)
		if (value_of(res, p, mode, m).nr)
			return true;
	return false;
}

/* Whole decades around all values, and around 1 in plots of ratios. */
static struct scale scale_of(const struct results *res, const struct plot *p)
{
	double low = p->ratio ? 1 : INFINITY, high = p->ratio ? 1.01 : 0;

	for (size_t mode = 0; mode < NR_MODES; mode++)
		for (int m = p->from; m <= (int)p->to; m++) {
			struct summary s = value_of(res, p, mode, m);

			if (s.nr && s.min > 0) {
				low = fmin(low, s.min);
				high = fmax(high, s.max);
			}
		}
	if (high <= 0)
		return (struct scale){ 0.1, 10 };
	return (struct scale){ pow(10, floor(log10(low) - 1e-9)), pow(10, ceil(log10(high))) };
}

static double y_of(const struct scale *sc, double value)
{
	double share = log(fmax(value, sc->low) / sc->low) / log(sc->high / sc->low);

	return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

static void draw_scale(FILE *f, const struct plot *p, const struct scale *sc)
{
	fprintf(f, "<text x=\"%d\" y=\"28\" font-size=\"17\">%s</text>\n", LEFT, p->title);
	fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LEFT - 6, TOP - 14,
		p->unit);
	for (double v = sc->low; v <= sc->high * 1.01; v *= 10) {
		double y = y_of(sc, v);
		bool fork = p->ratio && fabs(v - 1) < 1e-6;

		fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n",
			LEFT, WIDTH - RIGHT, y, y, fork ? "#000" : "#ddd");
		fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 6,
			y + 4, v);
	}
}

static void draw_bar(FILE *f, const struct scale *sc, size_t mode, enum measure m,
		     const struct summary *s, double x, double width)
{
	double y = y_of(sc, s->median), middle = x + width / 2;

	fprintf(f,
		"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\">"
		"<title>%s, %s: %.4g (%.4g to %.4g)</title></rect>\n",
		x, y, width * 0.9, HEIGHT - BOTTOM - y, colours[mode], measures[m].id,
		modes[mode].name, s->median, s->min, s->max);
	fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#000\"/>\n",
		middle, middle, y_of(sc, s->min), y_of(sc, s->max));
}

/* What a target allows, across its measure's group. */
static void draw_targets(FILE *f, const struct plot *p, const struct scale *sc, enum measure m,
			 double x, double width)
{
	for (size_t i = 0; i < NR_TARGETS; i++) {
		const struct target *t = &targets[i];
		double y;

		if (!p->ratio || t->measure != m || !t->limit)
			continue;
		y = y_of(sc, t->limit);
		fprintf(f,
			"<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#c00\" "
			"stroke-dasharray=\"4 3\"><title>%s: %g</title></line>\n",
			x, x + width, y, y, t->what, t->limit);
	}
}

static void draw_groups(FILE *f, const struct results *res, const struct plot *p,
			const struct scale *sc, const size_t *shown, size_t nr_shown)
{
	double group = (double)(WIDTH - LEFT - RIGHT) / (double)(p->to - p->from + 1);
	double bar = group * 0.9 / (double)(nr_shown ? nr_shown : 1);

	for (int m = p->from; m <= (int)p->to; m++) {
		double x = LEFT + group * (m - (int)p->from + 0.05);

		for (size_t i = 0; i < nr_shown; i++) {
			struct summary s = value_of(res, p, shown[i], m);

			if (s.nr)
				draw_bar(f, sc, shown[i], m, &s, x + bar * (double)i, bar);
		}
		draw_targets(f, p, sc, m, x, group * 0.9);
		fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			x + group * 0.45, HEIGHT - BOTTOM + 20, measures[m].id);
	}
}

static void draw(FILE *f, const struct results *res, const struct plot *p)
{
	struct scale sc = scale_of(res, p);
	size_t shown[NR_MODES], nr_shown = 0;

	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		WIDTH, HEIGHT);
	draw_scale(f, p, &sc);
	for (size_t mode = 0; mode < NR_MODES; mode++) {
		int y = TOP + 18 * (int)nr_shown;

		if (!mode_shown(res, p, mode))
			continue;
		fprintf(f,
			"<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>"
			"<text x=\"%d\" y=\"%d\">%s</text>\n",
			WIDTH - RIGHT + 14, y, colours[mode], WIDTH - RIGHT + 32, y + 11,
			modes[mode].name);
		shown[nr_shown++] = mode;
	}
	draw_groups(f, res, p, &sc, shown, nr_shown);
	fprintf(f,
		"<text x=\"%d\" y=\"%d\" fill=\"#666\">%zu MiB, medians of %u runs, with the least "
		"and the most; %s%s</text>\n</svg>\n",
		LEFT, HEIGHT - 12, res->opt->size >> 20, res->runs, res->system,
		p->ratio ? "; dashed: the targets" : "");
}

int write_plots(const struct results *res, const char *folder)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(plots) / sizeof(plots[0]); i++) {
		char path[4096];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s", folder, plots[i].file);
		f = fopen(path, "we");
		if (f)
			draw(f, res, &plots[i]);
		if (!f || fclose(f)) {
			fprintf(stderr, "bench-native: cannot write %s\n", path);
			ret = -1;
		}
	}
	return ret;
}
