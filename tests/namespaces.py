"""Runs a command where the network is nothing but `lo`, and where no process outlives it.

`python -m tests.namespaces COMMAND...` is what runs inside first: it brings `lo` up, and becomes the command.
"""

import array
import fcntl
import os
import socket
import struct
import subprocess
import sys

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def run_isolated(*command: str, seconds: float) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end in network, process and mount namespaces of its own; needs root, or the right to."""
    isolated = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inside = [sys.executable, "-m", "tests.namespaces", *command]
    return subprocess.run([*isolated, *inside], capture_output=True, text=True, timeout=seconds, check=False)


def is_isolated() -> bool:
    """True if this process sees no network interface but `lo`."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


def _bring_up_loopback() -> None:
    """What `ip link set lo up` does, for machines without it. ioctls of netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = array.array("B", struct.pack("16sh14x", b"lo", 0))
        fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


if __name__ == "__main__":
    assert is_isolated()
    _bring_up_loopback()
    os.execvp(sys.argv[1], sys.argv[1:])
