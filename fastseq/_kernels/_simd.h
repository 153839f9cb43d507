/* The only file that knows instruction sets.
 *
 * Vectors are the compiler's own vector types; an instruction set contributes its register
 * width and its fused multiply-add. Everything is static inline: a function with external
 * linkage, compiled once for AVX2 and once for AVX-512, could be merged by a linker, and the
 * newer copy would then run on the older processor.
 */
#ifndef FASTSEQ_SIMD_H
#define FASTSEQ_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Every arm64 processor has NEON, so that no flag of the compiler tells the two builds apart. */
#if defined(FS_BUILD_neon)
#define FS_NEON
#endif

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(FS_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define FS_BYTES 64 /* one register */
#define FS_MR 6     /* rows of the micro-tile */
#define FS_NV 4     /* its vectors: 6 x 4 accumulators, 4 of b, 1 of a, 29 of 32 registers */
#define FS_MS 8     /* distance of its columns of a when packed */
#define FS_ALONG_K 6      /* rows for which a b that lies along k is not packed */
#define FS_ALONG_GROUPS 1 /* vectors of its columns that are computed at a time */
#define FS_L2_KB 768      /* of b that stay in the second-level cache */
#elif defined(__AVX2__)
#define FS_BYTES 32
#define FS_MR 6
#define FS_NV 2     /* 6 x 2 accumulators, 2 of b, 1 of a, 15 of 16 registers */
#define FS_MS 8
#define FS_ALONG_K 4
#define FS_ALONG_GROUPS 2
#define FS_L2_KB 384
#elif defined(FS_NEON)
/* Counted, not timed: 32 registers hold 6 x 4 accumulators, 4 of b, 1 of a, as with AVX-512. A
 * step takes 6 + 4 loads for 24 multiply-adds (8 x 3 would take 8 + 3), and 24 independent sums
 * keep four units of latency 4 busy. A panel of b is one cache line wide. Along k, 16 columns at
 * a time, as with the wider registers: 4 x 4 sums, 4 + 4 to transpose, 1 of a. */
#define FS_BYTES 16
#define FS_MR 6
#define FS_NV 4
#define FS_MS 8
#define FS_ALONG_K 4
#define FS_ALONG_GROUPS 4
#define FS_L2_KB 384
#else
#define FS_BYTES 16
#define FS_MR 4
#define FS_NV 2
#define FS_MS 4
#define FS_ALONG_K 4
#define FS_ALONG_GROUPS 2
#define FS_L2_KB 192
#endif

/* Whether a * b + c is rounded once. Every build with it gives the same bits. */
#if defined(__FMA__) || defined(FS_NEON)
#define FS_FUSED 1
#else
#define FS_FUSED 0
#endif

#define FS_INLINE static inline __attribute__((always_inline))

/* FS_UNROLL stands before a loop with a constant number of steps, at most 8, whose arrays are to
 * become registers. Clang keeps them in memory where the pragma has a number: such a loop is
 * unrolled too late. */
#if defined(__clang__)
#define FS_UNROLL _Pragma("clang loop unroll(full)")
#define FS_UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define FS_UNROLL _Pragma("GCC unroll 8")
#define FS_UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

typedef float fs_vec_f __attribute__((vector_size(FS_BYTES)));
typedef double fs_vec_d __attribute__((vector_size(FS_BYTES)));
typedef int32_t fs_lanes_f __attribute__((vector_size(FS_BYTES)));
typedef int64_t fs_lanes_d __attribute__((vector_size(FS_BYTES)));
/* The same vectors at any address. */
typedef float fs_mem_f __attribute__((vector_size(FS_BYTES), aligned(4), may_alias));
typedef double fs_mem_d __attribute__((vector_size(FS_BYTES), aligned(8), may_alias));

/* a * b + c, rounded once where the processor can. */
FS_INLINE fs_vec_f fs_vfma_f(fs_vec_f a, fs_vec_f b, fs_vec_f c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(FS_NEON)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

FS_INLINE fs_vec_d fs_vfma_d(fs_vec_d a, fs_vec_d b, fs_vec_d c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(FS_NEON)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}

FS_INLINE float fs_fma_f(float a, float b, float c) {
#if FS_FUSED
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

FS_INLINE double fs_fma_d(double a, double b, double c) {
#if FS_FUSED
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* y - a * b, exact but for one rounding, with and without a fused multiply-add. */
FS_INLINE float fs_residual_f(float a, float b, float y) {
#if FS_FUSED
    return __builtin_fmaf(-a, b, y);
#else
    return (float)((double)y - (double)a * b);
#endif
}

FS_INLINE double fs_residual_d(double a, double b, double y) {
#if FS_FUSED
    return __builtin_fma(-a, b, y);
#else
    /* Dekker's product: each factor in two halves of 26 bits. */
    double pa = a * 134217729.0, pb = b * 134217729.0;
    double ah = pa - (pa - a), al = a - ah, bh = pb - (pb - b), bl = b - bh;
    return (((y - ah * bh) - ah * bl) - al * bh) - al * bl;
#endif
}

/* A vector of pieces of 16 bytes that lie `distance` bytes apart. */
FS_INLINE fs_vec_f fs_load_pieces(const char *x, ptrdiff_t distance) {
#if FS_BYTES == 64
    const float *y = (const float *)(x + 2 * distance);
    __m256 low = _mm256_loadu2_m128((const float *)(x + distance), (const float *)x);
    __m256 high = _mm256_loadu2_m128((const float *)((const char *)y + distance), y);
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
#elif FS_BYTES == 32
    return _mm256_loadu2_m128((const float *)(x + distance), (const float *)x);
#else
    (void)distance;
    return *(const fs_mem_f *)x;
#endif
}

/* Lanes of two vectors by number. GCC before 12 takes their numbers as a vector only. */
#if __has_builtin(__builtin_shufflevector)
#define FS_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FS_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

/* Interleave the lower (upper) halves of every 16 bytes of two vectors: the butterfly of a
 * transposition. */
#if FS_BYTES == 64
#define FS_LOW_f(a, b) \
    FS_SHUFFLE(fs_lanes_f, a, b, 0,16,1,17, 4,20,5,21, 8,24,9,25, 12,28,13,29)
#define FS_HIGH_f(a, b) \
    FS_SHUFFLE(fs_lanes_f, a, b, 2,18,3,19, 6,22,7,23, 10,26,11,27, 14,30,15,31)
#define FS_LOW_d(a, b) FS_SHUFFLE(fs_lanes_d, a, b, 0,8, 2,10, 4,12, 6,14)
#define FS_HIGH_d(a, b) FS_SHUFFLE(fs_lanes_d, a, b, 1,9, 3,11, 5,13, 7,15)
#elif FS_BYTES == 32
#define FS_LOW_f(a, b) FS_SHUFFLE(fs_lanes_f, a, b, 0,8,1,9, 4,12,5,13)
#define FS_HIGH_f(a, b) FS_SHUFFLE(fs_lanes_f, a, b, 2,10,3,11, 6,14,7,15)
#define FS_LOW_d(a, b) FS_SHUFFLE(fs_lanes_d, a, b, 0,4, 2,6)
#define FS_HIGH_d(a, b) FS_SHUFFLE(fs_lanes_d, a, b, 1,5, 3,7)
#else
#define FS_LOW_f(a, b) FS_SHUFFLE(fs_lanes_f, a, b, 0,4,1,5)
#define FS_HIGH_f(a, b) FS_SHUFFLE(fs_lanes_f, a, b, 2,6,3,7)
#define FS_LOW_d(a, b) FS_SHUFFLE(fs_lanes_d, a, b, 0,2)
#define FS_HIGH_d(a, b) FS_SHUFFLE(fs_lanes_d, a, b, 1,3)
#endif

/* Subnormal numbers cost hundreds of cycles each. Kernels treat them as zero and give the
 * thread its floating-point state back. */
FS_INLINE unsigned fs_flush_subnormals(void) {
#if defined(__SSE2__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return (unsigned)before;
#else
    return 0;
#endif
}

FS_INLINE void fs_restore_subnormals(unsigned before) {
#if defined(__SSE2__)
    _mm_setcsr(before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)before));
#else
    (void)before;
#endif
}

#endif
