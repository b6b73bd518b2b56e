"""Checks that run inside Krita are collected like other tests; see krita_harness."""

from krita_harness.collect import pytest_collect_file

__all__ = ["pytest_collect_file"]
