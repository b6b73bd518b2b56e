"""Tests that run inside real Krita, each one shown by pytest as a test of its own.

Outside Krita: `collect.py` (pytest) and `launch.py` (one Krita, its profile, its display, its log).
Inside Krita: `steps.py` (runs functions and generators, a `yield` returns to the event loop) and
`inside.py` (what checks are written with). `driver/` is the plugin that brings `steps` into `krita`.
"""
