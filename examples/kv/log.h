/* SPDX-License-Identifier: MIT */
#ifndef KV_LOG_H
#define KV_LOG_H

/* A line to standard error, with the time. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
