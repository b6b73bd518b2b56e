"""Shows every check in a file `in_krita_*.py` as a pytest test; the file itself is only ever imported by Krita.

A module constant `WHERE = "kritarunner"` runs the file offscreen without a window (quick: documents and layers);
without it the file runs in `krita` under Xvfb. `PLUGIN = True` has Krita load the project's plugin.
One Krita serves the whole file; the last test of a file is that Krita quits cleanly.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .launch import KritaRun, missing_programs

QUITS = "krita_quits_cleanly"


class KritaFile(pytest.File):
    """A file of checks and the Krita that runs them."""

    krita: KritaRun | None = None

    def collect(self) -> Iterator[pytest.Item]:
        tree = ast.parse(self.path.read_text(encoding="utf-8"))
        self.settings = {name: constant(tree, name) for name in ("WHERE", "PLUGIN")}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for name in names_of(node):
                    yield KritaItem.from_parent(self, name=name)
        yield KritaItem.from_parent(self, name=QUITS)

    def setup(self) -> None:
        where = self.settings["WHERE"] or "krita"
        missing = missing_programs(where)
        if missing:
            pytest.skip(f"NOT TESTED IN KRITA: {' and '.join(missing)} not found on this machine")
        wanted = [i.name for i in self.session.items if i.parent is self and i.name != QUITS]
        self.krita = KritaRun(
            self.path, wanted, where=where, plugin=bool(self.settings["PLUGIN"]), keep=profile(self.config)
        )

    def teardown(self) -> None:
        if self.krita is not None:
            self.krita.close()


def profile(config: pytest.Config) -> Path:
    """One profile for the session, since a fresh one costs Krita ten seconds."""
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    folder = base / "krita-profile"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def krita_profile(request: pytest.FixtureRequest) -> Path:
    """The session's profile, for tests that start Krita themselves."""
    return profile(request.config)


class KritaItem(pytest.Item):
    parent: KritaFile

    def runtest(self) -> None:
        krita = self.parent.krita
        assert krita is not None
        if self.name == QUITS:
            problem = krita.wait_for_end()
            if problem:
                raise FailedInKrita(problem)
            return
        outcome = krita.wait_for(self.name)
        if outcome.report is not None:
            self.add_report_section("call", "report", str(outcome.report))
            self.user_properties.append(("report", outcome.report))
        if outcome.error:
            raise FailedInKrita(outcome.error)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, FailedInKrita):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


class FailedInKrita(Exception):
    pass


def constant(tree: ast.Module, name: str) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def names_of(function: ast.FunctionDef) -> list[str]:
    """The function's name, or one name for each literal of its `@cases(...)`."""
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "cases":
            return [f"{function.name}[{ast.literal_eval(argument)}]" for argument in mark.args]
    return [function.name]


def is_ours(path: Path) -> bool:
    return path.name.startswith("in_krita_") and path.suffix == ".py"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> KritaFile | None:
    # A file named on the command line comes through the hook below, whatever its name.
    if is_ours(file_path) and not parent.session.isinitpath(file_path):
        return KritaFile.from_parent(parent, path=file_path)
    return None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> KritaFile | None:
    return KritaFile.from_parent(parent, path=module_path) if is_ours(module_path) else None
