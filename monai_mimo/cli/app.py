"""`mimo app`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError, OutputError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """The options."""
    parser = commands.add_parser("app", help="copy the MONAI Label app for 3D Slicer and OHIF")
    parser.add_argument("out", metavar="DIR", type=Path, help="a new folder")
    parser.add_argument(
        "--example-studies",
        metavar="DIR",
        type=Path,
        help="also make a folder of phantom studies, NIfTI, DICOM and pictures",
    )
    parser.set_defaults(run=app)


def app(options: argparse.Namespace) -> None:
    """Copy the app, and say how to start it."""
    import importlib.util
    import shutil
    from importlib import resources

    from ..files import atomic_folder, output_errors

    for out in (options.out, options.example_studies):
        if out is not None and out.exists():
            raise OutputError(out, "an existing path", "a new folder")
    source = Path(str(resources.files("monai_mimo.app")))
    if not (source / "main.py").is_file():
        raise InputError(source, "no app", "an installation of monai-mimo with its MONAI Label app")
    unwanted = shutil.ignore_patterns("__pycache__", "logs", "model", "bin", "studies")
    with output_errors(options.out), atomic_folder(options.out) as new:
        shutil.copytree(source, new, ignore=unwanted, dirs_exist_ok=True)
    if options.example_studies is not None:
        from ..phantom.writer import write_studies

        write_studies(options.example_studies)
    studies = options.example_studies or "STUDIES"
    print(f"app: {options.out}")
    if importlib.util.find_spec("monailabel") is None:
        print('first: pip install "monai-mimo[label]"')
    print(f"start: monailabel start_server --app {options.out} --studies {studies} --host 127.0.0.1")
