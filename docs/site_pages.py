"""Pages of the site that are made when it is built: from the code, the protocol's schema and files outside ``docs/``.

MkDocs calls the functions that begin with ``on_`` (see ``hooks`` in mkdocs.yml).
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from rsd_med.protocol.protocol import Protocol

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"(\]\()((?:\.\./)+)([\w./-]+)")
PACKAGE = ROOT / "rsd_med"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
ABOVE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the API's pages, one for each room."""
    config.nav.append({"API": ["api/commands.md", *(f"api/{room.name}.md" for room in ROOMS)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and the files outside ``docs/`` that pages link to."""
    pages = {target: _moved_here((ROOT / name).read_text("utf-8")) for name, target in ABOVE.items()}
    pages |= {"settings.md": settings_page()} | dict(_api_pages()) | dict(_example_pages())
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    linked = {
        target
        for file in files.documentation_pages()
        for _, _, target in OUTSIDE.findall(file.content_string)
        if (ROOT / target).is_file()
    }
    for target in linked:
        if files.get_file_from_path(_copy_of(target)) is None:
            files.append(File.generated(config, _copy_of(target), abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that lead out of ``docs/`` lead to the copy in the site; a link to nothing stays, and fails."""
    depth = page.file.src_uri.count("/")

    def inside(match: re.Match[str]) -> str:
        start, _, target = match.groups()
        if not (ROOT / target).is_file():
            return match[0]
        return start + "../" * depth + _copy_of(target)

    return OUTSIDE.sub(inside, markdown)


def _copy_of(target: str) -> str:
    """Return where the site has a file of the repository: an example has a page, a page of results is text to read."""
    if target.startswith("examples/"):
        return target.replace(".py", ".md")
    return f"source/{target}".replace(".md", ".md.txt")


def _moved_here(text: str) -> str:
    """Return a page of the repository's root with its links as seen from ``docs/``."""
    for name, target in ABOVE.items():
        text = text.replace(f"]({name})", f"]({target})")
    text = text.replace("](docs/protocol.schema.json)", "](settings.md)")
    return text.replace("](docs/", "](").replace("](examples/", "](../examples/")


def _api_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each room of the package, with the public names of all its modules."""
    yield "api/commands.md", _modules_page("Commands", sorted(PACKAGE.glob("*.py")))
    for room in ROOMS:
        yield f"api/{room.name}.md", _modules_page(room.name, sorted(room.rglob("*.py")))


def _modules_page(title: str, modules: list[Path]) -> str:
    public = [path for path in modules if not path.name.startswith("_")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in public]
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in names)])


def _example_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each example: its docstring as text, the rest as code."""
    for path in sorted((ROOT / "examples").glob("*.py")):
        source = path.read_text("utf-8")
        title, _, text = (ast.get_docstring(ast.parse(source)) or path.stem).partition("\n")
        code = source.split('"""', 2)[2].strip()
        run = f"Run it with `python examples/{path.name}`. It runs in every check of this repository."
        yield f"examples/{path.stem}.md", f"# {title.rstrip('.')}\n\n{text}\n\n{run}\n\n```python\n{code}\n```\n"


def settings_page() -> str:
    """Return a table for each class of settings, from the schema that editors are given."""
    schema = Protocol.model_json_schema()
    entries = [
        "# Settings",
        "",
        "Every key of a protocol, from the schema that checks it.",
        "",
        *_table("protocol", schema),
    ]
    for name, definition in sorted(schema["$defs"].items()):
        if "properties" in definition:
            entries += _table(name, definition)
    return "\n".join(entries)


def _table(name: str, definition: dict) -> list[str]:
    rows = [f"## {name.removesuffix('Settings')}", "", definition.get("description", ""), ""]
    rows += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in definition["properties"].items():
        default = (
            f"`{field['default']!r}`" if "default" in field else "" if key in definition.get("required", ()) else "…"
        )
        cells = [f"`{key}`", _kind(field), default, field.get("description", "").replace("\n", " ")]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*rows, ""]


def _kind(field: dict) -> str:
    """Say in words what values a field takes."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name.removesuffix('Settings')}](#{name.removesuffix('Settings').lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in field:
            return " or ".join(_kind(one) for one in field[choice])
    if field.get("type") == "array" and isinstance(field.get("items"), dict):
        return f"list of {_kind(field['items'])}"
    return str(field.get("type", "any"))
