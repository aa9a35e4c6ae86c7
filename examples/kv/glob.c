/* SPDX-License-Identifier: MIT */
#include "glob.h"

static struct bytes behind(struct bytes b, size_t n)
{
	return (struct bytes){ b.data + n, b.len - n };
}

/* A set that begins with '['; *used is its length. One that does not end has no members. */
static bool in_set(struct bytes p, char c, size_t *used)
{
	bool inverted = p.len > 1 && p.data[1] == '^', found = false;
	size_t i = inverted ? 2 : 1;

	for (; i < p.len && p.data[i] != ']'; i++) {
		char low, high;

		if (p.data[i] == '\\' && i + 1 < p.len)
			i++;
		low = high = p.data[i];
		if (i + 2 < p.len && p.data[i + 1] == '-' && p.data[i + 2] != ']') {
			high = p.data[i + 2];
			i += 2;
		}
		found |= c >= low && c <= high;
	}
	*used = i < p.len ? i + 1 : p.len;
	return i < p.len && found != inverted;
}

/* Does the pattern's first element match this character? *used is its length. */
static bool one(struct bytes p, char c, size_t *used)
{
	*used = 1;
	if (*p.data == '?')
		return true;
	if (*p.data == '[')
		return in_set(p, c, used);
	if (*p.data == '\\' && p.len > 1) {
		*used = 2;
		return p.data[1] == c;
	}
	return *p.data == c;
}

/* Only the last '*' has to be tried again: so the time is bounded by the product of the lengths. */
bool glob_match(struct bytes p, struct bytes t)
{
	struct bytes star_p = { NULL, 0 }, star_t = t;
	size_t used;

	while (t.len) {
		if (p.len && *p.data == '*') {
			p = star_p = behind(p, 1);
			star_t = t;
		} else if (p.len && one(p, *t.data, &used)) {
			p = behind(p, used);
			t = behind(t, 1);
		} else if (star_p.data) {
			p = star_p;
			t = star_t = behind(star_t, 1);
		} else
			return false;
	}
	while (p.len && *p.data == '*')
		p = behind(p, 1);
	return !p.len;
}
