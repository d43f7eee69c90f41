"""Memory that was freed is there for the next blocks, without the system's help."""

import os
import subprocess
import sys

FAULTS = """
import ctypes, resource, sys
from servicekit.allocator import keep_freed_memory

SIZE = 24 << 20
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "kept":
    assert keep_freed_memory(256 << 20)


def use():
    blocks = [libc.malloc(SIZE) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks:
        libc.free(block)


use()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **variables: str) -> int:
    """Page faults of three blocks of 24 MiB that are made and freed three times."""
    command, environment = [sys.executable, "-c", FAULTS, how], os.environ | variables
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def test_blocks_that_are_made_again_and_again_cost_no_page_faults() -> None:
    # Left alone, the library returns memory or keeps it, as blocks happen to lie; told so, it maps each block anew.
    assert faults("kept") < 100 < faults("mapped", MALLOC_MMAP_THRESHOLD_="131072")
