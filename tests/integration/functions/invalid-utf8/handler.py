"""Prints bytes that are no text: broken UTF-8, NUL, escapes for a terminal, a lone carriage return, markup."""

import os

OUTPUT = (
    b"before\n"
    b"broken \xff\xfe\x80 \xc3( \xed\xa0\x80 bytes\n"
    b"nul \x00 inside\n"
    b"\x1b[31mred\x1b[0m \x1b]0;title\x07\n"
    b"progress 1\rprogress 2\r\n"
    b"<script>alert(1)</script>\n"
    b"END RequestId: 00000000-0000-0000-0000-000000000000\n"
    b"after, without a newline"
)


def handler(event, context):
    os.write(1, OUTPUT)
    return {"bytes": len(OUTPUT)}
