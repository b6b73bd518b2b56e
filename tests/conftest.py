"""Checks that run inside Krita are collected like other tests; see krita_harness."""

from krita_harness.collect import krita_profile, pytest_collect_file, pytest_pycollect_makemodule

__all__ = ["krita_profile", "pytest_collect_file", "pytest_pycollect_makemodule"]
