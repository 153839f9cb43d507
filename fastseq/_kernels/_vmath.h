/* exp, log, tanh and the logistic sigmoid to 2 units in the last place.
 *
 * Scalar functions without branches or table look-ups: a loop that calls them is vectorised by
 * the compiler, and every lane computes what the scalar call computes, bit for bit. NaN goes
 * through; results below the smallest normal number are zero inside kernels.
 *
 * exp: x = n ln 2 + r, |r| <= ln 2 / 2, with ln 2 in two parts [1, section 6.2]; a Taylor
 * polynomial of r; 2^n in two factors, so that n = 128 neither overflows early nor needs a test.
 * sigmoid(x) = 1 / d, d = 1 + e^{-x} = (1 + 2^n) + 2^n q with q = e^r - 1. tanh(x) = y / (y + 2),
 * y = e^{2x} - 1 = (2^n - 1) + 2^n q: no cancellation near 0. What the sum d or y + 2 rounds away
 * (rest) is put back to first order after the division.
 * log: x = m 2^e, sqrt(1/2) <= m < sqrt(2), log m = 2 atanh((m - 1) / (m + 1)).
 *
 * [1] J.-M. Muller, "Elementary Functions", 3rd ed., 2016.
 */
#ifndef FASTSEQ_VMATH_H
#define FASTSEQ_VMATH_H

#include <math.h>

#include "_real.h"
#include "_simd.h"

FS_INLINE int32_t fs_bits_f(float x) { int32_t i; memcpy(&i, &x, sizeof i); return i; }
FS_INLINE float fs_from_bits_f(int32_t i) { float x; memcpy(&x, &i, sizeof x); return x; }
FS_INLINE int64_t fs_bits_d(double x) { int64_t i; memcpy(&i, &x, sizeof i); return i; }
FS_INLINE double fs_from_bits_d(int64_t i) { double x; memcpy(&x, &i, sizeof x); return x; }

/* Adding and subtracting 1.5 * 2^(digits - 1) rounds to the nearest integer, which then stands
 * in the low bits of the sum. */
#define FS_ROUND_f 12582912.0f
#define FS_ROUND_d 6755399441055744.0

#define FS_POWER_f(n) fs_from_bits_f((int32_t)((n) + 127) << 23)
#define FS_POWER_d(n) fs_from_bits_d((int64_t)((uint64_t)((n) + 1023) << 52))

/* (e^r - 1 - r) / r^2 */
FS_INLINE float fs_exp_tail_f(float r) {
    float p = 1.0f / 5040;
    p = fs_fma_f(p, r, 1.0f / 720);
    p = fs_fma_f(p, r, 1.0f / 120);
    p = fs_fma_f(p, r, 1.0f / 24);
    p = fs_fma_f(p, r, 1.0f / 6);
    return fs_fma_f(p, r, 0.5f);
}

FS_INLINE double fs_exp_tail_d(double r) {
    double p = 1.0 / 6227020800;
    p = fs_fma_d(p, r, 1.0 / 479001600);
    p = fs_fma_d(p, r, 1.0 / 39916800);
    p = fs_fma_d(p, r, 1.0 / 3628800);
    p = fs_fma_d(p, r, 1.0 / 362880);
    p = fs_fma_d(p, r, 1.0 / 40320);
    p = fs_fma_d(p, r, 1.0 / 5040);
    p = fs_fma_d(p, r, 1.0 / 720);
    p = fs_fma_d(p, r, 1.0 / 120);
    p = fs_fma_d(p, r, 1.0 / 24);
    p = fs_fma_d(p, r, 1.0 / 6);
    return fs_fma_d(p, r, 0.5);
}

/* Return e^x - 1 of the reduced argument and leave n where x = n ln 2 + r. */
FS_INLINE float fs_reduce_f(float x, int32_t *n) {
    float shifted = fs_fma_f(x, 1.44269504088896341f, FS_ROUND_f), k = shifted - FS_ROUND_f;
    float r = fs_fma_f(k, -0x1.62e4p-1f, x);
    *n = fs_bits_f(shifted) - fs_bits_f(FS_ROUND_f);
    r = fs_fma_f(k, -0x1.7f7d1cp-20f, r);
    return fs_fma_f(r * r, fs_exp_tail_f(r), r);
}

FS_INLINE double fs_reduce_d(double x, int64_t *n) {
    double shifted = fs_fma_d(x, 1.4426950408889634074, FS_ROUND_d), k = shifted - FS_ROUND_d;
    double r = fs_fma_d(k, -0x1.62e42fee00000p-1, x);
    *n = fs_bits_d(shifted) - fs_bits_d(FS_ROUND_d);
    r = fs_fma_d(k, -0x1.a39ef35793c76p-33, r);
    return fs_fma_d(r * r, fs_exp_tail_d(r), r);
}

FS_INLINE float fs_exp_f(float x) {
    int32_t n, half;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    float p = 1.0f + fs_reduce_f(x, &n);
    half = n >> 1;
    return p * FS_POWER_f(half) * FS_POWER_f(n - half);
}

FS_INLINE double fs_exp_d(double x) {
    int64_t n, half;
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    double p = 1.0 + fs_reduce_d(x, &n);
    /* An arithmetic shift of 64-bit lanes is slow before AVX-512; n fits 32 bits. */
    half = (int32_t)n >> 1;
    return p * FS_POWER_d(half) * FS_POWER_d(n - half);
}

