"""python -m finetune.backends.llamacpp.process: the server as a process that ends with the one that started it.

It reads one line of JSON from standard input: the file, the context, and where to write its address. It ends when standard
input does, so that a killed export leaves no server behind. A file that llama.cpp cannot stand ends this process alone.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    asked = json.loads(sys.stdin.readline())
    if asked["program"]:
        child, address = _of_path(asked)
    else:
        child, address = None, _of_package(asked)
    place = Path(asked["address"])
    draft = place.with_suffix(".tmp")
    draft.write_text(address)
    draft.replace(place)
    try:
        sys.stdin.read()
    finally:
        if child is not None:
            child.kill()
    os._exit(0)  # the package's own ending waits for its threads


def _of_package(asked: Mapping[str, Any]) -> str:
    """The address of xllamacpp's server. The numbers are those of the file: keys and values stay F32, no flash attention."""
    import xllamacpp

    params: Any = xllamacpp.CommonParams()
    params.model.path = asked["file"]
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.warmup = asked["context"], 1, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    params.hostnames, params.port, params.fit_params = ["127.0.0.1"], _free_port(), False
    if asked["exact"]:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    globals()["_SERVER"] = server  # it ends when nobody holds it
    return str(server.listening_address)


def _of_path(asked: Mapping[str, Any]) -> tuple[subprocess.Popen[bytes], str]:
    """The process and the address of a llama-server in PATH."""
    port, threads = _free_port(), str(asked["threads"])
    command = [
        asked["program"],
        "-m",
        asked["file"],
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "-c",
        str(asked["context"]),
    ]
    command += ["-np", "1", "-ngl", "0", "--jinja", "-t", threads, "-tb", threads]
    if asked["exact"]:
        command += ["-ctk", "f32", "-ctv", "f32", "-fa", "off"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    while child.poll() is None:
        with suppress(OSError, urllib.error.URLError), urllib.request.urlopen(f"{address}/health", timeout=5) as reply:
            if reply.status == 200:
                return child, address
        time.sleep(0.1)
    sys.exit(child.returncode or 1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
