"""docs/performance.md: each benchmark's figures stand between two markers, and only those are written anew."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from support.paths import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "pictures"


@dataclass(frozen=True)
class Picture:
    """An SVG, and the words for those who do not see it."""

    name: str
    svg: str
    alternative: str

    def markdown(self) -> str:
        """The reference to it, seen from the document."""
        return f"![{self.alternative}](pictures/performance-{self.name}.svg)"

    def write(self) -> None:
        """Save it."""
        (PICTURES / f"performance-{self.name}.svg").write_text(self.svg, encoding="utf-8")


@dataclass
class Section:
    """What a benchmark found: paragraphs, tables and pictures, in order."""

    parts: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def text(self, words: str) -> None:
        """Add a paragraph."""
        self.parts.append(words)

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table. Its first column is words, the others are numbers and stand to the right."""
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        self.parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))

    def picture(self, picture: Picture) -> None:
        """Add a picture."""
        self.pictures.append(picture)
        self.parts.append(picture.markdown())


def write(name: str, section: Section, circumstances: str) -> None:
    """Put the figures, and when and where they were measured, between the benchmark's markers."""
    for picture in section.pictures:
        picture.write()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = "\n\n".join([begin, f"*{circumstances}*", *section.parts, end])
    document = DOCUMENT.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    assert len(pattern.findall(document)) == 1, f"{DOCUMENT} must have the markers of {name} once"
    DOCUMENT.write_text(pattern.sub(lambda _: content, document), encoding="utf-8")
