"""One thread per process: the networks of the tests are tiny, and threads that wait for each other cost far more."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start
