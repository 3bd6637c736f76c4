"""What of a container's output a log file holds already, so that the rest can be added after the runner was away."""

import re
from collections.abc import Iterator

PLATFORM_LINE = re.compile(rb"^(START|END|REPORT) RequestId: .*\n", re.MULTILINE)
DOES_NOT_FIT = b"\n[the file does not fit what the container engine kept of the output, which follows]\n"
NOTE = re.compile(rb"^\[.*\]\n\Z", re.MULTILINE)  # of the platform, before one of its lines
NOT_THERE = re.compile(rb"\[output (?:truncated|lost): (\d{1,15}) ")  # notes about output that was printed there
MOST_ENDS = 64  # where the output of a container may end in its log: so many are followed, of those that come last


def missing_output(content: bytes, output: Iterator[bytes]) -> Iterator[bytes]:
    """What must be added to a log file that holds ``content`` of a container's whole ``output``, as that comes."""
    missing = _catch_up(content, output)
    del content  # it may be long, and the output go on for hours
    yield missing
    yield from output


def _catch_up(content: bytes, output: Iterator[bytes]) -> bytes:
    """Take of the output what the file holds. Returns what came with the last of it and must be added."""
    least = sum(lengths[-1][0] for _, lengths in _pieces(content))
    begun = bytearray()
    for more in output:
        begun += more
        if len(begun) < least or begun.endswith(b"\r"):  # what a return means depends on what follows
            continue
        text = with_line_ends(begun)
        ends, may_go_on = ends_of(content, text)
        if not may_go_on:
            return text[max(ends) :] if ends else DOES_NOT_FIT + text
    return _missing_output(content, bytes(begun))


def _missing_output(content: bytes, output: bytes) -> bytes:
    """What of a container's whole ``output`` must be added to a log file that holds ``content``."""
    text = with_line_ends(output)
    ends, may_go_on = ends_of(content, text)
    if ends:
        return text[max(ends) :]
    return b"" if may_go_on else DOES_NOT_FIT + text


def ends_of(content: bytes, output: bytes) -> tuple[set[int], bool]:
    """Where in the output that ends which the file holds, by all that it may mean; and whether the file may hold more.

    All are followed side by side, piece by piece: what fits a piece best may not fit the next.
    """
    ends, may_go_on = {0}, False
    for piece, lengths in _pieces(content):
        reached = set()
        for begin in sorted(ends)[-MOST_ENDS:]:
            reached |= {
                begin + length + left_out for length, left_out in lengths if output.startswith(piece[:length], begin)
            }
            rest = len(output) - begin
            may_go_on |= rest < len(piece) and output.startswith(piece[:rest], begin)
        ends = {end for end in reached if end <= len(output)}
        may_go_on |= len(ends) < len(reached)
    return ends, may_go_on


def _pieces(content: bytes) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
    """What stands between the lines of the platform; how much of it, and more, the container may have printed.

    Before a line of the platform there may be notes of ours, and a line end that the container did not print. A note
    may say how much else was printed and is not there. The longest comes first.
    """
    begin = 0
    for line in PLATFORM_LINE.finditer(content):
        piece = content[begin : line.start()]
        begin = line.end()
        lengths, left_out = [(len(piece), 0)], 0
        while note := NOTE.search(piece[: lengths[-1][0]]):
            told = NOT_THERE.match(note[0])
            left_out += int(told[1]) if told else 0
            lengths.append((note.start(), left_out))
        lengths += [(length - 1, left_out) for length, left_out in lengths if piece[:length].endswith(b"\n")]
        yield piece, sorted(set(lengths), reverse=True)
    piece = content[begin:]
    yield piece, [(len(piece), 0)]


def with_line_ends(output: bytes | bytearray) -> bytes:
    """As `LogFile.write` keeps it: a carriage return without a line end becomes one."""
    return re.sub(rb"\r(?!\n)", b"\n", output)
