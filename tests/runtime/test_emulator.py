"""The emulator of a Cortex-M: the memory that it takes."""

import subprocess
import sys

import pytest

# The room is on top of what the process has by then: unicorn by itself reserves 1 GiB.
LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import elftools.elf.elffile, unicorn
from lnp_edge import boards
from lnp_edge.runtime.emulator import Emulator

has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + 256 * 2**20,) * 2)
Emulator(boards.get("cortex-m4"), Path(sys.argv[1])).read(1)
print("ran")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")
def test_it_runs_where_a_process_may_take_256_mib_more(firmware):
    image = firmware("cortex-m4")
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, image], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("ran\n", 0), done.stderr
