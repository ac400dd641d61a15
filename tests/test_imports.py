"""What imports what: no circle, and nobody who answers a question pays for the builder; and how long files are."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
PACKAGES = {"monai_mimo": ROOT / "monai_mimo", "monai_mimo.transforms": ROOT / "transforms"}


def modules(packages: dict[str, Path]) -> dict[str, Path]:
    """Name -> file of all modules of packages."""
    found = {}
    for package, folder in packages.items():
        for file in folder.rglob("*.py"):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imports(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """The modules among `known` that a module imports when it is imported itself: not those within its functions, nor those for
    type checkers."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                inner = [f"{source}.{alias.name}" for alias in node.names]
                found.update(module if module in known else source for module in inner)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "TYPE_CHECKING" not in ast.dump(
                getattr(node, "test", ast.Constant(0))
            ):
                for part in ("body", "orelse", "handlers", "finalbody"):
                    visit(getattr(node, part, []))

    visit(ast.parse(file.read_text(encoding="utf-8")).body)
    return (found & known.keys()) - {name}


def circle(known: dict[str, Path]) -> list[str] | None:
    """Modules that import each other, the first of them at the end again; none where there is no circle."""
    try:
        TopologicalSorter({name: imports(name, file, known) for name, file in known.items()}).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return None


def test_the_import_graph_has_no_circle() -> None:
    known = modules(PACKAGES)
    assert len(known) > 100
    assert "monai_mimo.errors" in imports("monai_mimo.files", known["monai_mimo.files"], known)
    found = circle(known)
    assert found is None, " imports ".join(found)


@pytest.mark.parametrize("folder", [*PACKAGES.values(), ROOT / "monailabel_app"], ids=lambda folder: folder.name)
def test_files_are_read_in_one_sitting(folder: Path) -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in folder.rglob("*.py")}
    assert {file: count for file, count in lines.items() if count > MOST_LINES} == {}


def test_a_circle_is_found(tmp_path: Path) -> None:
    texts = {"__init__": "", "a": "from . import b", "b": "if True:\n    from .c import x", "c": "import p.a"}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert circle(modules({"p": tmp_path})) is not None
    for text in ("def f():\n    import p.a", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a"):
        (tmp_path / "c.py").write_text(text)
        assert circle(modules({"p": tmp_path})) is None


@pytest.mark.parametrize("module", ["monai_mimo.inference"])
def test_who_answers_imports_no_builder(module: str) -> None:
    code = f"import sys, {module}\nprint(*(m for m in sys.modules if m.startswith('monai_mimo.mimoseg.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.split(".")[2] for name in loaded}
    assert not rooms & {"builder", "describe", "sources", "label_files", "review", "load"}


LATER = {
    "data": ("models", "engines", "evaluation", "calibration", "inference", "cli", "demo"),
    "models": ("engines", "evaluation", "calibration", "planning", "inference", "cli", "demo"),
    "metrics": ("models", "engines", "evaluation", "calibration", "inference", "cli", "demo"),
    "inference": ("engines", "evaluation", "planning", "cli", "demo"),
    "transforms": ("data", "models", "engines", "inference", "metrics", "cli", "demo"),
}


@pytest.mark.parametrize("room", LATER)
def test_a_stage_imports_no_later_one(room: str) -> None:
    known = modules(PACKAGES)
    later = tuple(f"monai_mimo.{name}" for name in LATER[room])
    wrong = {
        (name, target)
        for name, file in known.items()
        if name.startswith(f"monai_mimo.{room}")
        for target in imports(name, file, known)
        if target.startswith(later)
    }
    assert not wrong
