"""Mutants of a file: of its bytes, and of what they mean.

A mutation of bytes is damage, which a checksum finds. One of values is what a hostile file holds: its checksums are
right, so that the code behind them is reached.
"""

import json
import random
import re
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

Mutation = Callable[[bytearray, random.Random], None]
"""Changes a file's content in place."""

# --- bytes ---


def flip(content: bytearray, chance: random.Random) -> None:
    """One to three bits."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def change(content: bytearray, chance: random.Random) -> None:
    """A byte becomes another, or a digit another digit, which is what JSON does not notice."""
    digits = [place for place, byte in enumerate(content[:100_000]) if 48 <= byte < 58]
    if digits and chance.random() < 0.5:
        content[chance.choice(digits)] = chance.randrange(48, 58)
    else:
        content[chance.randrange(len(content))] = chance.randrange(256)


def cut(content: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del content[chance.choice((chance.randrange(len(content)), max(len(content) - chance.randrange(1, 40), 0))) :]


def gap(content: bytearray, chance: random.Random) -> None:
    """Some bytes are missing."""
    place = chance.randrange(len(content))
    del content[place : place + chance.choice((1, 2, 8, 64, 512))]


def insertion(content: bytearray, chance: random.Random) -> None:
    """Some bytes too many: any, or some of its own."""
    place, size = chance.randrange(len(content) + 1), chance.choice((1, 2, 16, 300))
    own = chance.randrange(len(content))
    content[place:place] = chance.choice((chance.randbytes(size), bytes(content[own : own + size])))


def swap(content: bytearray, chance: random.Random) -> None:
    """Two blocks have changed places."""
    size = min(chance.choice((1, 4, 64, 512)), len(content) // 2)
    if size:
        a = chance.randrange(len(content) // 2 - size + 1)
        b = len(content) // 2 + chance.randrange(len(content) - len(content) // 2 - size + 1)
        content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]


def zeros(content: bytearray, chance: random.Random) -> None:
    """A block was never written."""
    place = chance.randrange(len(content))
    size = min(chance.choice((1, 16, 512, 4096)), len(content) - place)
    content[place : place + size] = bytes(size)


def header(content: bytearray, chance: random.Random) -> None:
    """A number among the first bytes is extreme."""
    size = chance.choice((1, 2, 4, 8))
    place = chance.randrange(min(len(content), 256))
    value = chance.choice((b"\0", b"\xff", b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"\0\1\0\1"))
    content[place : place + size] = (value * size)[:size]


BYTES: tuple[Mutation, ...] = (flip, flip, change, change, cut, gap, insertion, swap, zeros, header)

# --- JSON ---


@dataclass(frozen=True, eq=False)
class Raw:
    """Text that stands in a JSON as it is: a value, or a key."""

    text: str


ODD = tuple(
    map(
        Raw,
        (
            "9" * 4400,
            f"-{'9' * 4400}",
            f"{'9' * 30}",
            f"0.{'1' * 5000}",
            "1e999",
            "-1e999",
            "1e308",
            "1e-400",
            "NaN",
            "Infinity",
            "-Infinity",
            "-1",
            "0",
            "-0.0",
            "1.5",
            "255",
            "256",
            "65536",
            "16777216",
            "2147483647",
            "2147483648",
            "-2147483649",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551616",
            "true",
            "false",
            "null",
            "[]",
            "{}",
            '""',
            "[null]",
            "[1, 2, 3, 4]",
            "[-1, -1, -1, -1]",
            "[1e300, 1e300, 1e300, 1e300]",
            '{"": ""}',
            "[" * 60 + "]" * 60,
            "[" * 2000 + "]" * 2000,
            '{"a":' * 70 + "0" + "}" * 70,
            '"\\ud800"',
            '"\\udfff\\ud800"',
            '"\\udc80"',
            '"a\\u0000b"',
            '"\\u001b[2J"',
            '"<script>alert(1)</script>"',
            '"../../../outside"',
            '"/etc/passwd"',
            '"."',
            '".."',
            '"a/b/../../../c"',
            '"\\u202eab"',
            '"1"',
            '"-1"',
            '"NaN"',
            f'"{"x" * 300}"',
            f'"{"y" * 70_000}"',
        ),
    )
)


def written(value: Any) -> str:
    """JSON with Raw in it."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return f"{{{', '.join(f'{written(key)}: {written(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value)


def json_values(value: Any, chance: random.Random) -> Any:
    """Changes one place of JSON values: another value, a key that is missing, double or new, an entry too many."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        for key in keys:
            places.append((inner, key))
            if isinstance(inner[key], (dict, list)):
                waiting.append(inner[key])
    if not places:
        return chance.choice(ODD)
    # Keys that occur often, in long lists, must not hide the others.
    names = sorted({str(key) if isinstance(inner, dict) else "[]" for inner, key in places})
    name = chance.choice(names)
    fitting = [one for one in places if (str(one[1]) if isinstance(one[0], dict) else "[]") == name]
    inner, key = chance.choice(fitting)
    how = chance.randrange(10)
    if how < 6:
        inner[key] = chance.choice(ODD)
    elif how == 6:
        del inner[key]
    elif how == 7 and isinstance(inner, dict):
        inner[Raw(json.dumps(key))] = chance.choice((inner[key], chance.choice(ODD)))
    elif how == 7:
        inner.insert(key, inner[key])
    elif how == 8:
        other, at = chance.choice(fitting)
        inner[key], other[at] = other[at], inner[key]
    elif isinstance(inner, dict):
        inner[chance.choice(("x", "crc32", "id", "", "y" * 500))] = chance.choice(ODD)
    else:
        inner.extend([inner[key]] * chance.choice((1, 200)))
    return value


def json_file(content: bytes, chance: random.Random) -> bytes:
    """A JSON object with another value, without a checksum that would tell."""
    values = json.loads(content)
    if isinstance(values, dict):
        values.pop("crc32", None)
    if chance.random() < 0.03:
        return written(chance.choice(ODD)).encode()
    return written(json_values(values, chance)).encode()


def json_lines(content: bytes, chance: random.Random) -> bytes:
    """A line of JSON with another value, and its checksum right."""
    lines = content.splitlines()
    number = chance.randrange(len(lines))
    values = json.loads(lines[number])
    values.pop("crc32", None)
    lines[number] = with_checksum(written(json_values(values, chance))).encode()
    return b"\n".join(lines) + b"\n"


def with_checksum(text: str) -> str:
    """A JSON object's text with the checksum of its values before them; as it is where it has none."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        found = zlib.crc32(json.dumps(json.loads(text)).encode())
    except (ValueError, RecursionError):
        return text
    finally:
        sys.set_int_max_str_digits(limit)
    return f'{{"crc32": "{found:08x}", {text[1:]}' if text[:1] == "{" and text != "{}" else text


# --- YAML ---

ODD_YAML = (
    *(one.text for one in ODD if len(one.text) < 200 and "\\ud" not in one.text),
    "!!python/object/apply:os.system [touch planted]",
    "!!python/name:os.system",
    "&a [*a]",
    "*nowhere",
    "&b [" + ", ".join(["x"] * 9) + "]",
    "| \n    text",
    "? a",
    "2026-01-01",
    "0x7fffffffffffffffffff",
    "1_000",
    ".inf",
    ".nan",
    "-.inf",
    "0o17",
    "190:20:30",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!timestamp 2026-99-99",
    "!!int x",
    "!!float y",
    "~",
    "yes",
    "'",
    '"',
    "@x",
    "%x",
    "[",
    "{",
    "{a: {<<: *c}}",
    "\t- x",
    "\x00",
    "\x85",
    "\ufeff",
    "9" * 4400,
    "[" * 1200 + "]" * 1200,
)


def yaml_lines(content: bytes, chance: random.Random) -> bytes:
    """A line of a YAML with another value, missing, double, or at another depth."""
    lines = content.decode().split("\n")
    number = chance.randrange(len(lines))
    how = chance.randrange(8)
    line = lines[number]
    if how < 4:
        # A value of `key: value`, or of `{id: 1, name: car}`.
        values = list(re.finditer(r"(?<=: )[^,}#]+", line))
        if values:
            found = chance.choice(values)
            line = line[: found.start()] + chance.choice(ODD_YAML) + line[found.end() :]
        lines[number] = line if values else chance.choice(ODD_YAML)
    elif how == 4:
        del lines[number]
    elif how == 5:
        lines.insert(number, line)
    elif how == 6:
        lines[number] = chance.choice(("  ", " ", "\t", "- ", "? ", "&a ", "!!x ")) + line
    else:
        lines[number] = chance.choice(
            (line.replace(":", "", 1), f"{line} {line}", f"{line}\n<<: *a", f"x{line.strip()}")
        )
    return "\n".join(lines).encode(errors="surrogateescape")


# --- PNG ---

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunks(content: bytes, chance: random.Random) -> bytes:
    """A PNG whose chunks are other ones, with their checksums right."""
    chunks = _chunks(content)
    number = chance.randrange(len(chunks))
    kind, data = chunks[number]
    how = chance.randrange(8)
    if how == 0 and number:
        del chunks[number]
    elif how == 1:
        chunks.insert(chance.randrange(len(chunks)), (kind, data))
    elif how == 2:
        other = chance.randrange(len(chunks))
        chunks[number], chunks[other] = chunks[other], chunks[number]
    elif how == 3:
        size = struct.pack(
            ">II", *(chance.choice((0, 1, 7, 64, 65_535, 70_000, 1 << 20, 2**31 - 1, 2**32 - 1)) for _ in "hw")
        )
        chunks[0] = (chunks[0][0], size + chunks[0][1][8:])
    elif how == 4:
        fields = bytes(chance.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        keep = chance.randrange(5)
        merged = chunks[0][1][8:][:keep] + fields[keep : keep + 1] + chunks[0][1][8:][keep + 1 :]
        chunks[0] = (chunks[0][0], chunks[0][1][:8] + merged)
    elif how == 5:
        chunks.insert(
            1,
            (
                chance.choice((b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"acTL", b"gAMA", b"eXIf", b"XXXX")),
                chance.randbytes(chance.choice((0, 1, 3, 12, 2000))),
            ),
        )
    elif how == 6:
        with_pixels = [place for place, (name, _) in enumerate(chunks) if name == b"IDAT"]
        pixels = bytearray(zlib.decompress(b"".join(chunks[place][1] for place in with_pixels)))
        chance.choice(BYTES)(pixels, chance)
        rest = [one for place, one in enumerate(chunks) if place not in with_pixels]
        chunks = [*rest[:-1], (b"IDAT", zlib.compress(bytes(pixels))), rest[-1]]
    elif data:
        changed = bytearray(data)
        chance.choice(BYTES)(changed, chance)
        chunks[number] = (kind, bytes(changed))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return _SIGNATURE + b"".join(parts)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], len(_SIGNATURE)
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


# --- archives ---


def zip_members(content: bytes, chance: random.Random) -> bytes:
    """A zip with another member, or with other words about one, and the checksums right."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        method = archive.infolist()[0].compress_type
        members = [(one.filename, archive.read(one)) for one in archive.infolist()]
    number = chance.randrange(len(members))
    name, data = members[number]
    how = chance.randrange(8)
    if how < 3 and data:
        # The list of tensors, or a JSON, is reached as often as what is large.
        telling = [place for place, (one, _) in enumerate(members) if one.endswith((".pkl", ".json"))]
        number = chance.choice(telling) if telling and chance.random() < 0.6 else number
        name, data = members[number]
        changed = bytearray(data or b"\0")
        if name.endswith(".json"):
            changed = bytearray(json_file(data, chance))
        else:
            chance.choice(BYTES)(changed, chance)
        members[number] = (name, bytes(changed))
    elif how == 3:
        del members[number]
    elif how == 4:
        odd = (
            "../out",
            "/etc/x",
            "a\\b",
            "x" * 300,
            ".",
            "..",
            name + "/",
            "C:\\x",
            "a\ud800b".encode(errors="replace").decode(),
        )
        members[number] = (chance.choice(odd), data)
    elif how == 5:
        members.append((name, data))
    elif how == 6:
        members.append(("large", bytes(8 << 20)))
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if how == 6 else method) as archive:
        for one, data in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a double name
                archive.writestr(one, data)
    made = bytearray(target.getvalue())
    if how == 7:
        _change_directory(made, chance)
    return bytes(made)


def _change_directory(content: bytearray, chance: random.Random) -> None:
    """Another number in a zip's directory: a size, an offset, a method, flags."""
    places = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
    if places:
        at = chance.choice(places) + chance.choice((8, 10, 16, 20, 24, 28, 30, 42))
        content[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x10000000)))


def tar_members(content: bytes, chance: random.Random) -> bytes:
    """A tar with another field in a header, and its checksum right."""
    made = bytearray(content)
    headers = [at for at in range(0, len(made), 512) if made[at + 257 : at + 262] == b"ustar"]
    at = chance.choice(headers)
    field, size = chance.choice(((0, 100), (100, 8), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155)))
    odd = (
        bytes(size),
        b"\xff" * size,
        b"\x80" + bytes(size - 1),
        b"-512".ljust(size, b"\0")[:size],
        b"\xff" * (size - 2) + b"\xfe\x00"[:size],
        b"7" * (size - 1) + b"\0",
        b"../../outside".ljust(size, b"\0")[:size],
        b"/etc/passwd".ljust(size, b"\0")[:size],
        chance.randbytes(size),
    )
    value = bytes([chance.choice(b"0123456789gxLKSVDMNA\0")]) if size == 1 else chance.choice(odd)
    made[at + field : at + field + size] = value[:size].ljust(size, b"\0")
    made[at + 148 : at + 156] = b" " * 8
    made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])
    return bytes(made)


