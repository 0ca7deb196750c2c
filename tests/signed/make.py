#!/usr/bin/env python3
"""Writes messages.json: messages, keys, and what two implementations say about them.

    python3 -m venv /tmp/signed
    /tmp/signed/bin/pip install dkimpy==1.1.8 pynacl authres authheaders==0.16.3
    /tmp/signed/bin/python -B tests/signed/make.py

It says the same whenever and wherever it runs. Each message has the words that RFC 8601 wants
from us (`dkim`, one for each signature, and `arc`), which are written by hand in the lists of
cases, and beside them what dkimpy says (`dkimpy`, `dkimpy_arc`: pass or fail). Where one passes
and the other does not, `differs` names the section that says why. In `message` one character
is one byte. `dmarc` is a table of policies, judged by authheaders.
"""

import json
import logging
import pathlib
import types

import arc_cases
import dkim
import dkim_cases
import dmarc_cases
from keys import RECORDS
from signer import NOW


class Clock:
    """Stands where dkimpy looks for the time."""

    time = staticmethod(lambda: NOW)


def lookup(name, timeout=None):
    """TXT records as dkimpy asks for them; names in other scripts as its resolver has them."""
    name = name.decode() if isinstance(name, bytes) else name
    labels = (label.encode("idna").decode() for label in name.rstrip(".").lower().split("."))
    return RECORDS.get(".".join(labels), "").encode()


def judge_dkim(message):
    headers, _ = dkim.rfc822_parse(message)
    count = sum(1 for name, _ in headers if name.lower() == b"dkim-signature")
    words = []
    for index in range(count):
        try:
            passed = dkim.DKIM(message).verify(idx=index, dnsfunc=lookup)
        # It ends with all kinds of errors, and not only its own.
        except Exception:
            passed = False
        words.append("pass" if passed else "fail")
    return words


def judge_arc(message):
    try:
        word, _, _ = dkim.ARC(message).verify(dnsfunc=lookup)
    except Exception:
        word = b"fail"
    # It has no word for a chain that says itself that it is broken.
    return (word or b"fail").decode()


def judged(case):
    name, message, words, arc, differs = case
    try:
        found, found_arc = judge_dkim(message), judge_arc(message)
    except dkim.MessageFormatError:
        found, found_arc = ["fail"] * len(words), "none"
    passes = [word == "pass" for word in [*words, arc]]
    same = passes == [word == "pass" for word in [*found, found_arc]]
    if same == bool(differs):
        raise SystemExit(f"{name}: {words} {arc}, dkimpy {found} {found_arc}, {differs}")
    row = {
        "name": name,
        "message": message.decode("latin-1"),
        "dkim": words,
        "arc": arc,
        "dkimpy": found,
        "dkimpy_arc": found_arc,
    }
    return row | ({"differs": differs} if differs else {})


def main():
    dkim.time = types.SimpleNamespace(time=Clock.time)
    logging.getLogger("dkimpy").setLevel(logging.CRITICAL)
    messages = [judged(case) for case in dkim_cases.cases() + arc_cases.cases()]
    names = [message["name"] for message in messages]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SystemExit(f"twice: {twice}")
    tables = {"keys": RECORDS, "messages": messages, "dmarc": dmarc_cases.judged()}
    lines = []
    for key, table in tables.items():
        rows = table.items() if isinstance(table, dict) else [(None, row) for row in table]
        texts = (
            (json.dumps(name) + ": " if name else "") + json.dumps(row, separators=(",", ":"))
            for name, row in rows
        )
        brackets = "{}" if isinstance(table, dict) else "[]"
        lines.append(f'"{key}": {brackets[0]}\n' + ",\n".join(texts) + f"\n{brackets[1]}")
    path = pathlib.Path(__file__).with_name("messages.json")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(messages)} messages, {sum('differs' in row for row in messages)} differ")


if __name__ == "__main__":
    main()
