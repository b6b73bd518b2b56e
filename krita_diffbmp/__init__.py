"""Krita plugin: rebuilds a layer out of instances of the artist's own bitmaps. Importing it in Krita registers it."""

from __future__ import annotations

try:
    from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Extension, Krita
except ImportError:  # outside Krita the engine is a library like any other
    pass
else:
    from typing import Any

    from krita_diffbmp.libraries import extend_path
    from krita_diffbmp.qt import QApplication, QLabel, QTimer
    from krita_diffbmp.text import i18n

    DOCKER = "diffbmp_docker"

    def session() -> Any:
        """The one session of this Krita, made when first asked for."""
        if not hasattr(extension, "session"):
            from krita_diffbmp.ui.session import Session

            extension.session = Session(Krita.instance())
            QApplication.instance().aboutToQuit.connect(extension.session.close)
        return extension.session

    class Docker(DockWidget):
        def __init__(self) -> None:
            super().__init__()
            self.setWindowTitle(i18n("DiffBMP"))
            try:
                from krita_diffbmp.ui.docker import Panel

                self.setWidget(Panel(session()))
            except ImportError as failure:
                label = QLabel(
                    i18n(
                        "Krita's Python cannot load what DiffBMP needs ({reason}): install numpy and torch for that "
                        "Python (the README says how), then start Krita again.",
                        reason=str(failure).strip().partition("\n")[0],
                    )
                )
                label.setWordWrap(True)
                self.setWidget(label)

        def canvasChanged(self, canvas: object) -> None:
            if hasattr(extension, "session"):
                # Soon: a view that closes tells this in the midst of its end, when Krita cannot be asked for anything.
                QTimer.singleShot(0, extension.session.look)

    class DiffBmpExtension(Extension):
        def setup(self) -> None:
            pass

        def createActions(self, window: Any) -> None:
            for name, text, command in (
                ("diffbmp_optimize", i18n("DiffBMP: Optimize"), "optimize"),
                ("diffbmp_pause", i18n("DiffBMP: Pause or Resume"), "toggle_pause"),
                ("diffbmp_stop", i18n("DiffBMP: Stop and Keep"), "stop"),
                ("diffbmp_cancel", i18n("DiffBMP: Cancel"), "cancel"),
                ("diffbmp_refine", i18n("DiffBMP: Refine"), "refine"),
                ("diffbmp_add", i18n("DiffBMP: Add Instances"), "add"),
                ("diffbmp_thin", i18n("DiffBMP: Thin Out"), "thin_out"),
                ("diffbmp_continuous", i18n("DiffBMP: Refine After Each Edit, On or Off"), "toggle_continuous"),
            ):
                action = window.createAction(name, text, "tools/scripts")
                action.triggered.connect(lambda _, command=command: perform(command))
            action = window.createAction("diffbmp_show", i18n("DiffBMP: Show Docker"), "tools/scripts")
            action.triggered.connect(lambda: show_docker())

    def perform(command: str) -> None:
        try:
            current = session()
        except ImportError:  # the docker says what is missing
            show_docker()
        else:
            getattr(current, command)()

    def show_docker() -> None:
        for docker in Krita.instance().dockers():
            if docker.objectName() == DOCKER:
                docker.show()
                docker.raise_()

    extend_path()
    extension = DiffBmpExtension(Krita.instance())
    Krita.instance().addExtension(extension)
    Krita.instance().addDockWidgetFactory(
        DockWidgetFactory(DOCKER, DockWidgetFactoryBase.DockPosition.DockRight, Docker)
    )
