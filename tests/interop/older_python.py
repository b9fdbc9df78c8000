"""Takes the notation of type parameters (Python 3.12) out of the modules in a folder, whose annotations nobody evaluates."""

import pathlib
import re
import sys

for path in pathlib.Path(sys.argv[1]).rglob("*.py"):
    text = path.read_text()
    older = re.sub(r"^(\s*(?:async )?def \w+)\[[^\]]*\]\(", r"\1(", text, flags=re.MULTILINE)
    older = re.sub(r"^type (\w+) =", r"\1 =", older, flags=re.MULTILINE)
    if older != text:
        path.write_text(older)
