import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_attacks_is_what_the_generator_writes() -> None:
    spec = importlib.util.spec_from_file_location("generate_attacks", DOCS / "generate_attacks.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    written = (DOCS / "attacks.md").read_text(encoding="utf-8")
    assert written == generator.page(), "docs/attacks.md is out of date. Run python docs/generate_attacks.py."
    assert written.count("| `torchattacks/") == 39