# --- weights ---


def safetensors_header(content: bytes, chance: random.Random) -> bytes:
    """Weights with another value in the header, also in the JSON that it holds as text, and with its hash right."""
    import hashlib

    (length,) = struct.unpack_from("<Q", content)
    values = json.loads(content[8 : 8 + length])
    held = (values.get("__metadata__") or {}).get("yoso")
    if held and chance.random() < 0.6:
        inner = json.loads(held)
        inner.pop("header_sha256", None)
        text = written(json_values(inner, chance))
        try:
            known = json.loads(text)
            plain = json.dumps(known, sort_keys=True)
            known["header_sha256"] = hashlib.sha256(plain.encode()).hexdigest()
            text = f'{{"header_sha256": "{known["header_sha256"]}", {text[1:]}'
        except (ValueError, RecursionError):
            pass  # it cannot be read either
        values["__metadata__"]["yoso"] = text
        changed = json.dumps(values)
    else:
        changed = written(json_values(values, chance))
    encoded = changed.encode()
    size = len(encoded)
    if chance.random() < 0.1:
        size = chance.choice((0, 1, len(encoded) + 8, 1 << 40, 2**64 - 1, 100_000_001))
    return struct.pack("<Q", size) + encoded + content[8 + length :]


# --- lists ---


def text_lines(content: bytes, chance: random.Random) -> bytes:
    """A list of inputs with another line."""
    lines = content.split(b"\n")
    odd = (
        b"/etc/passwd",
        b"..",
        b".",
        b"@list.txt",
        b"-",
        b"*" * 50,
        b"**/*",
        b"http://127.0.0.1:9/x.png",
        b"a\0b",
        b"\xff\xfe",
        b"x" * 5000,
        b"[",
        b"concat:a|b",
        b"file:///etc/passwd",
        b"-o",
        b"--force",
        b"camera:99",
        b"rtsp://127.0.0.1:9/x",
        b"0 nan 1e999 -5 0.5 0.1 0.2 0.3",
        b"9" * 4400 + b" 0.1 0.1 0.2 0.2 0.3 0.3",
        b"0 0.1",
        b"-1 0.1 0.1 0.9 0.1 0.5 0.9",
        b"0 " + b"0.5 0.5 " * 20_000,
    )
    lines[chance.randrange(len(lines))] = chance.choice(odd)
    return b"\n".join(lines)


