"""How the C library keeps memory that was freed."""

import ctypes

# Of <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
# The most that glibc takes.
LARGEST_BLOCK_BYTES = 32 << 20


def keep_freed_memory(size_bytes: int) -> bool:
    """Has the process keep up to so many freed bytes of each arena for its next blocks, of up to 32 MiB each.

    By default glibc returns a block of a few megabytes to the system at once, and the next one of that size costs a
    page fault for each 4 KiB: networks that make such blocks again and again spend most of their time on it. False
    where the C library is another one, which is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, size_bytes))
