/* SPDX-License-Identifier: MIT */
/* A cell as JSON: what `--format json` prints, and what comes out of a kernel under QEMU. */
#ifndef HF_CELL_JSON_H
#define HF_CELL_JSON_H

#include "target.h"

#include <jansson.h>

/* A string of what may be any bytes, as a kernel or a file's name has them. JSON's is UTF-8: in
 * text that is not, '?' stands for what is beyond ASCII. NULL: out of memory. */
json_t *hf_json_text(const char *text);
/* A new reference; NULL: out of memory. */
json_t *hf_cell_to_json(const struct hf_cell *cell);
/* Verdict, detail, steps and console are the object's; the rest of the cell stays. 0, -EINVAL when
 * it is not the like, -ENOMEM. */
int hf_cell_from_json(json_t *object, struct hf_cell *cell);

#endif
