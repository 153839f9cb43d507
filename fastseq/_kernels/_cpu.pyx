"""Which instruction sets this processor and operating system support.

Compiled with baseline flags only: this runs before anything else is chosen.
"""

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(__i386__)
    static int fs_has_avx2(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    static int fs_has_avx512(void) {
        __builtin_cpu_init();
        return fs_has_avx2() && __builtin_cpu_supports("avx512f")
            && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl");
    }
    #else
    static int fs_has_avx2(void) { return 0; }
    static int fs_has_avx512(void) { return 0; }
    #endif
    """
    bint fs_has_avx2()
    bint fs_has_avx512()


def features():
    """Names of the builds beyond the generic one that can run here.

    The compiler's support library asks the processor (CPUID) and the operating system (XGETBV:
    whether it saves the wide registers).
    """
    return [name for name, has in (("avx512", fs_has_avx512()), ("avx2", fs_has_avx2())) if has]
