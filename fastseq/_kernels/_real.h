/* The number type of a module: float, or double where FS_DOUBLE is defined. FS(name) is the
 * variant of a function or type for it. */
#ifndef FASTSEQ_REAL_H
#define FASTSEQ_REAL_H

#include <float.h>

#ifdef FS_DOUBLE
typedef double real;
#define FS(name) name##_d
#define FS_LOWEST (-DBL_MAX)
#define FS_FORMAT 'd' /* its code in a buffer's format */
#else
typedef float real;
#define FS(name) name##_f
#define FS_LOWEST (-FLT_MAX)
#define FS_FORMAT 'f'
#endif

#endif
