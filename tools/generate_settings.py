"""Write the table of docs/settings.md, and .env.example: python -m tools.generate_settings."""

from __future__ import annotations

from pathlib import Path

from embedder.settings import Setting
from indexer.config import SETTINGS

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- settings: made by tools/generate_settings.py -->\n", "<!-- end of settings -->\n"


def render_table() -> str:
    """The table of the page, a row per setting."""
    rows = ["| variable | in `polylens.toml` | default | what it is |", "|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        also = "".join(f" `{variable}` is the same." for variable in setting.env)
        text = (setting.help + also).replace("|", "\\|")
        rows.append(f"| {_variable(name)} | `{name}` | {setting.shown_default} | {text} |")
    return "\n".join(rows) + "\n"


def render_page(text: str) -> str:
    """`text` with its settings table replaced."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{render_table()}\n{END}{after}"


def render_env() -> str:
    """.env.example, a commented line per setting."""
    lines = [
        "# Copy to .env and change what you need; a flag on the command line wins over all of it."
    ]
    for name, setting in SETTINGS.items():
        variable = f"POLYLENS_{name.upper()}"
        if setting.env and setting.env[0] == name.upper():
            variable = name.upper()  # as Qdrant calls it
        lines.append(f"# {f'{variable}={_example(setting)}':<40} # {setting.help}")
        lines += [
            f"# {alias}=http://localhost:6333" for alias in setting.env if alias == "QDRANT_URL"
        ]
    return "\n".join(lines) + "\n"


def _variable(name: str) -> str:
    return f"`POLYLENS_{name.upper()}`"


def _example(setting: Setting) -> str:
    if setting.example or setting.secret:
        return setting.example
    return setting.shown_default if " " not in setting.shown_default else ""


def main() -> None:
    page = ROOT / "docs" / "settings.md"
    page.write_text(render_page(page.read_text("utf-8")), "utf-8")
    (ROOT / ".env.example").write_text(render_env(), "utf-8")


if __name__ == "__main__":
    main()
