"""Which instruction sets this processor and operating system support.

Compiled with baseline flags only: this runs before anything else is chosen.
"""

cdef extern from "_cpu.h":
    bint fs_has_avx2()
    bint fs_has_avx512()
    bint fs_has_neon()


def features():
    """Names of the builds beyond the generic one that can run here."""
    found = {"avx512": fs_has_avx512(), "avx2": fs_has_avx2(), "neon": fs_has_neon()}
    return [name for name, has in found.items() if has]
