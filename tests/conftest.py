"""Checks that run inside Krita are collected like other tests; see krita_harness."""

from krita_harness.collect import pytest_collect_file, pytest_pycollect_makemodule

__all__ = ["pytest_collect_file", "pytest_pycollect_makemodule"]