FS_INLINE float fs_sigmoid_f(float x) {
    int32_t n;
    float a = -x;
    a = a > 88.0f ? 88.0f : a;
    a = a < -87.0f ? -87.0f : a;
    float q = fs_reduce_f(a, &n), power = FS_POWER_f(n), base = 1.0f + power;
    float d = fs_fma_f(power, q, base), lost = 1.0f - (base - power);
    float rest = fs_fma_f(power, q, base - d) + lost;
    float inverse = 1.0f / d;
    /* Below, the result is subnormal; said outright, since a compiler that folds constants
     * does not know that they are flushed. */
    return x < -87.33654f ? 0.0f : fs_fma_f(-inverse * rest, inverse, inverse);
}

FS_INLINE float fs_tanh_f(float x) {
    int32_t n;
    float a = 2.0f * __builtin_fabsf(x);
    a = a > 20.0f ? 20.0f : a; /* tanh(10) rounds to 1 */
    float q = fs_reduce_f(a, &n), power = FS_POWER_f(n);
    float y = fs_fma_f(power, q, power - 1.0f), d = y + 2.0f, rest = y - (d - 2.0f);
    float inverse = 1.0f / d, t = y * inverse;
    float error = fs_fma_f(-t, rest, fs_residual_f(t, d, y));
    return __builtin_copysignf(fs_fma_f(error, inverse, t), x);
}

FS_INLINE double fs_sigmoid_d(double x) {
    int64_t n;
    double a = -x;
    a = a > 709.0 ? 709.0 : a;
    a = a < -708.0 ? -708.0 : a;
    double q = fs_reduce_d(a, &n), power = FS_POWER_d(n), base = 1.0 + power;
    double d = fs_fma_d(power, q, base), lost = 1.0 - (base - power);
    double rest = fs_fma_d(power, q, base - d) + lost;
    double inverse = 1.0 / d;
    /* Below, the result is subnormal; said outright, since a compiler that folds constants
     * does not know that they are flushed. */
    return x < -708.396418532264 ? 0.0 : fs_fma_d(-inverse * rest, inverse, inverse);
}

FS_INLINE double fs_tanh_d(double x) {
    int64_t n;
    double a = 2.0 * __builtin_fabs(x);
    a = a > 40.0 ? 40.0 : a;
    double q = fs_reduce_d(a, &n), power = FS_POWER_d(n);
    double y = fs_fma_d(power, q, power - 1.0), d = y + 2.0, rest = y - (d - 2.0);
    double inverse = 1.0 / d, t = y * inverse;
    double error = fs_fma_d(-t, rest, fs_residual_d(t, d, y));
    return __builtin_copysign(fs_fma_d(error, inverse, t), x);
}

/* log of x > 0 split as m 2^e; s = (m - 1)/(m + 1), so that log m = 2 s + s^3 (2/3 + ...). */
FS_INLINE float fs_log_f(float x) {
    float scaled = x < 0x1p-126f ? x * 0x1p25f : x; /* subnormal numbers too */
    int32_t bits = fs_bits_f(scaled), e = (bits - 0x3f3504f3) >> 23;
    float m = fs_from_bits_f(bits - (int32_t)((uint32_t)e << 23));
    float k = (float)e - (x < 0x1p-126f ? 25.0f : 0.0f);
    float f = m - 1.0f, s = f / (m + 1.0f), z = s * s, p = 2.0f / 9;
    p = fs_fma_f(p, z, 2.0f / 7);
    p = fs_fma_f(p, z, 2.0f / 5);
    p = fs_fma_f(p, z, 2.0f / 3);
    /* log m = f - s (f - z p): the first term is exact. */
    float tail = fs_fma_f(s, fs_fma_f(z, p, -f), k * 0x1.7f7d1cp-20f);
    float result = fs_fma_f(k, 0x1.62e4p-1f, f + tail);
    result = x == __builtin_inff() ? x : result;
    result = x == 0.0f ? -__builtin_inff() : result;
    return x >= 0.0f ? result : __builtin_nanf("");
}

FS_INLINE double fs_log_d(double x) {
    double scaled = x < 0x1p-1022 ? x * 0x1p54 : x;
    int64_t bits = fs_bits_d(scaled);
    int64_t e = (int32_t)((bits - 0x3fe6a09e667f3bcd) >> 52);
    double m = fs_from_bits_d(bits - (int64_t)((uint64_t)e << 52));
    double k = (double)(int32_t)e - (x < 0x1p-1022 ? 54.0 : 0.0);
    double f = m - 1.0, s = f / (m + 1.0), z = s * s, p = 2.0 / 23;
    p = fs_fma_d(p, z, 2.0 / 21);
    p = fs_fma_d(p, z, 2.0 / 19);
    p = fs_fma_d(p, z, 2.0 / 17);
    p = fs_fma_d(p, z, 2.0 / 15);
    p = fs_fma_d(p, z, 2.0 / 13);
    p = fs_fma_d(p, z, 2.0 / 11);
    p = fs_fma_d(p, z, 2.0 / 9);
    p = fs_fma_d(p, z, 2.0 / 7);
    p = fs_fma_d(p, z, 2.0 / 5);
    p = fs_fma_d(p, z, 2.0 / 3);
    double tail = fs_fma_d(s, fs_fma_d(z, p, -f), k * 0x1.a39ef35793c76p-33);
    double result = fs_fma_d(k, 0x1.62e42fee00000p-1, f + tail);
    result = x == __builtin_inf() ? x : result;
    result = x == 0.0 ? -__builtin_inf() : result;
    return x >= 0.0 ? result : __builtin_nan("");
}

FS_INLINE float fs_sqrt_f(float x) { return __builtin_sqrtf(x); }
FS_INLINE double fs_sqrt_d(double x) { return __builtin_sqrt(x); }

#endif