def xml_values(content: bytes, chance: random.Random) -> bytes:
    """An XML with another attribute, text or tag, or with entities that grow."""
    text = content.decode()
    places = list(re.finditer(r'(?<=")[^"<>]*(?=")|(?<=<)/?\w+(?=[ >/])|(?<=>)[^<>\n]+(?=<)', text))
    found = chance.choice(places)
    odd = (
        *(
            "-1",
            "0",
            "1e999",
            "NaN",
            "9" * 4400,
            "2147483648",
            "1.5",
            "",
            "&x;",
            "&#0;",
            "&#xD800;",
            "<![CDATA[",
            "a b",
        ),
        *(
            "../../out.png",
            "/etc/passwd",
            "x" * 70_000,
            "1,2;3,4;5,6",
            ";;;",
            "1,2",
            "<a>" * 500,
            "]]>",
            "<!--",
            "true",
        ),
    )
    if chance.random() < 0.06:
        levels = "".join(f'<!ENTITY e{one + 1} "{f"&e{one};" * 10}">' for one in range(9))
        bomb = f'<!DOCTYPE x [<!ENTITY e0 "ha">{levels}<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        text = text.replace("?>", f"?>{bomb}", 1)
        found = chance.choice(list(re.finditer(r"(?<=>)[^<>\n]+(?=<)", text)) or [found])
        return (text[: found.start()] + chance.choice(("&e9;", "&x;")) + text[found.end() :]).encode()
    return (text[: found.start()] + chance.choice(odd) + text[found.end() :]).encode()


