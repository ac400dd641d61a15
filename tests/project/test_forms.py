"""The files that services read: citation, forms, workflows; and the two lists of packages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

import monai_mimo

from .test_locks import PROJECT, ROOT

GITHUB = ROOT / ".github"


def test_citation() -> None:
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(about)  # what the format requires
    assert about["version"] == monai_mimo.__version__ == PROJECT["version"]
    assert about["license"] == PROJECT["license"]
    assert about["keywords"] == PROJECT["keywords"]
    assert [author["name"] for author in about["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_citation_fits_its_schema() -> None:
    cffconvert = pytest.importorskip("cffconvert")
    text = (ROOT / "CITATION.cff").read_text()
    cffconvert.Citation(text).validate()
    with pytest.raises(Exception, match="authors"):
        cffconvert.Citation(text.replace("authors:", "writers:", 1)).validate()


@pytest.mark.parametrize("name", ["bug", "wish"])
def test_issue_forms(name: str) -> None:
    """The fields of GitHub's form schema."""
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in fields} <= {"textarea", "input", "checkboxes", "dropdown"}
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)
    assert any(part.get("validations", {}).get("required") for part in fields)


def test_workflows_call_what_developers_call() -> None:
    makefile = (ROOT / "Makefile").read_text()
    called = set()
    for file in (GITHUB / "workflows").iterdir():
        flow = yaml.safe_load(file.read_text())
        assert flow["permissions"] == {"contents": "read"}
        for job in flow["jobs"].values():
            runs = [step["run"].split() for step in job["steps"] if "run" in step]
            assert runs
            for program, *words in runs:
                if program == "make":
                    assert all(f"\n{word}:" in makefile for word in words)
                    called |= set(words)
                else:
                    assert os.access(ROOT / program, os.X_OK)
                    called.add(program)
    assert {".ci/run", "test-matrix", "sbom", "audit", ".ci/matrix"} <= called


AUDITS = {
    "none": ("No known vulnerabilities found", 0, 0, "no known weakness"),
    "some": ("Found 1 known vulnerability in 1 package\nName Version ID\nx 1 PYSEC-1", 1, 1, "PYSEC-1"),
    "offline": ("ERROR:pip_audit._cli:Failed to connect: Name or service not known", 1, 0, "NOT AUDITED"),
    "broken": ("ERROR: requirements file is damaged", 1, 2, "ended with status 1"),
}


@pytest.mark.parametrize("case", AUDITS)
def test_audit_says_whether_it_looked(case: str, tmp_path: Path) -> None:
    text, code, expected, said = AUDITS[case]
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat <<'TEXT'\n{text}\nTEXT\nexit {code}\n")
    program.chmod(0o755)
    done = subprocess.run([ROOT / ".ci" / "audit", program, "requirements/core.txt"], capture_output=True, text=True)
    assert done.returncode == expected
    assert said in done.stdout + done.stderr
