"""Before torch is imported: threads that spin while they wait would stall each other under several workers."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
