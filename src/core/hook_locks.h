/* SPDX-License-Identifier: MIT */
/* The core's locks, flushes and read sections with their places, after their own definitions. */
#ifndef HF_HOOK_LOCKS_H
#define HF_HOOK_LOCKS_H

#define HF_FROM(kind, text, call) (hf_hook_at(HF_SITE(kind, text, 0)), call)

#define hf_mutex_lock(sys, lock) HF_FROM(HF_SITE_LOCK, #lock, (hf_mutex_lock)(sys, lock))
#define hf_mmap_read_lock(mm) HF_FROM(HF_SITE_LOCK, #mm "->mmap_lock", (hf_mmap_read_lock)(mm))
#define hf_mmap_write_lock(mm) HF_FROM(HF_SITE_LOCK, #mm "->mmap_lock", (hf_mmap_write_lock)(mm))
#define hf_tlb_flush(mm) HF_FROM(HF_SITE_FLUSH, #mm, (hf_tlb_flush)(mm))
#define hf_rcu_read_lock(sys) HF_FROM(HF_SITE_SECTION, "RCU", (hf_rcu_read_lock)(sys))

#endif
