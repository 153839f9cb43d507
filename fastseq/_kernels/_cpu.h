/* Which instruction sets the processor has and the operating system saves registers for.
 *
 * GCC's and Clang's __builtin_cpu_supports answers the same, but needs their support library,
 * with which programs for Windows are not linked.
 */
#ifndef FASTSEQ_CPU_H
#define FASTSEQ_CPU_H

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

enum { FS_AVX2 = 1, FS_AVX512 = 2 };

#define FS_FMA_BIT (1u << 12)      /* leaf 1, ECX */
#define FS_OSXSAVE_BIT (1u << 27)  /* leaf 1, ECX: XGETBV may be asked */
#define FS_AVX2_BIT (1u << 5)      /* leaf 7, EBX, and so below */
#define FS_AVX512_BITS (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) /* F, DQ, BW, VL */
#define FS_YMM_STATE 0x06u         /* XCR0: registers of 128 and 256 bits */
#define FS_ZMM_STATE 0xe6u         /* and masks and those of 512 bits */

/* The registers that the operating system saves. */
static unsigned fs_saved_state(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    (void)high;
#if defined(__APPLE__)
    /* macOS begins to save the widest registers when a thread first uses them. */
    if ((low & FS_YMM_STATE) == FS_YMM_STATE) low |= FS_ZMM_STATE;
#endif
    return low;
}

static int fs_has(int build) {
    unsigned a, b, c, d, state;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & FS_OSXSAVE_BIT) || !(c & FS_FMA_BIT)) return 0;
    state = fs_saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & FS_AVX2_BIT)) return 0;
    if (build == FS_AVX2) return (state & FS_YMM_STATE) == FS_YMM_STATE;
    return (state & FS_ZMM_STATE) == FS_ZMM_STATE && (b & FS_AVX512_BITS) == FS_AVX512_BITS;
}

static int fs_has_avx2(void) { return fs_has(FS_AVX2); }
static int fs_has_avx512(void) { return fs_has(FS_AVX512); }
#else
static int fs_has_avx2(void) { return 0; }
static int fs_has_avx512(void) { return 0; }
#endif

/* Every arm64 processor has NEON. */
static int fs_has_neon(void) {
#if defined(__aarch64__)
    return 1;
#else
    return 0;
#endif
}

#endif