def onnx_model(content: bytes, chance: random.Random) -> bytes:
    """An ONNX file with another shape, type, name, operator or attribute, or with other metadata."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    node, tensor = chance.choice(model.graph.node), chance.choice(model.graph.initializer)
    huge = chance.choice((-1, 0, 1, 7, 1 << 20, 1 << 31, (1 << 62) + 1))
    change = chance.randrange(9)
    if change == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = huge
    elif change == 1:
        tensor.data_type = chance.randrange(0, 30)
    elif change == 2:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif change == 3 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(
            ["", "gone", *chance.choice(model.graph.node).output]
        )
    elif change == 4:
        node.op_type = chance.choice(("Identity", "Loop", "Gone", "Reshape", "Expand", "ConstantOfShape", "Pad"))
    elif change == 5 and node.attribute:
        attribute = chance.choice(node.attribute)
        attribute.i = huge
        attribute.ints[:] = [huge] * chance.randrange(6)
    elif change == 6 and tensor.raw_data:
        # Numbers of shapes and places among them, which operators believe.
        tensor.raw_data = chance.randbytes(len(tensor.raw_data))
    elif change == 7:
        model.opset_import[0].version = chance.choice((0, 18, 21, 99, 1 << 40))
    else:
        entry = model.metadata_props[0]
        entry.value = json_file(entry.value.encode(), chance).decode()
    return bytes(model.SerializeToString())


VALUES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "json": json_file,
    "jsonl": json_lines,
    "yaml": yaml_lines,
    "png": png_chunks,
    "zip": zip_members,
    "tar": tar_members,
    "safetensors": safetensors_header,
    "list": text_lines,
    "xml": xml_values,
    "onnx": onnx_model,
}
"""Changes what a file means, by the form of the file."""


def mutant(content: bytes, form: str, chance: random.Random) -> tuple[bytes, str, bool]:
    """A mutant of a file's content, the name of the mutation, and whether it changes values with checksums right.

    Args:
        content: of the file.
        form: of VALUES, or another word where only its bytes are changed.
        chance: the mutant depends on it alone.
    """
    if form in VALUES and chance.random() < 0.55:
        return VALUES[form](content, chance), VALUES[form].__name__, True
    changed, how = bytearray(content), chance.choice(BYTES)
    how(changed, chance)
    return bytes(changed), how.__name__, False
