"""How the C library keeps this process's memory."""

import platform

# mallopt's parameters: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed for what is allocated next, from here on in this process.

    A network makes and drops the same large maps for every picture. Given back to the system and fetched again, each of
    their pages is filled with zeros anew: 83,000 page faults and 8 % of the time at 800x1333 on two cores. It costs
    that the process stays as large as it once was.

    Returns:
        Whether it was done; not where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    # What is mapped by itself goes back to the system whatever the threshold.
    return bool(mallopt(_M_TRIM_THRESHOLD, _NEVER) and mallopt(_M_MMAP_MAX, 0))
