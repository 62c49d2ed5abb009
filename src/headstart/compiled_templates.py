"""Load Jinja templates from bytecode that is kept as Python keeps its own, in `__pycache__` beside the template.

Compiling the report's templates takes about as long as importing NumPy and SciPy together. The bytecode is trusted
exactly as far as that of any module, honours `PYTHONDONTWRITEBYTECODE` and `PYTHONPYCACHEPREFIX`, and is compiled again
where the template or Jinja is another. Where nothing can be written, templates are compiled in every process.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, MutableMapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template

FOLDER = Path(__file__).parent / "templates"
_SUFFIX = ".py"  # `cache_from_source` drops the last suffix, and report.css is not report.html


class Templates:
    """Load templates of a folder by name, as a Jinja loader does."""

    has_source_access = False

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    def load(
        self, environment: Environment, name: str, globals: MutableMapping[str, Any] | None = None,  # noqa: A002
    ) -> Template:  # fmt: skip
        """Load one template.

        Raises:
            jinja2.TemplateNotFound: there is none of that name.
        """
        from jinja2 import TemplateNotFound

        path = self.folder / name
        if path.parent != self.folder or not path.is_file():
            raise TemplateNotFound(name)
        code = _Bytecode(environment, name, path).get_code(name)
        if code is None:
            raise TemplateNotFound(name)
        return environment.template_class.from_code(environment, code, {} if globals is None else globals, _unchanged)


class _Bytecode(SourceFileLoader):
    """Compile a template where its bytecode is missing or of another template, by Python's own rules."""

    def __init__(self, environment: Environment, name: str, path: Path) -> None:
        super().__init__(name, f"{path}{_SUFFIX}")
        self.environment, self.template = environment, str(path)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        import jinja2

        found = super().path_stats(self.template if path == self.path else path)
        stamp = f"{found['mtime']} {jinja2.__version__}".encode()
        return {"mtime": zlib.crc32(stamp), "size": found["size"]}

    def get_data(self, path: str) -> bytes:
        return super().get_data(self.template if path == self.path else path)

    def source_to_code(self, data: bytes, *_: Any, **__: Any) -> CodeType:  # type: ignore[override]
        return self.environment.compile(data.decode(), self.name, self.template)


_unchanged: Callable[[], bool] = lambda: True  # noqa: E731
