/* SPDX-License-Identifier: MIT */
/* The Linux values of the errors that the core returns:
 * freestanding environments need not have <errno.h>. */
#ifndef HF_ERR_H
#define HF_ERR_H

#define HF_EIO 5
#define HF_EAGAIN 11
#define HF_ENOMEM 12
#define HF_EFAULT 14
#define HF_EBUSY 16
#define HF_EEXIST 17
#define HF_EINVAL 22
#define HF_ENOSPC 28
#define HF_EPERM 1
#define HF_EOVERFLOW 75
#define HF_EOPNOTSUPP 95
#define HF_EUCLEAN 117

#endif
